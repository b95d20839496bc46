"""Where bytes lie in a pack, whole or in blocks, and by which name caches keep them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

BLOCK: Final = 524_288
"""Bytes. What is longer is read, cached and sent a block at a time, and is not held in memory."""


class Located(msgspec.Struct, frozen=True):
    """One encoding of a content, or a block of it."""

    key: str
    """Names the bytes, everywhere: no two that differ share it. 64 hex digits, `.<block>`."""
    pack: str
    """The pack's object name."""
    offset: int
    length: int
    sha256: str = ""
    """Hex, where it is the hash of these very bytes."""
    remembered: bool = True
    """Whether memory is the place for it. Blocks of a film would drive out a thousand pages."""


def identity(sha256: str, pack: str, offset: int, length: int) -> Located:
    """A content as it is: one name for it, whichever packs hold it."""
    return Located(sha256, pack, offset, length, sha256)


def encoded(pack: str, offset: int, length: int) -> Located:
    """A compressed content. Its name is its place: another compressor makes other bytes of it."""
    place = f"{pack} {offset} {length}"
    return Located(hashlib.sha256(place.encode()).hexdigest(), pack, offset, length)


def blocks(content: Located, start: int, stop: int) -> Iterator[tuple[Located, int, int]]:
    """The blocks that hold the bytes from `start` to `stop`, each with the part of it to take.

    What fits into one block is itself that block.
    """
    if content.length <= BLOCK:
        yield content, start, stop
        return
    for number in range(start // BLOCK, -(-stop // BLOCK)):
        first = number * BLOCK
        length = min(BLOCK, content.length - first)
        block = Located(
            f"{content.key}.{first}",
            content.pack,
            content.offset + first,
            length,
            remembered=False,
        )
        yield block, max(start - first, 0), min(stop - first, length)
