"""The REST API's routes for GitHub Apps and for the deliveries of webhooks."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from .call import Call, Handler, ping
from .hooks import Delivery
from .rest import REPO
from .shapes import Json, iso, node_id, repository, user
from .state import Refused

_HOOK = f"{REPO}/hooks/{{hook_id}}"
_MADE_AT = "2026-01-01T00:00:00Z"


async def get_app(call: Call) -> Response:
    call.app()
    app = call.access.app
    return JSONResponse(
        {
            "id": app.id,
            "slug": app.slug,
            "client_id": f"Iv1.{app.id:016x}",
            "node_id": node_id("A", app.id),
            "owner": user("octocat", call.world.html_url, call.world.api_url),
            "name": app.slug,
            "description": "",
            "external_url": "https://example.com",
            "html_url": f"{call.world.html_url}/apps/{app.slug}",
            "created_at": _MADE_AT,
            "updated_at": _MADE_AT,
            "permissions": app.permissions,
            "events": ["push"],
            "installations_count": 1,
        }
    )


def _installation(call: Call, login: str) -> Json:
    app, api = call.access.app, call.world.api_url
    account = user(login, call.world.html_url, api)
    me = f"{api}/app/installations/{app.installation_id}"
    return {
        "id": app.installation_id,
        "account": account,
        "repository_selection": "all" if app.repositories is None else "selected",
        "access_tokens_url": f"{me}/access_tokens",
        "repositories_url": f"{api}/installation/repositories",
        "html_url": f"{call.world.html_url}/settings/installations/{app.installation_id}",
        "app_id": app.id,
        "client_id": f"Iv1.{app.id:016x}",
        "app_slug": app.slug,
        "target_id": account["id"],
        "target_type": "User",
        "permissions": app.permissions,
        "events": ["push"],
        "created_at": _MADE_AT,
        "updated_at": _MADE_AT,
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": None,
        "suspended_at": None,
    }


async def get_installation(call: Call) -> Response:
    call.app()
    found = call.world.find(f"{call.path['owner']}/{call.path['repo']}")
    chosen = call.access.app.repositories
    if found is None or (chosen is not None and found.full_name not in chosen):
        raise Refused(404, "Not Found")
    return JSONResponse(_installation(call, found.owner))


async def list_installations(call: Call) -> Response:
    call.app()
    owners = sorted({each.owner for each in call.world.all()}) or ["octocat"]
    return call.page([_installation(call, owners[0])])


async def create_access_token(call: Call) -> Response:
    call.app()
    app = call.access.app
    if call.path["installation_id"] != str(app.installation_id):
        raise Refused(404, "Not Found")
    body = await call.body(resource="Installation")
    permissions = _permissions(call, body)
    chosen = _chosen(call, body)
    token = call.access.allow_installation(
        permissions, None if chosen is None else frozenset(each.full_name for each in chosen)
    )
    answer: Json = {
        "token": token.value,
        "expires_at": iso(token.expires_at or 0),
        "permissions": permissions,
        "repository_selection": "all" if chosen is None else "selected",
    }
    if chosen is not None:
        answer["repositories"] = [repository(each, call.world) for each in chosen]
    return JSONResponse(answer, status_code=201)


def _permissions(call: Call, body: dict[str, Any]) -> dict[str, str]:
    granted = call.access.app.permissions
    asked: dict[str, str] = body.get("permissions") or granted
    for name, level in asked.items():
        if granted.get(name) not in (level, "write", "admin"):
            raise Refused(422, "The permissions requested are not granted to this installation.")
    return dict(asked) | {"metadata": "read"}


def _chosen(call: Call, body: dict[str, Any]) -> list[Any] | None:
    installed = call.access.app.repositories
    names, ids = body.get("repositories"), body.get("repository_ids")
    reachable = [
        each for each in call.world.all() if installed is None or each.full_name in installed
    ]
    if names is None and ids is None:
        return None if installed is None else reachable
    chosen = [each for each in reachable if each.name in (names or []) or each.id in (ids or [])]
    if len(chosen) < len(names or []) + len(ids or []):
        raise Refused(
            422,
            "There is at least one repository that does not exist or is not accessible to the "
            "parent installation.",
        )
    return chosen


def _authorize_deliveries(call: Call, level: str = "read") -> int | None:
    if "repo" not in call.path:
        call.app()
        return None
    found = call.repository("repository_hooks", level)
    if "hook_id" in call.path and call.path["hook_id"] != str(call.courier.hook.id):
        raise Refused(404, "Not Found")
    return found.id


def _of(call: Call, repository_id: int | None) -> list[Delivery]:
    return [
        each
        for each in reversed(call.courier.deliveries)
        if repository_id is None or each.summary()["repository_id"] in (repository_id, None)
    ]


async def list_deliveries(call: Call) -> Response:
    mine = _of(call, _authorize_deliveries(call))
    wanted = call.request.query_params.get("status")
    if wanted:
        mine = [each for each in mine if (each.status == "OK") == (wanted == "success")]
    size = min(100, max(1, call.number("per_page", 30)))
    cursor = call.number("cursor", 0)
    if cursor:
        mine = [each for each in mine if each.id <= cursor]
    headers = {}
    if len(mine) > size:
        url = call.request.url.include_query_params(per_page=size, cursor=mine[size].id)
        headers["link"] = f'<{url}>; rel="next"'
    return JSONResponse([each.summary() for each in mine[:size]], headers=headers)


def _delivery(call: Call, level: str) -> Delivery:
    mine = _of(call, _authorize_deliveries(call, level))
    found = next((each for each in mine if str(each.id) == call.path["delivery_id"]), None)
    if found is None:
        raise Refused(404, "Not Found")
    return found


async def get_delivery(call: Call) -> Response:
    return JSONResponse(_delivery(call, "read").whole())


async def redeliver(call: Call) -> Response:
    await call.courier.redeliver(_delivery(call, "write"))
    return JSONResponse({}, status_code=202)


async def list_hooks(call: Call) -> Response:
    found = call.repository("repository_hooks")
    hook = call.courier.hook
    me = f"{call.world.api_url}/repos/{found.full_name}/hooks/{hook.id}"
    shape = {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.enabled,
        "events": ["push"],
        "config": {
            "content_type": "form" if hook.form else "json",
            "insecure_ssl": "0",
            "url": hook.url or "",
        },
        "updated_at": _MADE_AT,
        "created_at": _MADE_AT,
        "url": me,
        "test_url": f"{me}/test",
        "ping_url": f"{me}/pings",
        "deliveries_url": f"{me}/deliveries",
        "last_response": {"code": None, "status": "unused", "message": None},
    }
    return call.page([shape])


async def ping_hook(call: Call) -> Response:
    _authorize_deliveries(call)
    await ping(call.world, call.courier, call.repository())
    return Response(status_code=204)


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/app", get_app),
    ("GET", "/app/installations", list_installations),
    ("POST", "/app/installations/{installation_id}/access_tokens", create_access_token),
    ("GET", f"{REPO}/installation", get_installation),
    ("GET", "/app/hook/deliveries", list_deliveries),
    ("GET", "/app/hook/deliveries/{delivery_id}", get_delivery),
    ("POST", "/app/hook/deliveries/{delivery_id}/attempts", redeliver),
    ("GET", f"{REPO}/hooks", list_hooks),
    ("POST", f"{_HOOK}/pings", ping_hook),
    ("GET", f"{_HOOK}/deliveries", list_deliveries),
    ("GET", f"{_HOOK}/deliveries/{{delivery_id}}", get_delivery),
    ("POST", f"{_HOOK}/deliveries/{{delivery_id}}/attempts", redeliver),
]
