"""The bytes of releases: from memory, else from disk, else from the bucket."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import Final

from bot.core.bucket import Bucket
from bot.core.errors import Errored
from bot.gateway.disk import Disk
from bot.gateway.flights import Flights
from bot.gateway.located import Located
from bot.gateway.memory import Memory
from bot.gateway.reading import Reading

_OVERHEAD: Final = 300
"""Bytes that an entry weighs beside its content."""


class Contents:
    """Reads contents and blocks of them; whoever wants the same at the same time shares a read.

    Nothing here is ever out of date, since a key names its bytes.
    """

    def __init__(self, bucket: Bucket, disk: Disk, reading: Reading, *, memory_bytes: int) -> None:
        self._bucket = bucket
        self._disk = disk
        self._reading = reading
        self._memory: Memory[str, bytes] = Memory(memory_bytes)
        self._flights: Flights[bytes] = Flights()

    def held(self, content: Located) -> bytes | None:
        """The bytes, when they are in memory."""
        return self._memory.get(content.key)

    async def read(self, content: Located) -> bytes:
        """The bytes of a content or block of at most `located.BLOCK` bytes. Raises `Errored`."""
        if not content.length:
            return b""
        found = self._memory.get(content.key)
        return found if found is not None else await asyncio.shield(self.begin(content))

    def begin(self, content: Located) -> asyncio.Task[bytes]:
        """Begins to read it, or joins who does. To be awaited behind a shield."""
        return self._flights.join(content.key, partial(self._read, content))

    async def aclose(self) -> None:
        """Ends what is under way."""
        await self._flights.aclose()

    async def _read(self, content: Located) -> bytes:
        body = await self._disk.read(content.key, length=content.length)
        if body is None:
            body = await self._reading.again(content.pack, partial(self._fetch, content))
            await self._disk.write(content.key, body)
        if content.remembered:
            self._memory.put(content.key, body, len(body) + _OVERHEAD)
        return body

    async def _fetch(self, content: Located) -> bytes:
        body = await self._bucket.get_range(
            content.pack, offset=content.offset, length=content.length
        )
        if content.sha256 and hashlib.sha256(body).hexdigest() != content.sha256:
            raise Errored(
                f"{content.pack} has other bytes at {content.offset} than its manifest says",
                code="content_broken",
            )
        return body
