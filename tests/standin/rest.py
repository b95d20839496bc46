"""The REST API's routes on repositories: branches, commits, statuses, limits, the caller."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from . import git, shapes
from .call import Call, Handler
from .state import Refused, Repository, Status

MOST_STATUSES = 1000
LONGEST_DESCRIPTION = 140
LONGEST_CONTEXT = 255
_SHA = re.compile(r"[0-9a-f]{40}")
REPO = "/repos/{owner}/{repo}"


async def get_repository(call: Call) -> Response:
    return JSONResponse(shapes.repository(call.repository(), call.world))


async def _resolved(call: Call, repository: Repository, ref: str) -> str:
    if not await git.refs(repository.bare):
        raise Refused(409, "Git Repository is empty.")
    candidates = [ref] if _SHA.fullmatch(ref) else []
    candidates += [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"]
    if re.fullmatch(r"[0-9a-f]{7,39}", ref):
        candidates.append(ref)
    for candidate in candidates:
        sha = await git.commit_of(repository.bare, candidate)
        if sha is not None:
            return sha
    raise Refused(422, f"No commit found for SHA: {ref}")


async def get_commit(call: Call) -> Response:
    repository = call.repository("contents")
    sha = await _resolved(call, repository, call.path["ref"])
    [commit] = await git.log(repository.bare, sha, count=1)
    return JSONResponse(shapes.commit(commit, repository, call.world))


async def list_branches(call: Call) -> Response:
    repository = call.repository("contents")
    me = f"{call.world.api_url}/repos/{repository.full_name}"
    branches = [
        {
            "name": ref.removeprefix("refs/heads/"),
            "commit": {"sha": sha, "url": f"{me}/commits/{sha}"},
            "protected": False,
        }
        for ref, sha in sorted((await git.refs(repository.bare)).items())
        if ref.startswith("refs/heads/")
    ]
    return call.page(branches)


async def get_branch(call: Call) -> Response:
    repository = call.repository("contents")
    name = call.path["branch"]
    sha = (await git.refs(repository.bare)).get(f"refs/heads/{name}")
    if sha is None:
        raise Refused(404, "Branch not found")
    [commit] = await git.log(repository.bare, sha, count=1)
    me = f"{call.world.api_url}/repos/{repository.full_name}/branches/{quote(name, safe='')}"
    page = f"{call.world.html_url}/{repository.full_name}/tree/{quote(name)}"
    return JSONResponse(
        {
            "name": name,
            "commit": shapes.commit(commit, repository, call.world),
            "_links": {"self": me, "html": page},
            "protected": False,
            "protection": {
                "enabled": False,
                "required_status_checks": {
                    "enforcement_level": "off",
                    "contexts": [],
                    "checks": [],
                },
            },
            "protection_url": f"{me}/protection",
        }
    )


def _invalid(field: str, message: str) -> Refused:
    error = {"resource": "Status", "code": "custom", "field": field, "message": message}
    return Refused(422, "Validation Failed", errors=[error])


def _check_status(body: dict[str, Any]) -> None:
    description, context = body.get("description"), body.get("context") or "default"
    target_url = body.get("target_url")
    if description is not None and len(description) > LONGEST_DESCRIPTION:
        message = f"description is too long (maximum is {LONGEST_DESCRIPTION} characters)"
        raise _invalid("description", message)
    if description is not None and any(character > "\uffff" for character in description):
        raise _invalid("description", "description doesn't accept 4-byte Unicode")
    if len(context) > LONGEST_CONTEXT:
        raise _invalid("context", f"context is too long (maximum is {LONGEST_CONTEXT} characters)")
    if target_url and not re.match(r"https?://[^\s/]", target_url):
        raise _invalid("target_url", "target_url must use http(s) scheme")


async def create_status(call: Call) -> Response:
    repository = call.repository("statuses", "write")
    body = await call.body(resource="Status")
    _check_status(body)
    sha, context = call.path["sha"], body.get("context") or "default"
    if not _SHA.fullmatch(sha) or await git.commit_of(repository.bare, sha) is None:
        raise Refused(422, f"No commit found for SHA: {sha}")
    world, token = call.world, call.token()
    known = [
        each
        for each in world.statuses
        if each.sha == sha and each.context == context and each.repository == repository.full_name
    ]
    if len(known) >= MOST_STATUSES:
        message = "This SHA and context has reached the maximum number of statuses."
        raise _invalid("base", message)
    status = Status(
        id=next(world.ids),
        repository=repository.full_name,
        sha=sha,
        context=context,
        state=body["state"],
        description=body.get("description"),
        target_url=body.get("target_url"),
        at=time.time(),
        login=token.login if token else "",
        headers=dict(call.request.headers),
    )
    world.statuses.append(status)
    shape = shapes.status(status, world)
    return JSONResponse(shape, status_code=201, headers={"location": shape["url"]})


async def list_statuses(call: Call) -> Response:
    _, statuses = await _statuses(call)
    return call.page([shapes.status(status, call.world) for status in reversed(statuses)])


async def _statuses(call: Call) -> tuple[Repository, list[Status]]:
    repository = call.repository("statuses")
    sha = await _resolved(call, repository, call.path["ref"])
    mine = [
        status
        for status in call.world.statuses
        if status.sha == sha and status.repository == repository.full_name
    ]
    return repository, mine


async def combined_status(call: Call) -> Response:
    repository, statuses = await _statuses(call)
    sha = await _resolved(call, repository, call.path["ref"])
    newest = {status.context: status for status in statuses}
    states = {status.state for status in newest.values()}
    state = "pending"
    if states & {"failure", "error"}:
        state = "failure"
    elif states == {"success"}:
        state = "success"
    me = f"{call.world.api_url}/repos/{repository.full_name}"
    return JSONResponse(
        {
            "state": state,
            "statuses": [shapes.status(each, call.world) for each in newest.values()],
            "sha": sha,
            "total_count": len(newest),
            "repository": shapes.repository(repository, call.world),
            "commit_url": f"{me}/commits/{sha}",
            "url": f"{me}/commits/{sha}/status",
        }
    )


async def rate_limit(call: Call) -> Response:
    call.token()
    allowance = call.access.allowance(call.authorization)
    core = {
        "limit": allowance.limit,
        "used": allowance.used,
        "remaining": max(0, allowance.limit - allowance.used),
        "reset": int(allowance.reset),
    }
    search = core | {"limit": 30, "used": 0, "remaining": 30}
    resources = {"core": core, "search": search, "graphql": search}
    return JSONResponse({"resources": resources, "rate": core})


async def get_user(call: Call) -> Response:
    token = call.token()
    if token is None:
        raise Refused(401, "Requires authentication")
    if token.installation:
        raise Refused(403, "Resource not accessible by integration")
    shape = shapes.user(token.login, call.world.html_url, call.world.api_url)
    return JSONResponse(shape | {"name": token.login, "email": None})


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", REPO, get_repository),
    ("GET", "/repositories/{repository_id}", get_repository),
    ("GET", f"{REPO}/branches", list_branches),
    ("GET", f"{REPO}/branches/{{branch}}", get_branch),
    ("GET", f"{REPO}/commits/{{ref}}/statuses", list_statuses),
    ("GET", f"{REPO}/commits/{{ref}}/status", combined_status),
    ("GET", f"{REPO}/commits/{{ref}}", get_commit),
    ("GET", f"{REPO}/statuses/{{ref}}", list_statuses),  # undescribed, but PyGithub reads here
    ("POST", f"{REPO}/statuses/{{sha}}", create_status),
    ("GET", "/rate_limit", rate_limit),
    ("GET", "/user", get_user),
]
