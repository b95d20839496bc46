"""The stand-in's ASGI application: faults first, then git, the API, or the test's own routes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from . import description, git_http, rest, rest_app
from .access import Access
from .call import Call, Handler
from .control import Control
from .faults import Fault, Faults
from .hooks import Courier
from .state import Refused, World

TRANSPORT = "standin.transport"
_PREFIX = "/api/v3"
_BY_NUMBER = re.compile(r"^/repositories/(\d+)(/.+)$")


def _pattern(template: str) -> re.Pattern[str]:
    greedy = re.sub(r"\{(ref|branch)\}", r"(?P<\1>.+)", template)
    whole = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", greedy)
    return re.compile(f"^{whole}$")


class GitHubApp:
    """One application for github.com and api.github.com; the API lies at / and at /api/v3."""

    def __init__(
        self,
        *,
        world: World,
        access: Access,
        faults: Faults,
        courier: Courier,
        control: Control,
        background: git_http.Background,
    ) -> None:
        self._world = world
        self._access = access
        self._faults = faults
        self._courier = courier
        self._control = control
        self._git = git_http.GitHttp(world, access, faults, courier, background)
        self._routes: list[tuple[str, str, re.Pattern[str], Handler]] = [
            (method, template, _pattern(template), handler)
            for method, template, handler in (*rest.ROUTES, *rest_app.ROUTES)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        # Cancelled is only what is still open when the stand-in ends: no error to be logged.
        with contextlib.suppress(ClientDisconnect, asyncio.CancelledError):
            path = scope["path"].removeprefix(_PREFIX)
            if path.startswith("/_standin/"):
                await self._control(path, scope, receive, send)
                return
            fault = self._faults.take(scope["method"], path)
            if fault is not None and await self._suffer(fault, scope, receive, send):
                return
            if fault is not None and fault.drop_connection == "after":
                await self._serve(path, scope, receive, _swallow)
                await _reset(scope, receive)
                return
            await self._serve(path, scope, receive, send)

    async def _suffer(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> bool:
        """Do what the fault says; whether that was all."""
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.hang:
            await _gone(receive)
            return True
        if fault.drop_connection == "before":
            await _reset(scope, receive)
            return True
        if fault.status is None:
            return False
        headers = self._api_headers(Request(scope)) | dict(fault.headers)
        answer = Response(None) if fault.status == 204 else JSONResponse(fault.message())
        answer.status_code = fault.status
        answer.headers.update(headers)
        await answer(scope, receive, send)
        return True

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        match = git_http.ROUTE.match(path)
        if match is not None:
            await self._git(match, scope, receive, send)
            return
        request = Request(scope, receive)
        allowance = self._access.allowance(request.headers.get("authorization"))
        try:
            if "user-agent" not in request.headers:
                raise Refused(403, "Request forbidden by administrative rules.")
            if path != "/rate_limit":
                if allowance.used >= allowance.limit:
                    raise Refused(403, "API rate limit exceeded for user ID 1.")
                allowance.used += 1
            answer = await self._answer(request, path)
        except Refused as refused:
            answer = JSONResponse(refused.body, refused.status, headers=refused.headers)
        for name, value in self._api_headers(request).items():
            answer.headers.setdefault(name, value)
        await answer(scope, receive, send)

    def _api_headers(self, request: Request) -> dict[str, str]:
        authorization = request.headers.get("authorization")
        headers = self._access.allowance(authorization).headers()
        headers |= {
            "server": "github.com",
            "x-github-media-type": "github.v3; format=json",
            "x-github-request-id": f"{next(self._world.ids):012X}",
            "x-content-type-options": "nosniff",
        }
        with contextlib.suppress(Refused):
            token = self._access.token(authorization)
            if token is not None and not token.installation:
                headers["x-oauth-scopes"] = ", ".join(token.scopes)
        return headers

    async def _answer(self, request: Request, path: str) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        by_number = _BY_NUMBER.match(path)
        if by_number and (found := self._world.by_id(int(by_number[1]))):
            path = f"/repos/{found.full_name}{by_number[2]}"
        for wanted, template, pattern, handler in self._routes:
            match = pattern.match(path) if wanted == method else None
            if match is None:
                continue
            errors = description.parameter_errors(method, template, request.query_params)
            if errors:
                raise Refused(422, "Validation Failed", errors=errors)
            call = Call(
                request=request,
                method=method,
                template=template,
                path=match.groupdict(),
                world=self._world,
                access=self._access,
                courier=self._courier,
            )
            return await handler(call)
        raise Refused(404, "Not Found")


async def _swallow(message: Message) -> None:
    """A `send` for an answer that nobody is to see."""


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope, receive: Receive) -> None:
    find: Callable[[], Any] = scope["extensions"][TRANSPORT]["find"]
    transport = find()
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _gone(receive)
