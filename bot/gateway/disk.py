"""What was read from the bucket, as files: a cache that outlives the process and memory's size.

Every fault of the disk is a miss. A file's name is the key of its bytes, and it begins with their
SHA-256, so that one which a power cut left torn is seen as such.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from bot.gateway.memory import Memory

P = ParamSpec("P")
R = TypeVar("R")
log = logging.getLogger(__name__)

_THREADS: Final = 4
_NEW: Final = ".new-"
_OURS: Final = re.compile(r"[0-9a-f]{64}(\.[0-9]{1,15}|\.json)?")
_STALE_SECONDS: Final = 3600
_CLUSTER: Final = 4096
_DIGEST: Final = hashlib.sha256().digest_size


class Disk:
    """Files below one directory, up to a number of bytes; those used longest ago go first."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        """Several processes may share a directory; each counts what it found and wrote itself."""
        self._directory = directory
        self._most = most_bytes
        self._sizes: Memory[str, None] = Memory(most_bytes)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway-disk")

    async def read(self, key: str, *, length: int | None = None) -> bytes | None:
        """The bytes of `key`, or None: not there, torn, or not `length` bytes."""
        return await self._call(self._read, key, length) if self._most > 0 else None

    async def write(self, key: str, body: bytes) -> None:
        """Keeps bytes, if it can."""
        if self._most > 0:
            await self._call(self._write, key, body)

    async def look(self) -> None:
        """Takes stock of what earlier processes left, so that it too makes room in its turn."""
        if self._most > 0:
            await self._call(self._look)

    async def aclose(self) -> None:
        """What is under way is awaited."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _call(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(act, *args, **kwargs))

    def _path(self, key: str) -> Path:
        return self._directory / key[:2] / key

    def _read(self, key: str, length: int | None) -> bytes | None:
        try:
            with self._path(key).open("rb", buffering=0) as file:
                digest, body = file.read(_DIGEST), file.readall()
                os.utime(file.fileno())
        except OSError:
            return None
        if length not in (None, len(body)) or hashlib.sha256(body).digest() != digest:
            return None
        with self._lock:
            self._sizes.get(key)
        return body

    def _write(self, key: str, body: bytes) -> None:
        path = self._path(key)
        try:
            if not path.parent.is_dir():
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._directory.chmod(0o700)
                path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, new = tempfile.mkstemp(prefix=_NEW, dir=path.parent)
            try:
                with os.fdopen(handle, "wb", buffering=0) as file:
                    for part in (hashlib.sha256(body).digest(), body):
                        if file.write(part) != len(part):
                            raise OSError("short write")
                Path(new).replace(path)
            except BaseException:
                Path(new).unlink(missing_ok=True)
                raise
        except OSError as error:
            log.debug("the cache on disk takes nothing", extra={"error": str(error)})
            return
        self._count([(key, len(body) + _DIGEST)])

    def _look(self) -> None:
        found: list[tuple[float, str, int]] = []
        stale = time.time() - _STALE_SECONDS
        with suppress(OSError):
            for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
                with suppress(FileNotFoundError):  # another process may have made room
                    status = path.lstat()
                    if _OURS.fullmatch(path.name):
                        found.append((status.st_mtime, path.name, status.st_size))
                    elif path.name.startswith(_NEW) and status.st_mtime < stale:
                        path.unlink()
        self._count([(key, size) for _, key, size in sorted(found)], older=True)

    def _count(self, files: Iterable[tuple[str, int]], *, older: bool = False) -> None:
        """Enters files, and removes others for them; `older` than what was used meanwhile."""
        forgotten: list[str] = []
        with self._lock:
            used = self._sizes.keys() if older else []
            for key, size in files:
                forgotten += self._sizes.put(key, None, -(-size // _CLUSTER) * _CLUSTER)
            for key in used:
                self._sizes.get(key)
        for key in forgotten:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)
