"""Objects of a mirror, read by one `git cat-file`."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bot.core.errors import BuildFailed, Errored
from bot.source.command import Commands, GitFailed, GitTimeout

_LIMIT: Final = 4 << 20
_PERSON: Final = re.compile(r"(?P<name>.*?) ?<[^>]*> (?P<at>-?\d+) [+-]\d+")


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit object says."""

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


async def contents(
    commands: Commands, mirror: Path, names: Sequence[str], *, timeout_seconds: float
) -> list[bytes | None]:
    """The bytes of each named object; None for one that is missing, or no commit or file.

    Raises `BuildFailed` (`source_refused`) when they are more than 4 MB together.
    """
    if any("\n" in name for name in names):
        raise ValueError(names)
    deadline = time.monotonic() + timeout_seconds
    running = []

    def work() -> bytes:
        with stdin_of("".join(f"{name}\n" for name in names)) as wanted:
            process = commands.start("cat-file", ("--batch",), directory=mirror, stdin=wanted)
            running.append(process)
            try:
                found = process.read(_LIMIT + 1)
                if len(found) <= _LIMIT:
                    process.finish(deadline=deadline)
                return found
            except GitTimeout:
                raise Errored("git did not answer in time", code="fetch_timeout") from None
            finally:
                process.close()

    found: bytes = await commands.within(work, lambda: [p.kill() for p in running] and None)
    if len(found) > _LIMIT:
        raise BuildFailed(
            "a commit message or settings file is larger than 4 MB: shorten it",
            code="source_refused",
        )
    return _parsed(found, len(names))


def _parsed(found: bytes, count: int) -> list[bytes | None]:
    bodies: list[bytes | None] = []
    at = 0
    for _ in range(count):
        end = found.index(b"\n", at)
        words = found[at:end].rsplit(b" ", 2)
        at = end + 1
        if words[-1] in (b"missing", b"ambiguous") or len(words) < 3:
            bodies.append(None)
            continue
        size = int(words[2])
        body = found[at : at + size]
        at += size + 1
        bodies.append(body if words[1] in (b"blob", b"commit") else None)
    return bodies


__all__ = ["Commit", "GitFailed", "contents", "stdin_of"]
