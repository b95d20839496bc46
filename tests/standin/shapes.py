"""GitHub's JSON for users, repositories, commits, statuses and deliveries, in its full shape."""

from __future__ import annotations

import base64
import hashlib
import zlib
from datetime import UTC, datetime
from typing import Any

from .git import Commit
from .state import Repository, Status, World, id_of

__all__ = [
    "Json",
    "commit",
    "id_of",
    "iso",
    "node_id",
    "repository",
    "repository_in_push",
    "status",
    "user",
]

Json = dict[str, Any]


def iso(seconds: float) -> str:
    """Unix seconds as GitHub writes a time: `2026-01-02T03:04:05Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, key: object) -> str:
    """An opaque id of the look that GitHub gives its nodes."""
    return f"{kind}_{base64.urlsafe_b64encode(str(key).encode()).decode().rstrip('=')}"


def user(login: str, html: str, api: str, *, kind: str = "User") -> Json:
    """A simple user."""
    me = f"{api}/users/{login}"
    number = zlib.crc32(login.encode()) % 100_000_000
    return {
        "login": login,
        "id": number,
        "node_id": node_id("U", number),
        "avatar_url": f"{html}/avatars/{number}",
        "gravatar_id": "",
        "url": me,
        "html_url": f"{html}/{login}",
        "followers_url": f"{me}/followers",
        "following_url": f"{me}/following{{/other_user}}",
        "gists_url": f"{me}/gists{{/gist_id}}",
        "starred_url": f"{me}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{me}/subscriptions",
        "organizations_url": f"{me}/orgs",
        "repos_url": f"{me}/repos",
        "events_url": f"{me}/events{{/privacy}}",
        "received_events_url": f"{me}/received_events",
        "type": kind,
        "user_view_type": "public",
        "site_admin": False,
    }


_LINKS = {
    "forks": "/forks",
    "keys": "/keys{/key_id}",
    "collaborators": "/collaborators{/collaborator}",
    "teams": "/teams",
    "hooks": "/hooks",
    "issue_events": "/issues/events{/number}",
    "events": "/events",
    "assignees": "/assignees{/user}",
    "branches": "/branches{/branch}",
    "tags": "/tags",
    "blobs": "/git/blobs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "git_refs": "/git/refs{/sha}",
    "trees": "/git/trees{/sha}",
    "statuses": "/statuses/{sha}",
    "languages": "/languages",
    "stargazers": "/stargazers",
    "contributors": "/contributors",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "commits": "/commits{/sha}",
    "git_commits": "/git/commits{/sha}",
    "comments": "/comments{/number}",
    "issue_comment": "/issues/comments{/number}",
    "contents": "/contents/{+path}",
    "compare": "/compare/{base}...{head}",
    "merges": "/merges",
    "archive": "/{archive_format}{/ref}",
    "downloads": "/downloads",
    "issues": "/issues{/number}",
    "pulls": "/pulls{/number}",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "labels": "/labels{/name}",
    "releases": "/releases{/id}",
    "deployments": "/deployments",
}


def _repository(
    full_name: str, repository_id: int, private: bool, default_branch: str, html: str, api: str
) -> Json:
    owner, _, name = full_name.partition("/")
    page, me = f"{html}/{full_name}", f"{api}/repos/{full_name}"
    host = html.partition("://")[2]
    return {
        "id": repository_id,
        "node_id": node_id("R", repository_id),
        "name": name,
        "full_name": full_name,
        "private": private,
        "owner": user(owner, html, api),
        "html_url": page,
        "description": None,
        "fork": False,
        "url": me,
        **{f"{link}_url": me + path for link, path in _LINKS.items()},
        "git_url": f"git://{host}/{full_name}.git",
        "ssh_url": f"git@{host}:{full_name}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "homepage": None,
        "size": 1,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": True,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": True,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "mirror_url": None,
        "archived": False,
        "disabled": False,
        "open_issues_count": 0,
        "license": None,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if private else "public",
        "forks": 0,
        "open_issues": 0,
        "watchers": 0,
        "default_branch": default_branch,
    }


def repository(repository: Repository, world: World) -> Json:
    """A repository as the REST API gives it: times are ISO strings."""
    pushed_at = repository.pushed_at_override or repository.pushed_at
    shape = _repository(
        repository.full_name,
        repository.id,
        repository.private,
        repository.default_branch,
        world.html_url,
        world.api_url,
    )
    return shape | {
        "created_at": iso(repository.created_at),
        "updated_at": iso(repository.pushed_at),
        "pushed_at": iso(pushed_at),
        "permissions": {
            "admin": True,
            "maintain": True,
            "push": True,
            "triage": True,
            "pull": True,
        },
        "network_count": 0,
        "subscribers_count": 0,
    }


def repository_in_push(
    full_name: str,
    *,
    repository_id: int,
    private: bool,
    default_branch: str,
    created_at: int,
    pushed_at: int,
    html: str,
    api: str,
) -> Json:
    """A repository as a push event carries it: `created_at`, `pushed_at` are Unix seconds."""
    shape = _repository(full_name, repository_id, private, default_branch, html, api)
    owner = full_name.partition("/")[0]
    shape["owner"] = {"name": owner, "email": f"{owner}@example.com", **shape["owner"]}
    return shape | {
        "url": f"{html}/{full_name}",
        "created_at": created_at,
        "updated_at": iso(pushed_at),
        "pushed_at": pushed_at,
        "stargazers": 0,
        "master_branch": default_branch,
        "custom_properties": {},
    }


def commit(commit: Commit, repository: Repository, world: World) -> Json:
    """A commit as the REST API gives it."""
    page = f"{world.html_url}/{repository.full_name}"
    me = f"{world.api_url}/repos/{repository.full_name}"

    def person(of: tuple[str, str, str]) -> Json:
        return {"name": of[0], "email": of[1], "date": of[2]}

    changed = [
        *((path, "added") for path in commit.added),
        *((path, "removed") for path in commit.removed),
        *((path, "modified") for path in commit.modified),
    ]
    return {
        "sha": commit.sha,
        "node_id": node_id("C", commit.sha),
        "commit": {
            "author": person(commit.author),
            "committer": person(commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{me}/git/trees/{commit.tree}"},
            "url": f"{me}/git/commits/{commit.sha}",
            "comment_count": 0,
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        },
        "url": f"{me}/commits/{commit.sha}",
        "html_url": f"{page}/commit/{commit.sha}",
        "comments_url": f"{me}/commits/{commit.sha}/comments",
        "author": None,
        "committer": None,
        "parents": [
            {"sha": sha, "url": f"{me}/commits/{sha}", "html_url": f"{page}/commit/{sha}"}
            for sha in commit.parents
        ],
        "stats": {"total": len(changed), "additions": len(changed), "deletions": 0},
        "files": [
            {
                "sha": hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest(),
                "filename": path,
                "status": how,
                "additions": 1,
                "deletions": 0,
                "changes": 1,
                "blob_url": f"{page}/blob/{commit.sha}/{path}",
                "raw_url": f"{page}/raw/{commit.sha}/{path}",
                "contents_url": f"{me}/contents/{path}?ref={commit.sha}",
            }
            for path, how in changed
        ],
    }


def status(status: Status, world: World) -> Json:
    """A posted status as the REST API gives it."""
    creator = user(status.login, world.html_url, world.api_url)
    return {
        "url": f"{world.api_url}/repos/{status.repository}/statuses/{status.sha}",
        "avatar_url": creator["avatar_url"],
        "id": status.id,
        "node_id": node_id("SC", status.id),
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": iso(status.at),
        "updated_at": iso(status.at),
        "creator": creator,
    }
