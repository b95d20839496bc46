"""What a request's headers ask for: an encoding, a part, or nothing if it has not changed. Pure.

Rules of RFC 9110; what is malformed is as if it had not been sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal, TypeAlias

Encoding: TypeAlias = Literal["zstd", "gzip", "identity"]

ENCODINGS: Final[tuple[Encoding, ...]] = ("zstd", "gzip", "identity")
"""What a content may be stored in; of two that are as welcome, the earlier one is sent."""

_HEADERS: Final = frozenset(
    {b"host", b"accept-encoding", b"if-match", b"if-none-match", b"range", b"if-range"}
)
_LONGEST: Final = 200
"""Bytes of an `Accept-Encoding`. Browsers send some 25, and what is read is remembered."""
_CODING: Final = re.compile(rb"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*[qQ]\s*=\s*([0-9.]+)\s*)?")
_QUALITY: Final = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE: Final = re.compile(rb"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*", re.IGNORECASE)


def asked(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that matter here. Of two hosts the last counts; other repeats are one list."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _HEADERS:
            again = name in found and name != b"host"
            found[name] = found[name] + b"," + value if again else value
    return found


def encodings(accept: bytes | None) -> tuple[Encoding, ...]:
    """The encodings that an `Accept-Encoding` welcomes, best first.

    Identity is among them whatever it says: where nothing else is stored, that beats a 406.
    """
    if accept is None or len(accept) > _LONGEST:
        return ("identity",)
    return _encodings(accept)


@lru_cache(1024)
def _encodings(accept: bytes) -> tuple[Encoding, ...]:
    weights: dict[bytes, float] = {}
    for part in accept.split(b","):
        found = _CODING.fullmatch(part)
        quality = (found[2] or b"1") if found else b""
        if found and _QUALITY.fullmatch(quality):
            weights[found[1].lower().replace(b"x-gzip", b"gzip")] = float(quality)
    others = weights.get(b"*", 0.0)
    # What the header is silent on ranks below all that it names, and identity may always be sent.
    unnamed: dict[Encoding, float] = {
        "zstd": others,
        "gzip": others,
        "identity": others if b"*" in weights else 0.0001,
    }
    weighed = [(weights.get(each.encode(), unnamed[each]), each) for each in ENCODINGS]
    best = [each for weight, each in sorted(weighed, key=lambda pair: -pair[0]) if weight > 0]
    return tuple(best) if "identity" in best else (*best, "identity")


def names(tags: bytes, etag: bytes, *, strong: bool = False) -> bool:
    """Whether a list of entity tags (or `*`) names `etag`; by weak comparison unless `strong`."""
    if tags.strip() == b"*":
        return True
    return any(
        found[1] == etag and not (strong and found[0].startswith(b"W/"))
        for found in _TAG.finditer(tags)
    )


def part(range_: bytes, size: int) -> tuple[int, int] | None:
    """The one range that is asked for, as (start, stop) in bytes, stop excluded.

    (0, 0) is one that cannot be satisfied. None: all of it, since there is no range, several of
    them, or something else than bytes.
    """
    found = _RANGE.fullmatch(range_.strip())
    if not found:
        return None
    first, last = found[1], found[2]
    if not first and not last:
        return None
    if not first:
        return (max(size - int(last), 0), size) if int(last) and size else (0, 0)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return (0, 0)
    return int(first), min(int(last) + 1, size) if last else size


def wanted(asked_: Mapping[bytes, bytes], etag: bytes, size: int) -> tuple[int, int] | None:
    """The part of the representation `etag` that `Range` asks for, unless `If-Range` forbids it."""
    range_ = asked_.get(b"range")
    if range_ is None:
        return None
    condition = asked_.get(b"if-range")
    # A date never matches, since we send none, nor does a weak tag.
    if condition is not None and condition.strip() != etag:
        return None
    return part(range_, size)
