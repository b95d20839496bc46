"""What a mirror holds: its objects, by `git cat-file`, and what other verbs of git say of them."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeVar

from bot.core.errors import NO_ROOM_WORDS, BuildFailed, Errored, disk_full
from bot.source.command import (
    Commands,
    GitError,
    GitFailed,
    GitKilled,
    GitTimeout,
    Process,
    Running,
)
from bot.source.origin import MirrorBroken

T = TypeVar("T")

_LIMIT: Final = 4 << 20
_LEEWAY: Final = 1.0
"""Seconds for a thread to be free: more of them are no fault of the repository."""
_PERSON: Final = re.compile(r"(?P<name>[^<>]*?) ?<[^<>]*> (?P<at>-?\d{1,12}) [+-]\d{1,6}")
"""Whatever stands there, its cost grows with its length alone."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit object says."""

    tree: str
    """The id of its root tree."""
    message: str
    author: str
    committed_at: int
    parents: int

    @classmethod
    def of(cls, body: bytes) -> Commit:
        """Reads the bytes of a commit object; what is not UTF-8 is replaced."""
        head, _, message = body.partition(b"\n\n")
        fields: dict[str, str] = {}
        parents = 0
        for line in head.decode(errors="replace").split("\n"):
            name, _, value = line.partition(" ")
            parents += name == "parent"
            fields.setdefault(name, value)
        author = _PERSON.fullmatch(fields.get("author", ""))
        committer = _PERSON.fullmatch(fields.get("committer", ""))
        at = int(committer["at"]) if committer else 0
        return cls(
            fields.get("tree", ""),
            message.decode(errors="replace").strip().replace("\0", "�"),
            author["name"] if author else "",
            min(max(at, 0), 0o77777777777),
            parents,
        )


def stdin_of(text: str | bytes) -> IO[bytes]:
    """A file that git reads `text` from."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
    file.write(text if isinstance(text, bytes) else text.encode())
    file.seek(0)
    return file


async def output(
    commands: Commands,
    verb: str,
    *arguments: str,
    mirror: Path,
    timeout_seconds: float,
    stdin: IO[bytes] | None = None,
    scratch: Path | None = None,
) -> bytes:
    """What a git that only reads the mirror writes; see `Commands.start` of `scratch`.

    Raises `MirrorBroken` when git fails on it, `BuildFailed` (`source_too_slow`) when it takes too
    long, `Errored` (`source_cut`) when it is killed.
    """
    try:
        return await commands.call(
            verb,
            arguments,
            directory=mirror,
            timeout_seconds=timeout_seconds,
            stdin=stdin,
            scratch=scratch,
        )
    except GitError as error:
        raise misread(error, mirror) from error


async def read(
    commands: Commands,
    verb: str,
    *arguments: str,
    mirror: Path,
    timeout_seconds: float,
    reader: Callable[[Process], T],
    stdin: IO[bytes] | None = None,
) -> T:
    """What `reader` makes, in a thread, of what a git writes that only reads the mirror.

    A reader that raises has git killed. Raises as `output` does.
    """
    running = Running()

    def work() -> T:
        ends = time.monotonic() + timeout_seconds
        try:
            with running.process(
                lambda: commands.start(verb, arguments, directory=mirror, stdin=stdin)
            ) as process:
                found = reader(process)
                process.finish(deadline=ends)
                return found
        except GitKilled:
            # The wait for a free thread is none of the repository's.
            if time.monotonic() >= ends:
                raise GitTimeout(verb) from None
            raise

    try:
        with running.at_most(timeout_seconds + _LEEWAY):
            return await commands.within(work, running)
    except GitError as error:
        raise misread(error, mirror) from error


def misread(error: GitError, mirror: Path) -> Exception:
    """What it means that a git which only reads the mirror did not end well."""
    if isinstance(error, GitFailed):
        if NO_ROOM_WORDS.search(error.words):
            return disk_full(str(mirror))
        return MirrorBroken(error.words, mirror)
    if isinstance(error, GitTimeout):
        return too_slow()
    return Errored("git was stopped in the middle of the source", code="source_cut")


def too_slow() -> BuildFailed:
    """Git takes too long over what is at hand already: trying again would take as long."""
    return BuildFailed(
        "git takes too long to read the source: take large files and folders out of the "
        "repository, or lower fetch_depth",
        code="source_too_slow",
    )


async def contents(
    commands: Commands, mirror: Path, names: Sequence[str], *, timeout_seconds: float
) -> list[bytes | None]:
    """The bytes of each named object; None for one that is missing, or no commit or file.

    Of a link they are its aim. Raises `BuildFailed` (`source_refused`) when they are more than
    4 MB together, and what `output` raises.
    """
    if any("\n" in name for name in names):
        raise ValueError(names)

    def reader(process: Process) -> bytes:
        found = process.read(_LIMIT + 1)
        if len(found) > _LIMIT:
            raise BuildFailed(
                "a commit message or settings file is larger than 4 MB: shorten it",
                code="source_refused",
            )
        return found

    with stdin_of("".join(f"{name}\n" for name in names)) as wanted:
        found = await read(
            commands, "cat-file", "--batch",
            mirror=mirror, timeout_seconds=timeout_seconds, reader=reader, stdin=wanted,
        )  # fmt: skip
    return _parsed(found, len(names))


def _parsed(found: bytes, count: int) -> list[bytes | None]:
    bodies: list[bytes | None] = []
    at = 0
    for _ in range(count):
        end = found.index(b"\n", at)
        line, at = found[at:end], end + 1
        # `<object> <type> <size>` and a body; or `<object> missing` and the like.
        words = line.rsplit(b" ", 2)
        if not words[-1].isdigit():
            bodies.append(None)
            continue
        size = int(words[-1])
        body = found[at : at + size]
        at += size + 1
        bodies.append(body if words[-2] in (b"blob", b"commit") else None)
    return bodies
