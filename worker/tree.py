"""Opening what lies in a directory that a build could write, without ever following a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO would hold us for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def parts_of(path: str) -> tuple[str, ...]:
    """The parts of a relative path, without empty ones and `.`."""
    return tuple(part for part in path.split("/") if part not in ("", "."))


@contextmanager
def directory(root: Path, parts: Iterable[str] = ()) -> Iterator[int]:
    """A descriptor of the directory `parts` below `root`. Raises OSError where one is a link."""
    handle = os.open(root, _DIRECTORY)
    try:
        for part in parts:
            if part == "..":
                raise NotADirectoryError(f"{part} leads out")
            below = os.open(part, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def open_file(name: str, *, at: int) -> int:
    """A descriptor of the regular file `name` in the directory `at`. Raises OSError otherwise."""
    handle = os.open(name, _FILE, dir_fd=at)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{name} is no regular file")
    return handle


def read(root: Path, path: str, *, most: int) -> bytes | None:
    """The first `most` bytes of a regular file below `root`; None where there is none."""
    *above, name = parts_of(path)
    try:
        with directory(root, above) as at:
            with os.fdopen(open_file(name, at=at), "rb") as file:
                return file.read(most)
    except (OSError, ValueError):
        return None


def listing(root: Path, path: str = "", *, most: int = 10_000) -> dict[str, bool]:
    """The names in a directory below `root`, each with whether it is a directory; links are not.

    Empty where there is no such directory; cut at `most` names.
    """
    found: dict[str, bool] = {}
    try:
        with directory(root, parts_of(path)) as at, os.scandir(at) as entries:
            for entry in entries:
                if len(found) >= most:
                    break
                if not entry.is_symlink():
                    found[entry.name] = entry.is_dir(follow_symlinks=False)
    except (OSError, ValueError):
        return {}
    return found


def is_directory(root: Path, parts: Sequence[str]) -> bool:
    """Whether there is a directory, and no link on the way."""
    try:
        with directory(root, parts):
            return True
    except (OSError, ValueError):
        return False


def files(root: Path, *, most: int = 20_000) -> list[str]:
    """The paths of the regular files below `root`, without packages and .git.

    Cut at `most`, and at a fourth of that many directories.
    """
    found: list[str] = []
    stack = [""]
    left = most // 4
    while stack and left and len(found) < most:
        at = stack.pop()
        left -= 1
        for name, is_directory in listing(root, at).items():
            path = f"{at}/{name}" if at else name
            if not is_directory:
                found.append(path)
            elif name not in ("node_modules", ".git") and len(stack) < most:
                stack.append(path)
    return found[:most]
