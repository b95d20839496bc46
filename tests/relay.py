"""A TCP relay before a server, by which a test cuts the connection or lets it fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Relay:
    """Hands bytes on in both directions for as long as it may."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._refuses = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Ends all connections, and each new one at once."""
        self._refuses = True
        for writer in self._writers:
            writer.transport.abort()

    def silence(self) -> None:
        """Lets no byte through any more, and tells nobody."""
        self._flows.clear()

    def restore(self) -> None:
        """Serves again."""
        self._refuses = False
        self._flows.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        if self._refuses:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        both = {writer, there_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer))
        finally:
            self._writers -= both
            for each in both:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while found := await reader.read(65536):
                await self._flows.wait()
                writer.write(found)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay before the server at `url`, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    relay = Relay(parts.hostname, parts.port)
    server = await asyncio.start_server(relay.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    netloc = parts.netloc.rpartition("@")[0]
    through = parts._replace(netloc=f"{netloc}@127.0.0.1:{port}" if netloc else f"127.0.0.1:{port}")
    try:
        yield relay, through.geturl()
    finally:
        server.close()
        relay.restore()
        relay.cut()
