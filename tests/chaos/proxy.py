"""A TCP proxy before a server, which breaks what passes through it in the ways that networks do."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

Address = tuple[str, int]

_REQUEST: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n")
_ANSWER: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_DRAIN_SECONDS: Final = 3.0
_REFUSAL: Final = (
    b"HTTP/1.1 %d Refused\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b"
)
_REFUSAL_BODY: Final = b"<Error><Code>ServiceUnavailable</Code><Message>ordered</Message></Error>"


@dataclass(slots=True)
class Exchange:
    """One HTTP request that passed, and its answer. Times are Unix seconds."""

    link: str
    method: str
    path: str
    began_at: float
    status: int = 0
    """0 while (or unless) no answer has passed."""
    answered_at: float = 0.0
    retry_after: int = 0

    def note(self, piece: bytes) -> None:
        """Takes from the beginning of the answer what it says."""
        found = _ANSWER.match(piece)
        if found is None or found[1] == b"100":
            return
        self.status, self.answered_at = int(found[1]), time.time()
        if after := _RETRY_AFTER.search(piece):
            self.retry_after = int(after[1])


class Proxy:
    """Listens on a port of its own; each connection goes on to the first target that accepts.

    `hits` counts what each kind of fault met: requests for `refuse`, answers for `cut`, and for the
    others the times that there was any connection to meet.
    """

    def __init__(
        self, name: str, targets: Callable[[], Sequence[Address]], *, http: bool = False
    ) -> None:
        self.name = name
        self.port = 0
        self.hits: Counter[str] = Counter()
        self.exchanges: list[Exchange] = []
        self.latency = 0.0
        self.faulty_until = 0.0
        """Unix seconds until which what passes may have met a fault."""
        self._targets = targets
        self._http = http
        self._refusals: list[int] = []
        self._cuts: list[int] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self._passages: set[_Passage] = set()
        self._listening: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens; `port` says where."""
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Ends every connection."""
        self.restore()
        if self._listening is not None:
            self._listening.close()
        for passage in tuple(self._passages):
            passage.abort()

    def refuse(self, *, times: int, status: int = 503) -> None:
        """The next requests are answered by this status, and reach nobody. HTTP only."""
        self._refusals += [status] * times
        self._note(2.0)

    def cut(self, *, times: int, after: int) -> None:
        """The next answers end after so many bytes, by a reset."""
        self._cuts += [after] * times
        self._note(2.0)

    def reset(self) -> None:
        """Every connection that is open ends by a reset."""
        self.hits["reset"] += bool(self._passages)
        for passage in tuple(self._passages):
            passage.abort()
        self._note(1.0)

    async def silence(self, seconds: float) -> None:
        """No byte passes for so long, and nobody is told; then what was held back flows on."""
        self.hits["silence"] += bool(self._passages)
        self._note(seconds + 1.0)
        self._flows.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._flows.set()

    async def slow(self, seconds: float, *, latency: float) -> None:
        """For so long, each piece of what passes comes late."""
        self.hits["slow"] += bool(self._passages)
        self._note(seconds + latency)
        self.latency = latency
        try:
            await asyncio.sleep(seconds)
        finally:
            self.latency = 0.0

    def forgive(self) -> None:
        """Refuses no more."""
        self._refusals.clear()

    def restore(self) -> None:
        """Forgets every fault that is ordered or goes on."""
        self.forgive()
        self._cuts.clear()
        self.latency = 0.0
        self._flows.set()

    def _note(self, seconds: float) -> None:
        self.faulty_until = max(self.faulty_until, time.time() + seconds)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for host, port in self._targets():
            with suppress(OSError):
                there = await asyncio.open_connection(host, port)
                break
        else:
            writer.transport.abort()
            return
        passage = _Passage(self, (reader, writer), there)
        self._passages.add(passage)
        try:
            await passage.carry()
        finally:
            self._passages.discard(passage)

    async def hold(self) -> None:
        """Waits as the faults of this moment say, before a piece goes on."""
        if self.latency:
            await asyncio.sleep(self.latency)
        await self._flows.wait()

    def take_refusal(self, piece: bytes) -> int:
        """The status by which the request that begins here is refused; 0 lets it pass."""
        if not self._http:
            return 0
        request = _REQUEST.match(piece)
        if request is None:
            return 0
        self.exchanges.append(
            Exchange(self.name, request[1].decode(), request[2].decode("latin-1"), time.time())
        )
        if not self._refusals:
            return 0
        self.hits["refuse"] += 1
        self._note(1.0)
        return self._refusals.pop(0)

    def take_cut(self) -> int | None:
        """After how many bytes this answer is cut; None lets it pass."""
        if not self._cuts:
            return None
        self.hits["cut"] += 1
        self._note(1.0)
        return self._cuts.pop(0)


class _Passage:
    """One connection, from the client to the server and back."""

    def __init__(
        self,
        proxy: Proxy,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._here, self._there = here, there
        self._exchange: Exchange | None = None
        self._answering = True
        """Whether the server spoke last: what the client says then begins a request."""

    async def carry(self) -> None:
        both = [asyncio.ensure_future(self._onward()), asyncio.ensure_future(self._back())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for _, writer in (self._here, self._there):
                writer.close()

    def abort(self) -> None:
        """Resets both ends."""
        for _, writer in (self._here, self._there):
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _onward(self) -> None:
        with suppress(OSError):
            while piece := await self._here[0].read(65536):
                await self._proxy.hold()
                if self._answering:
                    count = len(self._proxy.exchanges)
                    if status := self._proxy.take_refusal(piece):
                        await self._refuse(status)
                        return
                    if len(self._proxy.exchanges) > count:
                        self._exchange = self._proxy.exchanges[-1]
                    self._answering = False
                self._there[1].write(piece)
                await self._there[1].drain()

    async def _back(self) -> None:
        with suppress(OSError):
            while piece := await self._there[0].read(65536):
                await self._proxy.hold()
                if not self._answering:
                    self._answering = True
                    after = self._proxy.take_cut()
                    if after is not None:
                        self._here[1].write(piece[:after])
                        await self._here[1].drain()
                        self.abort()
                        return
                    if self._exchange is not None:
                        self._exchange.note(piece)
                self._here[1].write(piece)
                await self._here[1].drain()

    async def _refuse(self, status: int) -> None:
        """Answers in the server's place, and reads what the client still sends."""
        body = _REFUSAL_BODY
        self._here[1].write(_REFUSAL % (status, len(body), body))
        await self._here[1].drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._here[0].read(65536):
                    pass
