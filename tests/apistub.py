"""A server that answers as a test tells it to, so that the command can be shown what is rare.

It speaks the API's documented shapes over real HTTP, and notes every request. What the real API
answers is for the acceptance tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bot.cli import main
from tests.standin.app import TRANSPORT
from tests.standin.server import Serving

COMMAND: Final = Path(sys.executable).with_name("pushlane")
TOKEN: Final = "t0ken-of-the-stub"
ID: Final = "d0123456789abcdef"
OLDER: Final = "d0000000000000000"
STAGES: Final = ("received", "fetching", "queued", "building", "publishing")
RESET: Final = "reset"
"""In place of an answer or an event: the connection is cut."""

Event: TypeAlias = bytes | float | str
"""Of a stream: what is sent, so many seconds of silence, or RESET."""
Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. A body that is no text is sent as JSON, a list of events as a stream."""

    body: Any = None
    status: int = 200
    type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stub:
    """Answers for each (method, path), given in turn; the last one stays."""

    url: str = ""
    _answers: dict[tuple[str, str], list[Reply | str]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Sets what a route below /api/v1 answers. What is no `Reply` or RESET is a 200 of JSON."""
        self._answers[method, path] = [
            each if isinstance(each, Reply) or each == RESET else Reply(each) for each in answers
        ]

    def streams(self, id_: str, *connections: Sequence[Event]) -> None:
        """Sets the events that each connection to a deployment's log gets."""
        self.on("GET", f"/deployments/{id_}/log", *(Reply(list(each)) for each in connections))

    def requests(self, method: str, path: str) -> list[Seen]:
        """Those that came to one route."""
        return [each for each in self.seen if (each.method, each.path) == (method, path)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        request = Request(scope, receive)
        path = request.url.path.removeprefix("/api/v1")
        body = await request.body()
        self.seen.append(
            Seen(
                method=request.method,
                path=path,
                query=dict(request.query_params),
                headers=dict(request.headers),
                body=json.loads(body) if body else None,
            )
        )
        answers = self._answers.get((request.method, path), [])
        reply = answers.pop(0) if len(answers) > 1 else (answers or [_missing(path)])[0]
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            reply = problem(401, "token_invalid", "this token is not known here")
        if isinstance(reply, str):
            _transport(scope).abort()
            return
        await _response(reply, scope)(scope, receive, send)


@contextmanager
def serve() -> Iterator[Stub]:
    """A stub that serves, from a thread of its own, until the context ends."""
    serving, stub = Serving(), Stub()
    serving.start(stub, host="127.0.0.1", port=0, at_end=_nothing)
    stub.url = f"http://127.0.0.1:{serving.port}"
    try:
        yield stub
    finally:
        asyncio.run(serving.stop())


@dataclass(frozen=True, slots=True)
class Told:
    """How the command ended, and what it wrote."""

    code: int
    out: str
    err: str


Pushlane: TypeAlias = Callable[..., Told]
"""The command as a function of its words."""


def tell(capsys: pytest.CaptureFixture[str], *words: str) -> Told:
    """Calls `pushlane` with these words, in this process."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    return Told(int(ended.value.code or 0), out, err)


def at_terminal(*words: str, alone: bool = True) -> tuple[str, str]:
    """What `pushlane` writes to a pipe, and what to a terminal: stderr, or without `alone` both."""
    ours, theirs = os.openpty()
    environ = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "CI")}
    process = subprocess.Popen(
        [COMMAND, *words],
        env={**environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE if alone else theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    # At its end Linux answers EIO.
    with suppress(OSError):
        while part := os.read(ours, 65_536):
            drawn += part
    os.close(ours)
    out, _ = process.communicate(timeout=10)
    return (out or b"").decode(), drawn.decode()


def problem(status: int, code: str, detail: str) -> Reply:
    """A problem document."""
    body = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code}
    return Reply(body, status=status, type="application/problem+json")


def record(status: str = "ready", *, id_: str = ID, **changes: Any) -> Record:
    """A deployment's record in the API's shape; `status` says how far it came."""
    ended = status not in STAGES
    last = "publishing" if status == "ready" else "building" if ended else status
    stages = [
        {
            "name": name,
            "started_at": f"2026-01-02T03:04:0{number}.000Z",
            "seconds": 0.5 + number if ended or name != status else None,
        }
        for number, name in enumerate(STAGES[: STAGES.index(last) + 1])
    ]
    page, own = f"http://pushlane.test/deployments/{id_}", f"http://{id_}--site.sites.test"
    return {
        "id": id_,
        "project": "site",
        "repository": "acme/site",
        "ref": "refs/heads/main",
        "branch": "main",
        "commit": "0123456789012345678901234567890123456789",
        "status": status,
        "trigger": "manual",
        "production": True,
        "live": status == "ready",
        "message": "Fix the header\n\nAnd more.",
        "author": "Ada",
        "attempts": {"fetch": 1, "build": 1},
        "received_at": "2026-01-02T03:04:00.000Z",
        "stages": stages,
        "seconds": 8.5 if ended else None,
        "urls": {
            "page": page,
            "deployment": own,
            "branch": "http://main--site.sites.test",
            "production": "http://site.sites.test",
        },
        "url": own if status == "ready" else page,
        "error": None,
        "reason": "",
        "stop": "",
        "delivery": "",
        "redeploy_of": "",
        "framework": "vite",
        "files": 3,
        "bytes": 12_345,
        **changes,
    }


def line(text: str, id_: str) -> bytes:
    """A log line as an event."""
    return f"id: {id_}\ndata: {text}\n\n".encode()


def changed(now: Record) -> bytes:
    """A change of status as an event."""
    return f"event: status\ndata: {json.dumps(now)}\n\n".encode()


def end(now: Record) -> bytes:
    """The last event."""
    return f"event: end\ndata: {json.dumps(now)}\n\n".encode()


def whole_way(now: Record) -> list[Event]:
    """A stream from the first stage to this end, with one line of log."""
    stages = [changed(record(stage["name"])) for stage in now["stages"]]
    return [*stages[:4], line("building", "0-1-1"), *stages[4:], end(now)]


def _missing(path: str) -> Reply:
    return problem(404, "not_found", f"there is nothing at {path}")


def _response(reply: Reply, scope: Scope) -> Response:
    if isinstance(reply.body, list):
        return StreamingResponse(_events(reply.body, scope), media_type="text/event-stream")
    if isinstance(reply.body, str):
        return Response(
            reply.body, reply.status, dict(reply.headers), media_type=reply.type or "text/plain"
        )
    return Response(
        json.dumps(reply.body),
        reply.status,
        dict(reply.headers),
        media_type=reply.type or "application/json",
    )


async def _events(events: Sequence[Event], scope: Scope) -> AsyncIterator[bytes]:
    for event in events:
        match event:
            case bytes():
                yield event
            case float():
                await asyncio.sleep(event)
            case _:
                _transport(scope).abort()
                return


def _transport(scope: Scope) -> asyncio.Transport:
    found: asyncio.Transport = scope["extensions"][TRANSPORT]["find"]()
    return found


async def _nothing() -> None:
    pass
