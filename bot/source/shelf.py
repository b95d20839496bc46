"""Where the mirrors stand: a directory for each, made whole, locked, discarded when damaged."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from weakref import WeakValueDictionary

from bot.core.errors import Errored
from bot.source.origin import Origin

log = logging.getLogger(__name__)

_WORKPLACE: Final = "work-"
DEPTHS: Final = (1, 10, 100, 1000)
"""Depths that have a mirror of their own; a shallow fetch cuts the history of what is beside it."""


def depth_class(depth: int) -> int:
    """The depth that is fetched for a wish of `depth`: at least as much; 0 is all."""
    return next((known for known in DEPTHS if 0 < depth <= known), 0)


class Shelf:
    """The mirrors below a directory. Several processes may share it."""

    def __init__(self, directory: Path, *, timeout_seconds: float) -> None:
        self._directory = directory
        self._timeout = timeout_seconds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def path(self, origin: Origin, depth: int) -> Path:
        """Where the mirror for this depth lies."""
        known = depth_class(depth)
        return self._directory / (
            f"{origin.key}.git" if known == 1 else f"{origin.key}-{known}.git"
        )

    def keeps(self, origin: Origin, commit: str, depth: int) -> bool:
        """Whether the commit was fetched before; then its ref is kept for a week more."""
        with suppress(OSError):
            os.utime(self.path(origin, depth) / kept(commit))
            return True
        return False

    def has(self, origin: Origin, commit: str, depth: int) -> bool:
        """Whether the commit is kept with all the history that `depth` means.

        Of a depth in between nobody knows: each fetch moves the place where history ends.
        """
        return depth_class(depth) in (0, 1) and self.keeps(origin, commit, depth)

    def make(self, mirror: Path) -> None:
        """Makes a mirror that is not there yet, or by halves."""
        if (mirror / "HEAD").exists():
            return
        for folder in ("objects/pack", "objects/info", "refs/pushlane", "info"):
            (mirror / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(mirror / "config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        _put(mirror / "HEAD", "ref: refs/heads/nothing\n")

    async def discard(self, mirror: Path, *, why: str) -> None:
        """Removes a damaged mirror; the next fetch makes it anew."""
        log.warning("mirror is damaged, made anew", extra={"mirror": mirror.name, "error": why})
        async with self.locked(mirror):
            await asyncio.to_thread(shutil.rmtree, mirror, ignore_errors=True)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A directory that is gone afterwards, on the mirrors' disk: git renames packs into it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._directory.glob(f"{_WORKPLACE}*"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - 2 * self._timeout:
                    shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(prefix=_WORKPLACE, dir=self._directory) as folder:
            yield Path(folder)

    @asynccontextmanager
    async def locked(self, mirror: Path) -> AsyncIterator[int]:
        """One fetch at a time into a mirror, among tasks and among processes.

        The descriptor is handed to git: so long as one lives, whose parent died, nobody comes in,
        and whatever lock file lies there afterwards is a dead one's.
        """
        lock = self._locks.setdefault(mirror.name, asyncio.Lock())
        async with lock:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = os.open(mirror.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                give_up_at = time.monotonic() + self._timeout
                while True:
                    try:
                        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if time.monotonic() > give_up_at:
                            raise Errored(
                                f"another fetch into {mirror.name} does not end",
                                code="fetch_timeout",
                            ) from None
                        await asyncio.sleep(0.05)
                yield held
            finally:
                os.close(held)


def kept(commit: str) -> str:
    """The ref that keeps a commit in its mirror."""
    return f"refs/pushlane/{commit}"


def clear(mirror: Path) -> None:
    """Removes what a killed git left. The lock is ours, so none that lives needs it.

    Without the lock nothing is written here: `Commands.start` has a `scratch` for that.
    """
    left = ("*.lock", "refs/pushlane/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*")
    for pattern in left:
        for path in mirror.glob(pattern):
            path.unlink(missing_ok=True)


def _put(path: Path, text: str) -> None:
    """Writes a file whole or not at all: another process may be at the same."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fresh.write_text(text)
    fresh.replace(path)
