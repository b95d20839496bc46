"""What is kept on the worker's disk: whole trees, each under a key, bounded, evicted by last use.

A kept tree is a directory with `record.json` and `tree`. Whoever uses one holds a shared lock on
it, whoever changes or removes one an exclusive lock. It appears by one rename, when all of it is
on the disk; a directory whose name begins with a dot is on its way in or out, and is removed when
nobody holds it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bot.core.deployment import Deployment
from worker.caches.trust import Trust, readable, trust_of
from worker.sandbox import kernel
from worker.sandbox.records import Owner

SCHEMA: Final = 1
_RECORD: Final = "record.json"
_TREE: Final = "tree"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a kept tree. Times are seconds since the epoch."""

    schema: int = SCHEMA
    deployment: str
    """The one whose build made it."""
    made_at: float
    files: int = 0
    bytes: int = 0
    parts: Mapping[str, str] = {}
    """What decided: a short digest of each part of the key."""
    modes: Mapping[str, int] = {}
    """Files of the source, relative to the workspace, whose mode alone was changed."""


@dataclass(slots=True)
class Held:
    """A kept tree in use: it stays as it is until `release`."""

    record: Record
    tree: Path
    handle: int

    def release(self) -> None:
        """Lets it be evicted."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


class Store:
    """One directory of kept trees; several workers of a machine may share it. All is blocking."""

    def __init__(self, directory: Path, *, most_bytes: int) -> None:
        self._directory = directory
        self._most = most_bytes

    @property
    def most_bytes(self) -> int:
        """What all kept trees together may take."""
        return self._most

    def take(
        self, deployment: Deployment, name: str, *, owner: Owner | None, newest: float = 0.0
    ) -> Held | None:
        """The kept tree `name` that this deployment may read, its own level's first; None for none.

        One made before `newest` does not count, nor one that another build user made and that is in
        use just now: a build can only write to what is its own.
        """
        for trust in readable(trust_of(deployment)):
            place = self._level(deployment, trust) / name
            handle = _locked(place, fcntl.LOCK_SH)
            if handle is None:
                continue
            record = _read(place)
            tree = place / _TREE
            if (
                record is not None
                and record.made_at >= newest
                and _owned(tree, handle, owner)
                and _is(place, handle)
            ):
                with contextlib.suppress(OSError):
                    os.utime(place / _RECORD)
                return Held(record, tree, handle)
            os.close(handle)
        return None

    def add(
        self, deployment: Deployment, name: str, fill: Callable[[Path], Record | None]
    ) -> Record | None:
        """Keeps what `fill` writes into the directory that it is given; None: it is not worth it.

        Whole or not at all. One of that name makes way; whoever uses it has it until the end. What
        `fill` raises is raised again.
        """
        level = self._level(deployment, trust_of(deployment))
        level.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = level / f".part-{secrets.token_hex(8)}"
        part.mkdir(mode=0o700)
        handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            tree = part / _TREE
            tree.mkdir(mode=0o700)
            record = fill(tree)
            if record is None or record.bytes > self._most:
                return None
            (part / _RECORD).write_bytes(msgspec.json.encode(record))
            kernel.sync(handle)
            with contextlib.suppress(FileNotFoundError):
                (level / name).rename(level / f".gone-{secrets.token_hex(8)}")
            part.rename(level / name)
        finally:
            os.close(handle)
            if part.exists():
                kernel.remove_tree(part)
        self.make_room()
        return record

    def forget(self, deployment: Deployment, name: str) -> None:
        """Removes the kept tree `name` of this deployment's own level, unless it is in use."""
        self._gone(self._level(deployment, trust_of(deployment)) / name)

    def newest(self, deployment: Deployment, kind: str) -> Record | None:
        """The record of the newest kept tree of a kind that this deployment may read."""
        found = [
            record
            for trust in readable(trust_of(deployment))
            for place in _trees(self._level(deployment, trust))
            if place.name.startswith(kind) and (record := _read(place)) is not None
        ]
        return max(found, key=lambda record: record.made_at, default=None)

    def make_room(self) -> None:
        """Removes what was not used for longest until the rest fits, and what nobody finished."""
        found = []
        total = 0
        for level in self._directory.glob("*/*/*"):
            for place in _trees(level, hidden=True):
                record = None if place.name.startswith(".") else _read(place)
                if record is None:
                    self._gone(place)
                    continue
                with contextlib.suppress(OSError):
                    found.append(((place / _RECORD).stat().st_mtime, record.bytes, place))
                    total += record.bytes
        for _, size, place in sorted(found):
            if total <= self._most:
                return
            if self._gone(place):
                total -= size

    def clear(self, deployment: Deployment) -> None:
        """Removes all that was kept for the deployment's project and is not in use."""
        for trust in Trust:
            for place in _trees(self._level(deployment, trust)):
                self._gone(place)

    def _level(self, deployment: Deployment, trust: Trust) -> Path:
        return self._directory / deployment.repository_key / deployment.project / trust.value

    def _gone(self, place: Path) -> bool:
        """Removes a kept tree unless it is in use. Whether there is none now."""
        handle = _locked(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if handle is None:
            return not place.exists()
        try:
            if not place.name.startswith("."):
                moved = place.with_name(f".gone-{secrets.token_hex(8)}")
                place.rename(moved)
                place = moved
            kernel.remove_tree(place)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


def _trees(level: Path, *, hidden: bool = False) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for place in sorted(level.iterdir()):
            if hidden or not place.name.startswith("."):
                yield place


def _locked(place: Path, kind: int) -> int | None:
    """A descriptor of the directory, locked; None where it is not there, or not to be had."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind)
    except OSError:
        os.close(handle)
        return None
    if _is(place, handle):
        return handle
    os.close(handle)
    return None


def _is(place: Path, handle: int) -> bool:
    """Whether the directory is still the one that was opened: another may have removed it."""
    try:
        return os.path.samestat(place.stat(follow_symlinks=False), os.fstat(handle))
    except OSError:
        return False


def _read(place: Path) -> Record | None:
    try:
        record = msgspec.json.decode((place / _RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None
    return record if record.schema == SCHEMA else None


def _owned(tree: Path, handle: int, owner: Owner | None) -> bool:
    """Gives the tree to a build user. Whether it is theirs now; the lock is shared again."""
    try:
        if owner is None or tree.stat().st_uid == owner.uid:
            return True
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        kernel.own_tree(tree, uid=owner.uid, gid=owner.gid)
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        return False
    return True


def age(record: Record) -> str:
    """How long ago it was made, as a person says it."""
    seconds = max(0, int(time.time() - record.made_at))
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number} {word}{'' if number == 1 else 's'} ago"
    return "just now"
