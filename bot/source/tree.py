"""One commit's tree: its listing, the index of a work tree, and the tar streams it becomes."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final

import zstandard

from bot.core.errors import BuildFailed, Errored
from bot.source.command import GitFailed, GitTimeout, Process

BLOCK: Final = 512
_CHUNK: Final = 1 << 18
_LINE: Final = re.compile(
    rb"(?P<mode>\d{6}) (?P<kind>blob|tree|commit) (?P<sha>[0-9a-f]{40}) +(?P<size>\d+|-)\t(?P<path>.+)",
    re.DOTALL,
)
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


def skeleton(commit: str, entries: Sequence[Entry]) -> str:
    """The objects that `git status` and `git log -1` read, a line each: no file's contents."""
    needed = [e.sha for e in entries if e.kind == b"tree" or e.mode == _LINK]
    return "\n".join(dict.fromkeys([commit, *needed])) + "\n"


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

    Raises `Errored` when git fails or its stream is cut: an archive is whole, or it is none.
    """
    stream = process.stdout
    while (header := _exactly(stream, BLOCK)) != b"\0" * BLOCK:
        yield header
        try:
            left = tarfile.nti(header[124:136])  # type: ignore[attr-defined]
        except tarfile.HeaderError as error:
            raise _cut() from error
        left += -left % BLOCK
        while left:
            chunk = stream.read(min(left, _CHUNK))
            if not chunk:
                raise _cut()
            left -= len(chunk)
            yield chunk
    while stream.read(_CHUNK):
        pass
    try:
        process.finish(deadline=deadline)
    except (GitFailed, GitTimeout) as error:
        raise Errored(f"reading the source failed: {error}", code="source_cut") from error


def member(name: str, body: bytes | None, *, mtime: int) -> bytes:
    """One tar entry of our own: a file, or a directory when `body` is None."""
    made = tarfile.TarInfo(name)
    made.mtime = mtime
    made.mode = 0o755 if body is None else 0o644
    made.type = tarfile.DIRTYPE if body is None else tarfile.REGTYPE
    made.size = len(body or b"")
    padding = b"\0" * (-made.size % BLOCK)
    return made.tobuf(tarfile.GNU_FORMAT) + (body or b"") + padding


class Compressed(io.RawIOBase):
    """A reader of the zstd of some chunks. A chunk that cannot be made raises in `read`."""

    def __init__(self, chunks: Iterator[bytes], *, ended: Callable[[], None]) -> None:
        self._frames = _compress(chunks)
        self._buffer = bytearray()
        self._ended = ended
        self.bytes = 0

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes, or what is left; S3 takes a shorter read for the end."""
        while size < 0 or len(self._buffer) < size:
            frame = next(self._frames, None)
            if frame is None:
                self._ended()
                break
            self._buffer += frame
        taken = bytes(self._buffer if size < 0 else self._buffer[:size])
        del self._buffer[: len(taken)]
        self.bytes += len(taken)
        return taken


def _compress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    zstd = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    for chunk in chunks:
        if frame := zstd.compress(chunk):
            yield frame
    yield zstd.flush()


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise _cut()
    return found


def _cut() -> Errored:
    return Errored("git stopped in the middle of the source", code="source_cut")


def _refused(path: bytes, words: str) -> BuildFailed:
    shown = path[:200].decode(errors="backslashreplace")
    return BuildFailed(
        f"{shown!r} in the repository is refused: {words}. Rename it", code="source_refused"
    )
