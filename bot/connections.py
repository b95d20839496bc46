"""What a connection may hold and how long it may last, whoever is at its other end.

Everybody reaches the port, so these limits hold before any signature or token is looked at. The
parser that uvicorn uses has none of them: https://github.com/encode/uvicorn/issues/157
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import logging
import resource
import struct
import termios
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, Final

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bot.problems import RETRY_SECONDS, problem

log = logging.getLogger(__name__)

_FILES_WANTED: Final = 2048
_FILES_APART: Final = 400
"""Open files that are not visitors': Redis, S3, git, caches, what the process began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times are seconds."""

    connections: int
    """At once. Beyond it, who waits longest without having asked for anything makes room."""
    head_bytes: int = 65_536
    """The request line and all headers."""
    head_seconds: float = 15
    """From its first byte to its end, and from a connection's beginning to the first head's end."""
    body_seconds: float = 30
    """From the head's end to the body's. GitHub itself gives up after 10."""
    unread_seconds: float = 30
    """A reader who takes not a byte of what is sent for so long is gone."""


def limits() -> Limits:
    """The limits of this process, which may open more files from here on, where it is let."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES_WANTED:
        soft = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(_FILES_WANTED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return Limits(connections=max(min(soft, _FILES_WANTED) - _FILES_APART, 64))


def within(limits: Limits) -> type[HttpToolsProtocol]:
    """The protocol of a server whose connections keep these limits: uvicorn's `http`."""
    return type("Connection", (_Connection,), {"limits": limits})


class _Unread(HttpToolsProtocol):
    """What is sent: it waits for a reader who takes some of it now and then, and for no other."""

    limits: ClassVar[Limits]
    _watch: asyncio.TimerHandle | None = None
    _left_bytes = 0

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._end_watch()
        super().resume_writing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_watch()
        super().connection_lost(exc)

    def refuse(self, status: int, code: str, detail: str) -> None:
        """Answers for the application, which never sees the request or has lost it, and closes."""
        more = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}
        answer = problem(status, code=code, detail=detail, headers={**more, "Connection": "close"})
        lines = [f"HTTP/1.1 {status} ".encode()]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()
        self._watch_closing()

    def _watch_closing(self) -> None:
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._watch_reader()

    def _watch_reader(self) -> None:
        """Looks again later whether the other end has taken any of what waits for it."""
        if self._watch is None:
            self._left_bytes = self._untaken()
            self._watch = self.loop.call_later(self.limits.unread_seconds, self._look_at_reader)

    def _look_at_reader(self) -> None:
        self._watch = None
        # Nothing is written meanwhile, so that it can only have become less.
        if self._untaken() < self._left_bytes:
            self._watch_reader()
        else:
            log.info("a reader took nothing", extra={"seconds": self.limits.unread_seconds})
            self.transport.abort()

    def _end_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _untaken(self) -> int:
        """Bytes that wait here and in the kernel, which has megabytes of room for a connection."""
        waiting = self.transport.get_write_buffer_size()
        try:
            answer = fcntl.ioctl(
                self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4)
            )
        except (OSError, ValueError, AttributeError):
            return waiting
        return waiting + int(struct.unpack("i", answer)[0])


class _Phase(Enum):
    HEAD = auto()
    BODY = auto()
    WHOLE = auto()
    """The request has come as a whole; it is answered, or the next one is waited for."""


class _Connection(_Unread):
    """What comes: so much of it, and in such a time."""

    phase = _Phase.HEAD
    waits_since = 0.0
    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    """As they came."""
    _spelt_bytes = 0
    """Of whole headers alone: one read may bring more of them than are let in."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter(_Phase.HEAD, self.limits.head_seconds)
        if len(self.connections) > self.limits.connections and not _make_room(self):
            self.refuse(503, "too_many_connections", "all connections are in use; try again soon")

    def connection_lost(self, exc: Exception | None) -> None:
        self._enter(_Phase.WHOLE)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.phase is not _Phase.BODY:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.phase is _Phase.WHOLE and self.is_idle and not self.timeout_keep_alive_task:
            # Line ends before a request are none yet; uvicorn would wait on without an end.
            self._enter(_Phase.HEAD, self.limits.head_seconds)
        if self.phase is _Phase.HEAD and self._head_bytes > self.limits.head_bytes:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._spelt_bytes = 0
        if self.phase is not _Phase.HEAD:
            self._enter(_Phase.HEAD, self.limits.head_seconds)

    def on_url(self, url: bytes) -> None:
        self._spell(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers of a body come here too.
        self._spell(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_bytes = 0
        self._enter(_Phase.BODY, self.limits.body_seconds)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_Phase.WHOLE)

    def send_400_response(self, msg: str) -> None:
        if self._spelt_bytes > self.limits.head_bytes:
            self._refuse_head()
        else:
            super().send_400_response(msg)

    def _enter(self, phase: _Phase, seconds: float = 0) -> None:
        """Begins a phase that may last so long; 0 is without an end."""
        self.phase, self.waits_since = phase, time.monotonic()
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._late, seconds) if seconds else None

    def _late(self, seconds: float) -> None:
        """The head or the body has not come in time."""
        if self.pipeline or (self.phase is _Phase.HEAD and not self.is_idle):
            # It is we who let it wait, until the answer before it is sent.
            self._enter(self.phase, seconds)
        elif self.phase is _Phase.HEAD and not self._head_bytes:
            self.transport.close()
        elif self.phase is _Phase.BODY and self.cycle.response_started:
            self.transport.abort()
        else:
            self.refuse(408, "request_late", f"the request did not come within {seconds:g} s")

    def _spell(self, count: int) -> None:
        self._spelt_bytes += count
        if self._spelt_bytes > self.limits.head_bytes:
            raise HttpParserError

    def _refuse_head(self) -> None:
        most = f"{self.limits.head_bytes // 1024} KB"
        self.refuse(431, "headers_too_large", f"request line and headers are more than {most}")


def _make_room(newest: _Connection) -> bool:
    """Ends who has waited longest for a request; False when all are at work.

    A sixteenth of them at once, so that a flood of connections is not looked through for each.
    """
    waiting = [
        each
        for each in newest.connections
        if isinstance(each, _Connection)
        and each is not newest
        and each.phase is not _Phase.BODY
        and each.is_idle
    ]
    count = max(len(waiting) // 16, 1)
    for each in heapq.nsmallest(count, waiting, key=lambda each: each.waits_since):
        # At once: others may come before its end is told.
        newest.connections.discard(each)
        each.transport.abort()
    return bool(waiting)
