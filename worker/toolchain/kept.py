"""What was fetched once and is kept: whole or not at all, whoever else is at it, within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from bot.core.errors import Errored

_RESOLVED_SECONDS: Final = 24 * 3600.0
_FORGOTTEN_SECONDS: Final = 90 * 24 * 3600.0
FOR_EVER: Final = float("inf")


async def remembered(
    cache: Path,
    key: str,
    ask: Callable[[], Awaitable[str]],
    *,
    seconds: float = _RESOLVED_SECONDS,
) -> str:
    """What `ask` answered to `key` within the last day, or before where it is Errored now."""
    name = hashlib.sha256(key.encode()).hexdigest()[:24]
    path = cache / f"resolved-{name}"
    old: str | None = None
    with contextlib.suppress(OSError):
        old = path.read_text()
        if time.time() - path.stat().st_mtime < seconds:
            return old
    try:
        answer = await ask()
    except Errored:
        # A registry that is away takes nothing away from whoever has asked it once.
        if old is None:
            raise
        return old
    part = path.with_suffix(f".{secrets.token_hex(4)}")
    part.write_text(answer)
    part.replace(path)
    return answer


async def identified(cache: Path, program: Path, ask: Callable[[], Awaitable[str]]) -> str:
    """What `ask` says of a program of the machine, asked once for each that it ever was."""
    real = await asyncio.to_thread(program.resolve)
    found = await asyncio.to_thread(real.stat)
    key = f"program {real} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    return await remembered(cache, key, ask, seconds=FOR_EVER)


@asynccontextmanager
async def once(cache: Path, name: str) -> AsyncIterator[tuple[Path, bool]]:
    """A directory to fill, and False; or whatever, and True, where cache/name is there already.

    What was filled becomes cache/name when the block ends well: whole, or not at all, whoever else
    is at it, in this process or another. Its time of use is now, which `prune` heeds.
    """
    place = cache / name
    if used(cache, name):
        yield place, True
        return
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    handle = await asyncio.to_thread(locked, cache / f".{name}.lock", fcntl.LOCK_EX)
    part = cache / f".{name}.part"
    try:
        if place.is_dir():
            os.utime(place)
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


def used(cache: Path, name: str) -> bool:
    """Whether cache/name is there; if so it counts as used now, and stays for this build."""
    place = cache / name
    if not place.is_dir():
        return False
    # What prunes holds this lock alone, and for no longer than it takes to look and to rename.
    handle = locked(cache / f".{name}.lock", fcntl.LOCK_SH)
    try:
        os.utime(place)
    except FileNotFoundError:
        return False
    finally:
        os.close(handle)
    return True


def prune(cache: Path, *, most_bytes: int, spared_seconds: float) -> list[str]:
    """Removes what was used least recently until the rest takes at most `most_bytes`. Blocking.

    Never what was used within `spared_seconds`, which is to be longer than a build may last; and
    what is being fetched is left alone. Answers the names of what went.
    """
    now = time.time()
    _tidy(cache, now)
    sizes, ages = {}, {}
    for place in cache.glob("[!.]*"):
        with contextlib.suppress(OSError):
            if place.is_dir() and not place.is_symlink():
                ages[place.name] = now - place.stat().st_mtime
                sizes[place.name] = _bytes_of(place)
    removed = []
    total = sum(sizes.values())
    for name in sorted(ages, key=lambda each: -ages[each]):
        if total <= most_bytes or ages[name] < spared_seconds:
            break
        if _remove(cache, name, spared_seconds):
            total -= sizes[name]
            removed.append(name)
    return removed


def _remove(cache: Path, name: str, spared_seconds: float) -> bool:
    place, gone = cache / name, cache / f".{name}.part"
    with _alone(cache / f".{name}.lock") as alone:
        if not alone:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        try:
            if time.time() - place.stat().st_mtime < spared_seconds:
                return False
            place.rename(gone)
        except OSError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
    return True


def _tidy(cache: Path, now: float) -> None:
    # What a process that was killed had begun, and answers that nobody has asked for since.
    for part in cache.glob(".*.part"):
        with _alone(part.with_suffix(".lock")) as alone:
            if alone:
                shutil.rmtree(part, ignore_errors=True)
    for answer in cache.glob("resolved-*"):
        with contextlib.suppress(OSError):
            if now - answer.stat().st_mtime > _FORGOTTEN_SECONDS:
                answer.unlink()


def _bytes_of(top: Path) -> int:
    found = 0
    for path in top.rglob("*"):
        with contextlib.suppress(OSError):
            found += path.lstat().st_blocks * 512
    return found


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether nobody else holds this lock; if so it is ours within the block."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def locked(path: Path, how: int) -> int:
    """A descriptor that holds the lock `how` (fcntl.LOCK_…) on a file until closed. Blocking."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, how)
    return handle
