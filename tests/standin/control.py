"""The stand-in's own routes under /_standin/, by which another process drives and reads it."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from .access import Access
from .call import ping
from .faults import Faults
from .hooks import Courier, Delivery, Hook
from .state import World

Json = dict[str, Any]
_SETTABLE = {each.name for each in fields(Hook)}


def _plain(delivery: Delivery | None) -> Json | None:
    if delivery is None:
        return None
    body = base64.b64encode(delivery.body).decode()
    return delivery.whole() | {"body_base64": body}


class Control:
    """What a test in another process may ask: JSON in, JSON out, 400 with a `message`."""

    def __init__(self, world: World, access: Access, faults: Faults, courier: Courier) -> None:
        self._world = world
        self._access = access
        self._faults = faults
        self._courier = courier
        self._routes: dict[tuple[str, str], Callable[[Json], Awaitable[Any]]] = {
            ("GET", "statuses"): self._statuses,
            ("GET", "deliveries"): self._deliveries,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "hidden-commits"): self._hide_commit,
            ("GET", "repositories"): self._repositories,
            ("POST", "repositories"): self._create_repository,
            ("POST", "hook"): self._set_hook,
            ("POST", "release"): self._release,
            ("POST", "redeliver"): self._redeliver,
            ("POST", "events"): self._send_event,
            ("POST", "tokens"): self._allow,
        }

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for `/_standin/<verb>`."""
        request = Request(scope, receive)
        verb = path.removeprefix("/_standin/").strip("/")
        handler = self._routes.get((request.method, verb))
        if handler is None:
            answer = JSONResponse({"message": f"no {request.method} {verb} here"}, 404)
        else:
            try:
                raw = await request.body()
                asked = dict(request.query_params) | (json.loads(raw) if raw else {})
                answer = JSONResponse(await handler(asked))
            except (ValueError, TypeError, KeyError) as error:
                answer = JSONResponse({"message": f"{type(error).__name__}: {error}"}, 400)
        await answer(scope, receive, send)

    async def _statuses(self, asked: Json) -> list[Json]:
        sha = asked.get("sha")
        context = asked.get("context")
        return [
            status.plain()
            for status in self._world.statuses
            if sha in (None, status.sha) and context in (None, status.context)
        ]

    async def _deliveries(self, _asked: Json) -> list[Json | None]:
        return [_plain(delivery) for delivery in self._courier.deliveries]

    async def _add_fault(self, asked: Json) -> Json:
        self._faults.add(**asked)
        return {"added": True}

    async def _clear_faults(self, _asked: Json) -> Json:
        self._faults.clear()
        return {"cleared": True}

    async def _hide_commit(self, asked: Json) -> Json:
        self._faults.hide_commit(asked.pop("sha"), **asked)
        return {"hidden": True}

    def _repository(self, full_name: str) -> Json:
        found = self._world.find(full_name)
        if found is None:
            raise ValueError(f"no repository {full_name}")
        return {
            "name": found.full_name,
            "id": found.id,
            "private": found.private,
            "default_branch": found.default_branch,
            "path": str(found.bare),
            "clone_url": f"{self._world.html_url}/{found.full_name}.git",
        }

    async def _repositories(self, _asked: Json) -> list[Json]:
        return [self._repository(each.full_name) for each in self._world.all()]

    async def _create_repository(self, asked: Json) -> Json:
        self._world.create(
            asked["name"],
            private=bool(asked.get("private", False)),
            default_branch=asked.get("default_branch", "main"),
            repository_id=asked.get("id"),
        )
        return self._repository(asked["name"])

    async def _set_hook(self, asked: Json) -> Json:
        unknown = sorted(set(asked) - _SETTABLE)
        if unknown:
            raise ValueError(f"a hook has no {', '.join(unknown)}")
        for name, value in asked.items():
            setattr(self._courier.hook, name, value)
        hook = self._courier.hook
        return {name: getattr(hook, name) for name in sorted(_SETTABLE - {"secret"})}

    async def _release(self, asked: Json) -> list[Json | None]:
        return [_plain(each) for each in await self._courier.release(asked.get("order", "sent"))]

    async def _redeliver(self, asked: Json) -> Json | None:
        found = self._courier.find(guid=asked.get("guid"), number=asked.get("id"))
        if found is None:
            raise ValueError("no such delivery")
        return _plain(await self._courier.redeliver(found))

    async def _send_event(self, asked: Json) -> Json | None:
        if asked["event"] == "ping" and "payload" not in asked:
            return _plain(await ping(self._world, self._courier))
        raw = json.dumps(asked["payload"]).encode()
        prepared = self._courier.prepare(
            asked["event"], raw, guid=asked.get("guid"), headers=asked.get("headers")
        )
        return _plain(await self._courier.send(prepared))

    async def _allow(self, asked: Json) -> Json:
        return {"token": self._access.allow(asked.pop("token", None), **asked)}
