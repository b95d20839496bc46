"""One commit's tree: its listing, the index of a work tree, and the tar streams it becomes."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from bot.core.errors import BuildFailed, Errored
from bot.source.command import GitKilled, Process

BLOCK: Final = 512
_CHUNK: Final = 1 << 18
_LINE: Final = re.compile(
    rb"(\d{6}) (blob|tree|commit) ([0-9a-f]{40}) +(\d+|-)\t(.+)",
    re.DOTALL,
)
"""Mode, kind, id, size in bytes, path."""
_LINK: Final = 0o120000
_LINK_LIMIT: Final = 4095


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree's listing. `size` is 0 for what is no blob."""

    mode: int
    kind: bytes
    sha: str
    size: int
    path: bytes


def listing(found: bytes) -> list[Entry]:
    """The entries of `git ls-tree -r -t -l -z`, in the order of an index.

    Raises `BuildFailed` (`source_refused`) for a path that no checkout may have.
    """
    entries = []
    for line in found.split(b"\0"):
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise Errored("git listed a tree in a way that is not known", code="git_unknown")
        mode, kind, sha, size, path = match.groups()
        for part in path.split(b"/"):
            if part.lower() == b".git" or part in (b"", b".", b".."):
                raise _refused(path, "no checkout may have that path")
        entry = Entry(int(mode, 8), kind, sha.decode(), int(size) if size != b"-" else 0, path)
        if entry.mode == _LINK and entry.size > _LINK_LIMIT:
            raise _refused(path, "is a link with too long an aim")
        entries.append(entry)
    return entries


def skeleton(commit: str, root: str, entries: Sequence[Entry]) -> str:
    """The objects that `git status` and `git log -1` read, a line each: no file's contents.

    `root` is the commit's own tree, which is no entry of its listing.
    """
    needed = [e.sha for e in entries if e.kind == b"tree" or e.mode == _LINK]
    return "\n".join(dict.fromkeys([commit, root, *needed])) + "\n"


def index(entries: Sequence[Entry]) -> bytes:
    """A git index (version 2) of these entries without stat data, as `read-tree` writes it."""
    leaves = [entry for entry in entries if entry.kind != b"tree"]
    parts = [b"DIRC", struct.pack(">II", 2, len(leaves))]
    for entry in leaves:
        path = entry.path
        parts.append(
            struct.pack(">6I", 0, 0, 0, 0, 0, 0)
            + struct.pack(">4I", _canonical(entry.mode), 0, 0, 0)
            + bytes.fromhex(entry.sha)
            + struct.pack(">H", min(len(path), 0xFFF))
            + path
            + b"\0" * (8 - (62 + len(path)) % 8)
        )
    body = b"".join(parts)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _canonical(mode: int) -> int:
    """Old trees hold modes like 100664, which git itself reads as one of two."""
    if mode & 0o170000 == 0o100000:
        return 0o100755 if mode & 0o100 else 0o100644
    return mode


def members(process: Process, *, deadline: float) -> Iterator[bytes]:
    """The tar entries that a `git archive` writes, without the blocks that end an archive.

    Raises `GitError` when git fails or its stream is cut: an archive is whole, or it is none.
    """
    stream = process.stdout
    while (header := stream.read(BLOCK)) != b"\0" * BLOCK:
        if len(header) < BLOCK:
            break
        yield header
        left = _length(header)
        while left and (chunk := stream.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk
    whole = len(header) == BLOCK
    while stream.read(_CHUNK):
        pass
    process.finish(deadline=deadline)
    if not whole:
        raise GitKilled(process.verb)


def _length(header: bytes) -> int:
    """The bytes that follow a tar entry's header, filled up to blocks."""
    try:
        size: int = tarfile.nti(header[124:136])  # type: ignore[attr-defined]
    except tarfile.HeaderError as error:
        raise Errored("git wrote a tar that is none", code="git_unknown") from error
    return size + -size % BLOCK


def member(name: str, body: bytes | Path | None, *, mtime: int) -> Iterator[bytes]:
    """One tar entry of our own: a file, or a directory when `body` is None."""
    made = tarfile.TarInfo(name)
    made.mtime = mtime
    if body is None:
        made.type, made.mode = tarfile.DIRTYPE, 0o755
    else:
        made.size = body.stat().st_size if isinstance(body, Path) else len(body)
    yield made.tobuf(tarfile.GNU_FORMAT)
    if isinstance(body, bytes):
        yield body
    elif body is not None:
        with body.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    yield b"\0" * (-made.size % BLOCK)


class Compressed(io.RawIOBase):
    """A reader of the zstd of some chunks. A chunk that cannot be made raises in `readinto`."""

    def __init__(self, chunks: Generator[bytes]) -> None:
        self._chunks = chunks
        self._frames = _compress(chunks)
        self._rest = memoryview(b"")
        self.bytes = 0
        """How many were read."""

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fills the buffer as far as it comes; 0 at the end."""
        while not self._rest:
            frame = next(self._frames, None)
            if frame is None:
                return 0
            self._rest = memoryview(frame)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        self.bytes += size
        return size

    def close(self) -> None:
        """Ends whatever makes the chunks, too."""
        self._frames.close()
        self._chunks.close()
        super().close()


def _compress(chunks: Iterator[bytes]) -> Generator[bytes]:
    zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    for chunk in chunks:
        if frame := zstd.compress(chunk):
            yield frame
    yield zstd.flush()


def _refused(path: bytes, words: str) -> BuildFailed:
    shown = path[:200].decode(errors="backslashreplace")
    return BuildFailed(
        f"{shown!r} in the repository is refused: {words}. Rename it", code="source_refused"
    )
