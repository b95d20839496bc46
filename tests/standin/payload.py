"""Build push and ping payloads of GitHub's full shape, and sign bodies as GitHub does."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .git import ZERO, Commit
from .shapes import Json, id_of, repository_in_push, user

HTML = "https://github.com"
API = "https://api.github.com"


def sign(body: bytes, secret: str, *, algorithm: str = "sha256") -> str:
    """The signature header's value for these raw bytes: `sha256=<hex>`."""
    digest = hmac.new(secret.encode(), body, getattr(hashlib, algorithm)).hexdigest()
    return f"{algorithm}={digest}"


def commit_in_push(commit: Commit, *, page: str, distinct: bool = True) -> Json:
    """A commit as a push event carries it; `page` is the repository's page."""
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": distinct,
        "message": commit.message,
        "timestamp": commit.committer[2],
        "url": f"{page}/commit/{commit.sha}",
        "author": {
            "name": commit.author[0],
            "email": commit.author[1],
            "date": commit.author[2],
            "username": commit.author[0],
        },
        "committer": {
            "name": commit.committer[0],
            "email": commit.committer[1],
            "date": commit.committer[2],
            "username": commit.committer[0],
        },
        "added": list(commit.added),
        "removed": list(commit.removed),
        "modified": list(commit.modified),
    }


def made_up_commit(sha: str, *, parent: str = ZERO, message: str = "A change") -> Commit:
    """A commit that no repository holds, for payloads without one."""
    now = datetime.now(UTC).replace(microsecond=0).isoformat()
    person = ("octocat", "octocat@example.com", now)
    return Commit(
        sha=sha,
        tree=hashlib.sha1(sha.encode(), usedforsecurity=False).hexdigest(),
        parents=() if parent == ZERO else (parent,),
        author=person,
        committer=person,
        message=message,
        added=(),
        removed=(),
        modified=("index.html",),
    )


def push_payload(
    *,
    repository: str | Mapping[str, Any] = "octocat/site",
    ref: str = "refs/heads/main",
    before: str = ZERO,
    after: str = "a" * 40,
    pushed_at: int | None = None,
    commits: Sequence[Json] | None = None,
    head_commit: Json | None = None,
    forced: bool = False,
    base_ref: str | None = None,
    private: bool = False,
    default_branch: str = "main",
    repository_id: int | None = None,
    message: str = "A change",
    sender: str = "octocat",
    html: str = HTML,
    api: str = API,
    **overrides: Any,
) -> Json:
    """A push event, whole. `created` and `deleted` follow from zero shas.

    `repository` is `owner/name` or a whole shape. `commits` and `head_commit` are made up from
    `after` and `message` unless given. `overrides` replace top-level keys last.
    """
    now = int(time.time())
    if isinstance(repository, str):
        shape = repository_in_push(
            repository,
            repository_id=repository_id or id_of(repository),
            private=private,
            default_branch=default_branch,
            created_at=now - 86_400,
            pushed_at=now if pushed_at is None else pushed_at,
            html=html,
            api=api,
        )
    else:
        shape = dict(repository)
        if pushed_at is not None:
            shape["pushed_at"] = pushed_at
    page = f"{html}/{shape['full_name']}"
    created, deleted = before == ZERO, after == ZERO
    if deleted:
        commits, head_commit = [], None
    elif head_commit is None:
        made_up = made_up_commit(after, parent=before, message=message)
        head_commit = commit_in_push(made_up, page=page)
    if commits is None:
        commits = [] if head_commit is None else [head_commit]
    compare = f"{page}/compare/{before[:12]}...{after[:12]}"
    if created:
        compare = f"{page}/compare/{ref.removeprefix('refs/heads/').removeprefix('refs/tags/')}"
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "repository": shape,
        "pusher": {"name": sender, "email": f"{sender}@example.com"},
        "sender": user(sender, html, api),
        "created": created,
        "deleted": deleted,
        "forced": forced,
        "base_ref": base_ref,
        "compare": compare,
        "commits": list(commits),
        "head_commit": head_commit,
    } | overrides


def ping_payload(*, hook_id: int, hook_url: str, repository: Json | None, sender: Json) -> Json:
    """The event that GitHub sends when a webhook is made."""
    payload: Json = {
        "zen": "Keep it logically awesome.",
        "hook_id": hook_id,
        "hook": {
            "type": "Repository" if repository else "App",
            "id": hook_id,
            "name": "web",
            "active": True,
            "events": ["push"],
            "config": {"content_type": "json", "insecure_ssl": "0", "url": hook_url},
        },
        "sender": sender,
    }
    return payload if repository is None else payload | {"repository": repository}
