"""A release: the manifest that maps each path to its content, and each content to pack ranges.

Pure. A release is immutable and content-addressed: contents are named by the SHA-256 of their own
bytes and lie end to end in packs; the manifest, written last, is what makes them a release.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from bot.core.errors import Errored

T = TypeVar("T")
SCHEMA: Final = 1
PACK_TYPE: Final = "application/zstd"
"""Packs bear this type so that no S3 server inflates or re-encodes what looks like text."""


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Where bytes lie: an index into the manifest's `packs`, an offset and a length in bytes."""

    pack: int
    offset: int
    length: int


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One content, once for each encoding that it is stored in."""

    identity: Range
    zstd: Range | None = None
    gzip: Range | None = None


class File(msgspec.Struct, frozen=True, array_like=True):
    """One path of the site: the SHA-256 (hex) of its bytes, its media type and size in bytes."""

    sha256: str
    type: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole release. Paths have no leading slash and are UTF-8, `/` between parts."""

    schema: int = SCHEMA
    deployment: str
    claim: str
    project: str
    commit: str
    created_at: int
    """Milliseconds since the epoch."""
    packs: tuple[str, ...]
    """Object names; `Range.pack` counts into them."""
    files: dict[str, File]
    contents: dict[str, Content]
    """By SHA-256, one for each that `files` names."""
    spa: bool = False
    """Paths that are not there show `index.html` (single-page application)."""


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON."""
    return msgspec.json.encode(manifest)


def decode(body: bytes) -> Manifest:
    """Reads `encode`'s JSON. Raises `Errored` for a newer schema or a broken manifest."""
    return _decode(body, Manifest)


def packs_of(body: bytes) -> tuple[str, ...]:
    """The packs that a manifest names, by `encode`'s JSON. Raises `Errored` as `decode` does."""
    return _decode(body, _Packs).packs


def _decode(body: bytes, type_: type[T]) -> T:
    try:
        schema = msgspec.json.decode(body, type=_Schema).schema
        if schema > SCHEMA:
            raise Errored(
                f"this release has schema {schema}, newer than {SCHEMA}: upgrade Pushlane",
                code="release_too_new",
                retryable=False,
            )
        return msgspec.json.decode(body, type=type_)
    except msgspec.MsgspecError as error:
        raise Errored(
            f"the release's manifest is broken: {error}", code="release_broken"
        ) from error


class _Schema(msgspec.Struct, frozen=True):
    schema: int


class _Packs(msgspec.Struct, frozen=True):
    packs: tuple[str, ...]


def pack_name(repository_key: str, deployment: str, claim: str) -> str:
    """The object name of the pack that one claim writes."""
    return f"packs/{repository_key}/{deployment}-{claim}.pack"


def manifest_name(repository_key: str, deployment: str, claim: str) -> str:
    """The object name of the manifest that one claim writes."""
    return f"releases/{repository_key}/{deployment}-{claim}.json"


def log_name(repository_key: str, deployment: str, claim: str) -> str:
    """The object name of the whole log of one claim."""
    return f"logs/{repository_key}/{deployment}-{claim}.log"
