"""The releases that are being served: their manifests, and the files prepared to be sent."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final

from bot.core import release
from bot.core.bucket import Bucket
from bot.core.release import Manifest
from bot.gateway.disk import Disk
from bot.gateway.flights import Flights
from bot.gateway.memory import Memory
from bot.gateway.prepared import Prepared, prepare
from bot.gateway.reading import Reading

_WEIGHT: Final = 4
"""Bytes of memory for each byte of a manifest's JSON; 3.2 were measured."""
_PREPARED: Final = 20_000
"""Files that are kept prepared, at about 2 KB each."""


class Sites:
    """Reads manifests, once for all who ask. A release never changes, so nothing gets old."""

    def __init__(self, bucket: Bucket, disk: Disk, reading: Reading, *, memory_bytes: int) -> None:
        self._bucket = bucket
        self._disk = disk
        self._reading = reading
        self._manifests: Memory[str, Manifest] = Memory(memory_bytes)
        self._prepared: Memory[tuple[str, str, bool, int], Prepared] = Memory(_PREPARED)
        self._flights: Flights[Manifest] = Flights()

    def held(self, name: str) -> Manifest | None:
        """The manifest of the release `name`, when it is in memory."""
        return self._manifests.get(name)

    async def manifest(self, name: str) -> Manifest:
        """The manifest of the release `name`. Raises `Errored`."""
        return self.held(name) or await self._flights.wait(name, partial(self._read, name))

    def prepared(
        self, name: str, manifest: Manifest, file: str, *, indexed: bool, status: int = 200
    ) -> Prepared:
        """The release's file, prepared to be answered with."""
        key = (name, file, indexed, status)
        found = self._prepared.get(key)
        if found is None:
            found = prepare(manifest, file, indexed=indexed, status=status)
            self._prepared.put(key, found, 1)
        return found

    async def kept(self, name: str) -> bool:
        """Whether the bucket still holds the release's manifest. Raises `Errored`."""
        return await self._reading.again(name, partial(self._bucket.size, name)) is not None

    async def aclose(self) -> None:
        """Ends what is under way."""
        await self._flights.aclose()

    async def _read(self, name: str) -> Manifest:
        key = f"{hashlib.sha256(name.encode()).hexdigest()}.json"
        body = await self._disk.read(key)
        if body is None:
            body = await self._reading.again(name, partial(self._bucket.get, name))
            manifest = release.decode(body)
            await self._disk.write(key, body)
        else:
            manifest = release.decode(body)
        self._manifests.put(name, manifest, len(body) * _WEIGHT)
        return manifest
