"""Walks the output of a build, which is a stranger's: only what may be published comes out.

Nothing is opened through a link. A link that stays inside the output stands for what it points at;
one that leaves it, a device, a FIFO, a socket, a hard link to something else or a name that is not
UTF-8 is refused by name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.core import sitefile
from bot.core.errors import BuildFailed, short
from worker import tree

_DEPTH: Final = 100
_HOPS: Final = 40
_HIDDEN: Final = frozenset({"node_modules", *sitefile.DECIDING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A directory to publish."""

    root: Path
    """Outside path of what the build sees as /work."""
    parts: tuple[str, ...]
    """The directory, below `root`."""
    source_itself: bool = False
    """No build made it: hidden files, node_modules and the like are left out."""
    owner: int | None = None
    """The only user whose files are taken; None: any."""

    @property
    def shown(self) -> str:
        """The directory as the repository names it."""
        return "/".join(self.parts[1:]) or "the repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file to publish."""

    path: str
    """In the site."""
    parts: tuple[str, ...]
    """Where it really lies, below the output's root."""
    size: int
    """Bytes, as they were when it was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an output may hold, and how long it may take."""

    megabytes: int
    files: int
    """And as many directories and links besides, each as often as a link leads to it."""
    seconds: float = 600.0
    """For walking and packing it."""


@dataclass(slots=True)
class _Walk:
    output: Output
    limits: Limits
    device: int
    check: Callable[[], None]
    found: list[Found] = field(default_factory=list)
    bytes: int = 0
    others: int = 0
    """Directories that were entered and links that were followed."""
    dangling: list[str] = field(default_factory=list)
    linked: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    links: dict[tuple[int, int], int] = field(default_factory=dict)


def walk(
    output: Output, limits: Limits, *, check: Callable[[], None] = lambda: None
) -> tuple[list[Found], list[str]]:
    """All files of the output in order of their path, and links that point at nothing.

    Blocking. `check` is called often and may raise to end the walk. Raises `BuildFailed` (codes
    `output_…`) for what may not be published.
    """
    with tree.directory(output.root) as top:
        device = os.fstat(top).st_dev
    walking = _Walk(output, limits, device, check)
    _directory(walking, output.parts, "", ())
    _refuse_foreign_links(walking)
    return sorted(walking.found, key=lambda found: found.path), walking.dangling


def _directory(
    walking: _Walk, parts: tuple[str, ...], site: str, above: tuple[tuple[int, int], ...]
) -> None:
    _count_other(walking)
    if len(above) > _DEPTH:
        raise _too_many(walking)
    below: list[str] = []
    with tree.directory(walking.output.root, parts) as at:
        status = os.fstat(at)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise _refused(walking, site, "link_loop", "a link to a directory that it lies in")
        if status.st_dev != walking.device:
            raise _refused(walking, site, "not_ours", "another file system")
        # Entries come from a copy of the descriptor, which scandir closes.
        with os.scandir(at) as entries:
            for entry in entries:
                walking.check()
                name = entry.name
                if _left_out(walking.output, name, parts):
                    continue
                path = f"{site}/{name}" if site else name
                _utf8(walking, path)
                if entry.is_symlink():
                    _link(walking, (*parts, name), path, (*above, identity))
                elif entry.is_dir(follow_symlinks=False):
                    below.append(name)
                else:
                    _file(walking, (*parts, name), path, entry.stat(follow_symlinks=False))
    for name in below:
        _directory(walking, (*parts, name), f"{site}/{name}" if site else name, (*above, identity))


def _count_other(walking: _Walk) -> None:
    walking.check()
    walking.others += 1
    if walking.others > walking.limits.files:
        raise _too_many(walking)


def _left_out(output: Output, name: str, parts: Sequence[str]) -> bool:
    if name == ".git":
        return True
    if not output.source_itself:
        return False
    hidden = name.startswith(".") and (name != ".well-known" or len(parts) > len(output.parts))
    return hidden or name in _HIDDEN


def _file(walking: _Walk, parts: tuple[str, ...], path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something that is no file")
        raise _refused(walking, path, "special", kind)
    if status.st_dev != walking.device:
        raise _refused(walking, path, "not_ours", "a file of another file system")
    if walking.output.owner not in (None, status.st_uid):
        raise _refused(walking, path, "not_ours", "a file of another user")
    if status.st_nlink > 1:
        identity = (status.st_dev, status.st_ino)
        walking.links[identity] = status.st_nlink
        walking.linked.setdefault(identity, []).append(path)
    walking.bytes += status.st_size
    walking.found.append(Found(path=path, parts=parts, size=status.st_size))
    if len(walking.found) > walking.limits.files:
        raise _too_many(walking)
    if walking.bytes > walking.limits.megabytes * 1_000_000:
        raise BuildFailed(
            f"{walking.output.shown} holds more than {walking.limits.megabytes} MB: publish less, "
            "or raise PUSHLANE_BUILD_OUTPUT_MB",
            code="output_too_large",
        )


_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _link(
    walking: _Walk, parts: tuple[str, ...], path: str, above: tuple[tuple[int, int], ...]
) -> None:
    target = _resolve(walking, parts, path)
    status = _status(walking.output.root.joinpath(*target))
    if status is None:
        walking.dangling.append(path)
        return
    if stat.S_ISDIR(status.st_mode):
        if (status.st_dev, status.st_ino) in above:
            raise _refused(walking, path, "link_loop", "a link to a directory that it lies in")
        _directory(walking, target, path, above)
    else:
        _file(walking, target, path, status)


def _resolve(walking: _Walk, parts: tuple[str, ...], path: str) -> tuple[str, ...]:
    """Where a link ends, below the root. Step by step, as the build saw it: nothing is opened."""
    output = walking.output
    here: list[str] = []
    left = list(reversed(parts))
    hops = 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise _leaves(walking, path)
            here.pop()
            continue
        place = output.root.joinpath(*here, part)
        status = _status(place)
        if status is None or not stat.S_ISLNK(status.st_mode):
            here.append(part)
            continue
        _count_other(walking)
        hops += 1
        if hops > _HOPS:
            raise _refused(walking, path, "link_loop", "a link that leads in circles")
        target = str(place.readlink())
        if target.startswith("/"):
            for prefix in ("/work", str(output.root)):
                if target == prefix or target.startswith(prefix + "/"):
                    target = target[len(prefix) :]
                    break
            else:
                raise _leaves(walking, path)
            here = []
        left.extend(reversed(target.split("/")))
    inside = tuple(here[: len(output.parts)]) == output.parts
    within = here[len(output.parts) :]
    if not inside or any(
        _left_out(output, name, (*output.parts, *within[:level]))
        for level, name in enumerate(within)
    ):
        raise _leaves(walking, path)
    return tuple(here)


def _status(path: Path) -> os.stat_result | None:
    """None where nothing is, nor could be: a link may name more than the kernel takes."""
    try:
        return os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        raise


def _refuse_foreign_links(walking: _Walk) -> None:
    """Hard links: every name of such a file must be found in the build's own directory."""
    missing = {
        identity
        for identity, count in walking.links.items()
        if count > len(walking.linked[identity])
    }
    if not missing:
        return
    seen = dict.fromkeys(missing, 0)
    for status in _everything(walking.output.root):
        walking.check()
        identity = (status.st_dev, status.st_ino)
        if identity in seen and not stat.S_ISDIR(status.st_mode):
            seen[identity] += 1
    for identity, count in seen.items():
        if count < walking.links[identity]:
            path = walking.linked[identity][0]
            kind = "a hard link whose other names were not found in the build"
            raise _refused(walking, path, "link_outside", kind)


def _everything(root: Path) -> Iterator[os.stat_result]:
    """What can be seen below `root`: not what lies deeper than the kernel takes in one path."""
    stack = [root]
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                yield entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(Path(entry.path))


def _utf8(walking: _Walk, path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise _refused(walking, path, "name", "a name that is not UTF-8") from None


def _shown(path: str) -> str:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _refused(walking: _Walk, path: str, code: str, kind: str) -> BuildFailed:
    return BuildFailed(
        f"{short(_shown(path), 45)} in {walking.output.shown} is {kind}, which is not published: "
        "remove it in the build",
        code=f"output_{code}",
    )


def _leaves(walking: _Walk, path: str) -> BuildFailed:
    return BuildFailed(
        f"{short(_shown(path), 45)} in {walking.output.shown} is a link that leaves it: copy the "
        "file instead",
        code="output_link_outside",
    )


def _too_many(walking: _Walk) -> BuildFailed:
    return BuildFailed(
        f"{walking.output.shown} holds more than {walking.limits.files:,} files, or directories "
        "and links: publish fewer, or raise PUSHLANE_BUILD_OUTPUT_FILES",
        code="output_too_many_files",
    )
