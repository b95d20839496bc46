"""Copies what an installation wrote, or a framework cached, out of a workspace that strangers fill.

Only regular files, directories, links and the marks of an overlay are copied, nothing that a link
leads to; set-id bits are dropped. A tree that holds a secret, in any form that `masking` knows, is
not copied at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker import masking
from worker.caches.keys import FACTS
from worker.sandbox.records import Owner

_PIECE: Final = 1 << 20
_OPAQUE: Final = "trusted.overlay.opaque"
_UNMOVABLE: Final = frozenset({"trusted.overlay.redirect", "trusted.overlay.metacopy"})
"""They speak of what lay below, which is another tree the next time."""


class Unfit(Exception):
    """This tree is not kept; the message says why, for the log."""


@dataclass(slots=True)
class Found:
    """What an installation wrote."""

    paths: list[str] = field(default_factory=list)
    """Relative to the layer: what packages are, each directory before what is in it."""
    strange: list[str] = field(default_factory=list)
    """What else it wrote into the source, likewise."""
    modes: dict[str, int] = field(default_factory=dict)
    """Files of the source whose mode alone it changed."""


def survey(layer: Path, bottom: Path, *, check: Callable[[], None]) -> Found:
    """Looks through a covered layer; `bottom` is what lay under it. `check` may raise, to end."""
    found = Found()
    for path, status in walk(layer, check):
        parts = path.split("/")
        if parts[0] == "home":
            if not any(_under(path, f"home/{each}") for each in FACTS["downloads"]):
                found.paths.append(path)
        elif parts[0] == "source":
            on_the_way = stat.S_ISDIR(status.st_mode) and (
                _leads_to_package(parts) or _plain_below(bottom, path)
            )
            if on_the_way or _is_package(parts):
                found.paths.append(path)
            elif _only_mode(layer / path, bottom / path, status):
                found.modes[path] = status.st_mode & 0o777
            else:
                found.strange.append(path)
    return found


def _is_package(parts: Sequence[str]) -> bool:
    if any(part in FACTS["written"] for part in parts):
        return True
    path = "/" + "/".join(parts[1:]) + "/"
    return any(f"/{each}/" in path for each in FACTS["written_at"])


def _leads_to_package(parts: Sequence[str]) -> bool:
    """Whether a directory may be there only for what an installation writes below it."""
    ends = ("/".join(parts[begin:]) + "/" for begin in range(1, len(parts)))
    return any(each.startswith(end) for end in ends for each in FACTS["written_at"])


def _under(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}/")


def _plain_below(bottom: Path, path: str) -> bool:
    """Whether the source has a directory there: the layer's is only on the way."""
    try:
        return stat.S_ISDIR((bottom / path).lstat().st_mode)
    except OSError:
        return False


def _only_mode(path: Path, below: Path, status: os.stat_result) -> bool:
    """Whether it is a file of the source with the same contents."""
    try:
        under = below.lstat()
        if not (stat.S_ISREG(status.st_mode) and stat.S_ISREG(under.st_mode)):
            return False
        return status.st_size == under.st_size and _same(path, below)
    except OSError:
        return False


def _same(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while True:
            piece = first.read(_PIECE)
            if piece != second.read(_PIECE):
                return False
            if not piece:
                return True


def walk(top: Path, check: Callable[[], None]) -> Iterable[tuple[str, os.stat_result]]:
    """All below `top`, each directory before what is in it. Follows no link below it."""
    pending = [""]
    while pending:
        at = pending.pop()
        check()
        with os.scandir(top / at) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                status = entry.stat(follow_symlinks=False)
                path = f"{at}/{entry.name}" if at else entry.name
                yield path, status
                if stat.S_ISDIR(status.st_mode):
                    pending.append(path)


def within(top: Path, folder: str, *, check: Callable[[], None]) -> list[str]:
    """A folder below `top` and all in it, and the directories on the way; as `Found.paths`.

    Empty where it is not there, or a link is on the way.
    """
    way: list[str] = []
    for part in folder.split("/"):
        way.append(f"{way[-1]}/{part}" if way else part)
        try:
            if not stat.S_ISDIR((top / way[-1]).lstat().st_mode):
                return []
        except OSError:
            return []
    return [*way, *(f"{folder}/{path}" for path, _ in walk(top / folder, check))]


class Copy:
    """One copy under way."""

    def __init__(
        self,
        origin: Path,
        target: Path,
        *,
        owner: Owner | None,
        secrets: Iterable[str],
        most_bytes: int,
        check: Callable[[], None],
    ) -> None:
        """`origin` changes no more, `target` is an empty directory of ours."""
        self._origin = origin
        self._target = target
        self._owner = owner
        self._secrets = masking.traces(secrets)
        self._longest = max(map(len, self._secrets), default=0)
        self._most = most_bytes
        self._check = check
        self._links: dict[tuple[int, int], str] = {}
        self.bytes = 0
        self.files = 0

    def make(self, paths: Sequence[str]) -> None:
        """Copies `paths`, each directory before what is in it. Raises `Unfit` or OSError."""
        directories: list[tuple[str, os.stat_result]] = []
        for path in paths:
            self._check()
            status = (self._origin / path).lstat()
            self._one(path, status)
            if stat.S_ISDIR(status.st_mode):
                directories.append((path, status))
        for path, status in reversed(directories):
            self._dress(path, status)
        # Last: it says whose all of it is.
        if self._owner is not None:
            os.chown(self._target, self._owner.uid, self._owner.gid)

    def _one(self, path: str, status: os.stat_result) -> None:
        target = self._target / path
        mode = status.st_mode
        if stat.S_ISDIR(mode):
            names = set(os.listxattr(self._origin / path, follow_symlinks=False))
            if names & _UNMOVABLE:
                raise Unfit(f"{path} was renamed while it was installed")
            target.mkdir(mode=0o700)
            if _OPAQUE in names:
                os.setxattr(target, _OPAQUE, b"y", follow_symlinks=False)
            return
        if stat.S_ISLNK(mode):
            target.symlink_to((self._origin / path).readlink())
        elif stat.S_ISREG(mode):
            if not self._linked(path, status):
                self._contents(path)
        elif stat.S_ISCHR(mode) and status.st_rdev == 0:
            os.mknod(target, stat.S_IFCHR, 0)
            return
        else:
            return
        self.files += 1
        self._dress(path, status)

    def _linked(self, path: str, status: os.stat_result) -> bool:
        if status.st_nlink == 1:
            return False
        first = self._links.setdefault((status.st_dev, status.st_ino), path)
        if first == path:
            return False
        os.link(self._target / first, self._target / path, follow_symlinks=False)
        return True

    def _contents(self, path: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        before = b""
        with (
            os.fdopen(os.open(self._origin / path, flags), "rb", buffering=0) as read,
            (self._target / path).open("xb", buffering=0) as write,
        ):
            while piece := read.read(_PIECE):
                self._check()
                self.bytes += len(piece)
                if self.bytes > self._most:
                    raise Unfit("more than PUSHLANE_CACHE_MB may hold")
                if self._secrets:
                    looked = before + piece
                    if any(form in looked for form in self._secrets):
                        raise Unfit(f"a secret is in {path}")
                    before = looked[-self._longest :]
                write.write(piece)

    def _dress(self, path: str, status: os.stat_result) -> None:
        target = self._target / path
        if self._owner is not None:
            os.chown(target, self._owner.uid, self._owner.gid, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            target.chmod(status.st_mode & 0o777)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(target, ns=times, follow_symlinks=False)
