"""What was fetched once and is kept: whole or not at all, whoever else is at it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_RESOLVED_SECONDS = 24 * 3600


async def remembered(cache: Path, key: str, ask: Callable[[], Awaitable[str]]) -> str:
    """What `ask` answered to `key` within the last day."""
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    path = cache / f"resolved-{name}"
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime < _RESOLVED_SECONDS:
            return path.read_text()
    answer = await ask()
    part = path.with_suffix(f".{secrets.token_hex(4)}")
    part.write_text(answer)
    part.replace(path)
    return answer


@asynccontextmanager
async def once(cache: Path, name: str) -> AsyncIterator[tuple[Path, bool]]:
    """A directory to fill, and False; or whatever, and True, where cache/name is there already.

    What was filled becomes cache/name when the block ends well: whole, or not at all, whoever else
    is at it, in this process or another.
    """
    place = cache / name
    if place.is_dir():
        yield place, True
        return
    handle = await asyncio.to_thread(_locked, cache / f".{name}.lock")
    part = cache / f".{name}.part"
    try:
        if place.is_dir():
            yield place, True
            return
        await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        part.mkdir()
        yield part, False
        part.chmod(0o755)
        part.rename(place)
    finally:
        await asyncio.to_thread(shutil.rmtree, part, ignore_errors=True)
        os.close(handle)


def _locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle
