"""Serve git over smart HTTP by `git http-backend`, streaming both ways, as github.com does."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import signal
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from . import git
from .access import Access, Token
from .faults import Faults
from .hooks import Courier
from .pushes import announce
from .state import Refused, Repository, World

ROUTE = re.compile(
    r"^/(?P<name>[^/]+/[^/]+?)(?:\.git)?/(?P<call>info/refs|git-upload-pack|git-receive-pack)$"
)
_CHUNK = 1 << 16
_WANT = re.compile(rb"(?:^|[0-9a-f]{4})want ([0-9a-f]{40})", re.MULTILINE)

Background = Callable[[Awaitable[object]], None]


class GitHttp:
    """The git half of the stand-in; `background` is told of work that outlives a request."""

    def __init__(
        self,
        world: World,
        access: Access,
        faults: Faults,
        courier: Courier,
        background: Background,
    ) -> None:
        self._world = world
        self._access = access
        self._faults = faults
        self._courier = courier
        self._background = background

    async def __call__(
        self, match: re.Match[str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one git request whose path `ROUTE` matched."""
        headers = Headers(scope=scope)
        query = scope["query_string"].decode()
        pushes = match["call"] == "git-receive-pack" or "service=git-receive-pack" in query
        try:
            repository, token = self._authorized(match["name"], headers, pushes=pushes)
        except Refused as refused:
            answer: Response = PlainTextResponse(
                str(refused) + "\n", refused.status, headers=refused.headers
            )
            if refused.status == 301:
                location = f"{refused.headers['location']}/{match['call']}?{query}"
                answer.headers["location"] = location.rstrip("?")
            await answer(scope, receive, send)
            return
        body = _body(receive)
        if match["call"] == "git-upload-pack" and self._faults.hiding:
            whole = b"".join([chunk async for chunk in body])
            hidden = self._hidden_want(whole, headers)
            if hidden is not None:
                await _not_our_ref(hidden)(scope, receive, send)
                return
            body = _once(whole)
        if match["call"] != "git-receive-pack":
            await self._backend(repository, token, match["call"], scope, headers, body, send)
            return
        login = token.login if token is not None else "octocat"
        async with repository.pushing:
            before = await git.refs(repository.bare)

            async def ended() -> None:
                # Before the answer's last byte: whoever pushed may then wait for the deliveries.
                after = await git.refs(repository.bare)
                if after != before:
                    self._background(self._announce(repository, before, after, login))

            await self._backend(
                repository, token, match["call"], scope, headers, body, send, ended=ended
            )

    async def _announce(
        self, repository: Repository, before: dict[str, str], after: dict[str, str], login: str
    ) -> None:
        async with repository.announcing:
            await announce(self._world, self._courier, repository, before, after, sender=login)

    def _authorized(
        self, name: str, headers: Headers, *, pushes: bool
    ) -> tuple[Repository, Token | None]:
        challenge = {"www-authenticate": 'Basic realm="GitHub"'}
        try:
            token = self._access.token(headers.get("authorization"))
        except Refused:
            message = "Invalid username or token."
            raise Refused(401, message, headers=challenge) from None
        found = self._world.find(name)
        moved = self._world.former(name) if found is None else None
        if moved is not None:
            location = f"{self._world.html_url}/{moved.full_name}.git"
            raise Refused(301, "Moved Permanently", headers={"location": location})
        level = "write" if pushes else "read"
        if found is not None and not found.private and not (pushes and token):
            return found, token
        if token is None:
            raise Refused(401, "Repository not found.", headers=challenge)
        if found is None or (found.private and not token.may("contents", "read", found)):
            raise Refused(404, "Repository not found.")
        if not token.may("contents", level, found):
            raise Refused(403, f"Permission to {found.full_name}.git denied to {token.login}.")
        return found, token

    def _hidden_want(self, body: bytes, headers: Headers) -> str | None:
        if headers.get("content-encoding") in ("gzip", "x-gzip"):
            with contextlib.suppress(OSError, EOFError, zlib.error):
                body = gzip.decompress(body)
        for want in _WANT.findall(body):
            if self._faults.hides(want.decode()):
                return str(want.decode())
        return None

    async def _backend(
        self,
        repository: Repository,
        token: Token | None,
        call: str,
        scope: Scope,
        headers: Headers,
        body: AsyncIterator[bytes],
        send: Send,
        *,
        ended: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        path = f"/{repository.full_name}.git/{call}"
        env = git.environment(_cgi(scope, headers, path, token)) | {
            "GIT_PROJECT_ROOT": str(self._world.root),
            "GIT_HTTP_EXPORT_ALL": "1",
        }
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        feeding = asyncio.create_task(_feed(process, body))
        try:
            await _answer(process, send, ended)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await git.ended(process)


def _cgi(scope: Scope, headers: Headers, path: str, token: Token | None) -> dict[str, str]:
    variables = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": path,
        "QUERY_STRING": scope["query_string"].decode(),
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_USER": token.login if token is not None else "octocat",
    }
    for header, variable in (
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("accept-encoding", "HTTP_ACCEPT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ):
        if header in headers:
            variables[variable] = headers[header]
    return variables


class _ClientGone(Exception):
    """The client went away in the middle of its request."""


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _feed(process: asyncio.subprocess.Process, body: AsyncIterator[bytes]) -> None:
    stdin = process.stdin
    assert stdin is not None
    try:
        async for chunk in body:
            stdin.write(chunk)
            await stdin.drain()
    except _ClientGone:
        # A cut push must not look whole to receive-pack, as a closed pipe would.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        stdin.close()


async def _answer(
    process: asyncio.subprocess.Process,
    send: Send,
    ended: Callable[[], Awaitable[None]] | None,
) -> None:
    out = process.stdout
    assert out is not None
    status, headers = 200, []
    while line := (await out.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((name.lower(), value.strip()))
    if not headers:
        status = 500
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while chunk := await out.read(_CHUNK):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await process.wait()
    if ended is not None:
        await ended()
    await send({"type": "http.response.body", "body": b""})


def _not_our_ref(sha: str) -> Response:
    line = f"ERR upload-pack: not our ref {sha}".encode()
    body = f"{len(line) + 4:04x}".encode() + line
    return Response(body, media_type="application/x-git-upload-pack-result")
