"""Lays the new contents of an output end to end into one pack, each in the encodings that help.

Blocking; meant for a thread. Memory is bounded whatever the size of a file: small ones are read
whole, a few at a time, large ones flow through.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

import zstandard

from bot.core.errors import Errored
from bot.core.media import compresses, media_type
from bot.core.release import Content, File, Range
from worker import tree
from worker.output import Found, Output

IN_MEMORY: Final = 64_000_000
"""A pack above this lies on disk, and goes up in parts."""
_SMALL: Final = 4_000_000
_BATCH_BYTES: Final = 8_000_000
_BATCH_FILES: Final = 512
_FEW: Final = 16
_CHUNK: Final = 1 << 20
_GZIP_LARGEST: Final = 64_000_000
_THREADS: Final = min(4, os.cpu_count() or 1)
_LEAST_SAVED: Final = 256


@dataclass(slots=True)
class Pack:
    """What was packed: the bytes, and where each content lies."""

    file: IO[bytes]
    size: int = 0
    new: dict[str, Content] = field(default_factory=dict)
    """By SHA-256; every range counts into pack 0, which is this one."""
    files: dict[str, File] = field(default_factory=dict)

    @property
    def in_memory(self) -> bool:
        """Whether the pack may go up in one PUT."""
        return self.size <= IN_MEMORY

    def add(self, body: bytes) -> Range:
        """Appends bytes."""
        self.file.write(body)
        self.size += len(body)
        return Range(0, self.size - len(body), len(body))


@dataclass(frozen=True, slots=True)
class _Prepared:
    sha256: str
    size: int
    bodies: tuple[bytes, bytes | None, bytes | None] | None
    """Identity, zstd, gzip; None when the content is known."""


def pack(
    output: Output,
    found: Sequence[Found],
    *,
    known: Mapping[str, object],
    spool: Path,
    check: Callable[[], None],
) -> Pack:
    """Hashes every file and packs the contents that are not `known`; the caller closes the file.

    `check` is called between files and may raise. Raises `Errored` for a file that changed.
    """
    made = Pack(
        cast(IO[bytes], tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(spool)))  # noqa: SIM115
    )
    try:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="pack") as threads:
            for batch in _batches(found):
                check()
                _batch(made, output, batch, known, threads, check)
        made.file.flush()
    except BaseException:
        made.file.close()
        raise
    return made


def _batches(found: Sequence[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    size = 0
    for each in found:
        if each.size > _SMALL:
            yield [each]
            continue
        batch.append(each)
        size += each.size
        if size > _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _batch(
    made: Pack,
    output: Output,
    batch: Sequence[Found],
    known: Mapping[str, object],
    threads: ThreadPoolExecutor,
    check: Callable[[], None],
) -> None:
    if batch[0].size > _SMALL:
        _large(made, output, batch[0], known, check)
        return

    def prepare(part: Sequence[Found]) -> list[_Prepared]:
        return [_small(output, each, known) for each in part]

    parts = [batch] if len(batch) < _FEW else [batch[at::_THREADS] for at in range(_THREADS)]
    results = [prepare(batch)] if len(parts) == 1 else threads.map(prepare, parts)
    for part, prepared in zip(parts, results, strict=True):
        for each, one in zip(part, prepared, strict=True):
            made.files[each.path] = File(one.sha256, media_type(each.path), one.size)
            if one.bodies is not None and one.sha256 not in made.new:
                identity, zstd, gzip = one.bodies
                made.new[one.sha256] = Content(
                    identity=made.add(identity),
                    zstd=made.add(zstd) if zstd is not None else None,
                    gzip=made.add(gzip) if gzip is not None else None,
                )


def _open(output: Output, found: Found) -> IO[bytes]:
    *above, name = found.parts
    with tree.directory(output.root, above) as at:
        return os.fdopen(tree.open_file(name, at=at), "rb", buffering=0)


def _small(output: Output, found: Found, known: Mapping[str, object]) -> _Prepared:
    with _open(output, found) as file:
        body = file.read(_SMALL + 1)
    if len(body) != found.size:
        raise _changed(found)
    sha256 = hashlib.sha256(body).hexdigest()
    if sha256 in known:
        return _Prepared(sha256, len(body), None)
    zstd = gzip = None
    if len(body) > _LEAST_SAVED and compresses(media_type(found.path)):
        zstd = zstandard.ZstdCompressor(level=6).compress(body)
        if not _helps(len(zstd), len(body)):
            return _Prepared(sha256, len(body), (body, None, None))
        gzip = zlib.compress(body, 6, 31)
        gzip = gzip if _helps(len(gzip), len(body)) else None
    return _Prepared(sha256, len(body), (body, zstd, gzip))


def _helps(compressed: int, size: int) -> bool:
    return size - compressed >= max(size // 10, _LEAST_SAVED)


def _large(
    made: Pack,
    output: Output,
    found: Found,
    known: Mapping[str, object],
    check: Callable[[], None],
) -> None:
    with _open(output, found) as file:
        sha256 = _hash(file, check)
        if file.tell() != found.size:
            raise _changed(found)
        made.files[found.path] = File(sha256, media_type(found.path), found.size)
        if sha256 in known or sha256 in made.new:
            return
        start, digest = made.size, hashlib.sha256()
        for chunk in _chunks(file, check):
            digest.update(chunk)
            made.add(chunk)
        if digest.hexdigest() != sha256:
            raise _changed(found)
        identity = Range(0, start, made.size - start)
        zstd = gzip = None
        if compresses(media_type(found.path)) and _promising(file):
            encoder = zstandard.ZstdCompressor(level=3).compressobj(size=found.size)
            zstd = _encoded(made, file, encoder, found.size, check)
            if found.size <= _GZIP_LARGEST:
                gzip = _encoded(made, file, zlib.compressobj(6, wbits=31), found.size, check)
        made.new[sha256] = Content(identity=identity, zstd=zstd, gzip=gzip)


def _promising(file: IO[bytes]) -> bool:
    file.seek(0)
    sample = file.read(_CHUNK)
    return _helps(len(zstandard.compress(sample, 3)), len(sample))


def _encoded(
    made: Pack,
    file: IO[bytes],
    encoder: zstandard.ZstdCompressionObj | zlib._Compress,
    size: int,
    check: Callable[[], None],
) -> Range | None:
    start = made.size
    for chunk in _chunks(file, check):
        made.add(encoder.compress(chunk))
        if not _helps(made.size - start, size):
            break
    else:
        made.add(encoder.flush())
    if _helps(made.size - start, size):
        return Range(0, start, made.size - start)
    made.file.seek(start)
    made.file.truncate()
    made.size = start
    return None


def _hash(file: IO[bytes], check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(file, check):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: IO[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        check()
        yield chunk


def _changed(found: Found) -> Errored:
    return Errored(f"{found.path} changed while it was published", code="output_changed")
