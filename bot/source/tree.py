"""One commit's tree: its listing, the index of a work tree, and the tar streams it becomes."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from bot.core.errors import BuildFailed, Errored
from bot.source.command import GitError, GitFailed, GitKilled, Process

BLOCK: Final = 512
_START: Final = struct.Struct("100s8s8s8s12s12s")
_END: Final = struct.Struct("1s100s8s247x")
"""A tar entry's header before and behind its checksum: path, mode, owner, group, size, time; kind,
aim, magic."""
_CHUNK: Final = 1 << 18
_SMALL: Final = 1 << 16
_LINE: Final = re.compile(
    rb"(\d{6}) (blob|tree|commit) ([0-9a-f]{40}) +(\d+|-)\t(.+)",
    re.DOTALL,
)
"""Mode, kind, id, size in bytes, path."""
_LINK: Final = 0o120000
_LINK_LIMIT: Final = 4095
_NAME_LIMIT: Final = 255
"""Bytes of a file's name, and of a whole path: no system that we build on takes more."""
_PATH_LIMIT: Final = 4000
_ENTRIES: Final = 1_000_000
_LISTED: Final = 32 << 20
"""Bytes that may list them: some 300,000 files, at about 100 a file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a tree's listing. `size` is 0 for what is no blob."""

    mode: int
    kind: bytes
    sha: str
    size: int
    path: bytes


class Room:
    """How much may be listed of one source, its submodules with it."""

    def __init__(self, *, entries: int = _ENTRIES, listed: int = _LISTED) -> None:
        self.entries = entries
        self.listed = listed

    def take(self, lines: Sequence[bytes]) -> None:
        """Raises `BuildFailed` (`source_too_large`) when these are too many."""
        self.entries -= len(lines)
        self.listed -= sum(map(len, lines))
        if self.entries < 0 or self.listed < 0:
            raise BuildFailed(
                "the source has too many files and folders (at most a million, whose paths are "
                f"listed in {_LISTED >> 20} MB): take some out",
                code="source_too_large",
            )


def listing(process: Process, room: Room, *, below: bytes = b"") -> list[Entry]:
    """The entries that a `git ls-tree -r -t -l -z` writes, in the order of an index.

    `below` is the folder where they will lie. Raises `BuildFailed` (`source_refused`) for a path
    that no checkout may have, and as `Room.take` does: then git has not written all.
    """
    entries: list[Entry] = []
    known: dict[bytes, str] = {}
    rest = b""
    while chunk := process.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\0")
        room.take(lines)
        entries += [_entry(line, known, below) for line in lines]
    return entries


def _entry(line: bytes, known: dict[bytes, str], below: bytes) -> Entry:
    match = _LINE.fullmatch(line)
    if match is None:
        raise Errored("git listed a tree in a way that is not known", code="git_unknown")
    mode, kind, sha, size, path = match.groups()
    for part in path.split(b"/"):
        if part.lower() == b".git" or part in (b"", b".", b".."):
            raise _refused(path, "no checkout may have that path")
        if len(part) > _NAME_LIMIT:
            raise _refused(path, f"a name in it is longer than {_NAME_LIMIT} bytes")
    if len(below) + len(path) > _PATH_LIMIT:
        raise _refused(path, f"its path is longer than {_PATH_LIMIT:,} bytes")
    # One string for many files of the same contents: a tree may hold a million of them.
    id_ = known.setdefault(sha, sha.decode())
    entry = Entry(int(mode, 8), kind, id_, int(size) if size != b"-" else 0, path)
    if entry.mode == _LINK and not 0 < entry.size <= _LINK_LIMIT:
        raise _refused(path, "is a link with an aim that is too long, or with none")
    return entry


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


def blobs(entries: Iterable[Entry]) -> str:
    """What `git cat-file --batch` is asked for `members`: a line for each file and link."""
    return "".join(f"{entry.sha}\n" for entry in entries if entry.kind == b"blob")


def members(
    process: Process, entries: Iterable[Entry], *, below: bytes, mtime: int, deadline: float
) -> Iterator[bytes]:
    """The tar entries of a tree below a folder, its `blobs` as `git cat-file --batch` writes them.

    Nothing of `.gitattributes` is asked: files are what they are in the repository. A submodule is
    an empty folder. Raises `GitError` when git fails or its stream is cut: an archive is whole, or
    it is none.
    """
    for entry in entries:
        if entry.kind != b"blob":
            yield _header(below + entry.path, tarfile.DIRTYPE, 0o755, mtime=mtime)
            continue
        told = b"%s blob %d\n" % (entry.sha.encode(), entry.size)
        found = process.read(len(told) + min(entry.size, _SMALL))
        if not found.startswith(told):
            raise _other(process, entry, found, cut=len(found) < len(told), deadline=deadline)
        body = found[len(told) :]
        if entry.mode == _LINK:
            if b"\0" in body:
                raise _refused(entry.path, "is a link with a NUL character in its aim")
            yield _header(below + entry.path, tarfile.SYMTYPE, 0o777, mtime=mtime, aim=body)
        else:
            mode = 0o755 if entry.mode & 0o100 else 0o644
            head = _header(below + entry.path, tarfile.REGTYPE, mode, mtime=mtime, size=entry.size)
            # One chunk for a small file: there may be very many.
            yield head + body + (b"" if entry.size > _SMALL else b"\0" * (-entry.size % BLOCK))
            left = entry.size - len(body)
            while left and (chunk := process.read(min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk
            if entry.size > _SMALL:
                yield b"\0" * (-entry.size % BLOCK)
        if (end := process.read(1)) != b"\n":
            raise _other(process, entry, end, cut=not end, deadline=deadline)
    process.finish(deadline=deadline)


def _other(process: Process, entry: Entry, found: bytes, *, cut: bool, deadline: float) -> GitError:
    """Why git did not write an entry's contents. Raises it where git itself has failed."""
    if cut:
        process.finish(deadline=deadline)
        if b" missing" not in found:
            return GitKilled(process.verb)
    return GitFailed(process.verb, 0, f"{entry.sha} is no file of {entry.size} bytes")


def member(name: str, body: bytes | Path | None, *, mtime: int) -> Iterator[bytes]:
    """One tar entry of our own: a file, or a directory when `body` is None."""
    if body is None:
        yield _header(name.encode(), tarfile.DIRTYPE, 0o755, mtime=mtime)
        return
    size = body.stat().st_size if isinstance(body, Path) else len(body)
    yield _header(name.encode(), tarfile.REGTYPE, 0o644, mtime=mtime, size=size)
    if isinstance(body, bytes):
        yield body
    else:
        with body.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    yield b"\0" * (-size % BLOCK)


def _header(
    path: bytes, kind: bytes, mode: int, *, mtime: int, size: int = 0, aim: bytes = b""
) -> bytes:
    """The blocks before an entry's contents, as GNU tar writes them."""
    if len(path) > 99 or len(aim) > 99 or size > 0o77777777777:
        made = tarfile.TarInfo(path.decode(errors="surrogateescape"))
        made.type, made.mode, made.mtime, made.size = kind, mode, mtime, size
        made.linkname = aim.decode(errors="surrogateescape")
        return made.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    if kind == tarfile.DIRTYPE:
        path += b"/"
    # `tarfile` takes ten times as long, which counts in a tree of many files.
    start = _START.pack(
        path, b"%07o" % mode, b"%07o" % 0, b"%07o" % 0, b"%011o" % size, b"%011o" % mtime
    )
    end = _END.pack(kind, aim, tarfile.GNU_MAGIC)
    return b"%s%06o\0 %s" % (start, sum(start) + sum(end) + sum(b" " * 8), end)


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
