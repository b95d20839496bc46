"""What the bucket holds at rest: releases, logs, and what was saved of the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import zstandard

from bot.core import release, saved
from bot.core.bucket import Bucket
from bot.core.errors import Errored
from bot.core.release import Manifest
from tests.chaos.evidence import Hash
from tests.chaos.fleet import PREFIX, Fleet

T = TypeVar("T")
_AT_ONCE = 12


@dataclass(slots=True)
class Stored:
    """All of it."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    packs: dict[str, int] = field(default_factory=dict)
    """Sizes of the packs that the manifests name."""
    texts: list[tuple[str, str]] = field(default_factory=list)
    """The builds' logs, by name."""
    saved: dict[str, int] = field(default_factory=dict)
    """The newest version of each thing, by `project:<slug>`, `alias:<label>`, `deployment:<id>`."""
    pointed: dict[str, Hash] = field(default_factory=dict)
    """The newest that was saved of each alias, by label."""


def bucket_of(fleet: Fleet) -> Bucket:
    """The bucket, past all proxies."""
    environ = fleet.s3.environ
    return Bucket(
        environ["PUSHLANE_S3_BUCKET"],
        prefix=f"{PREFIX}/",
        endpoint_url=environ["PUSHLANE_S3_ENDPOINT_URL"],
        credentials={
            "aws_access_key_id": environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": environ["AWS_SECRET_ACCESS_KEY"],
        },
    )


async def read(fleet: Fleet, records: Mapping[str, Hash]) -> Stored:
    """Reads the bucket; of releases those that the records name."""
    bucket, found = bucket_of(fleet), Stored()
    try:
        names = {record["release"] for record in records.values() if record.get("release")}
        manifests = await _each(names, lambda name: _manifest(bucket, name))
        found.manifests = {name: made for name, made in manifests.items() if made is not None}
        packs = {pack for manifest in found.manifests.values() for pack in manifest.packs}
        sizes = await _each(packs, bucket.size)
        found.packs = {name: size for name, size in sizes.items() if size is not None}
        logs = await _each(await bucket.list("logs/"), bucket.get)
        found.texts = [
            (name, zstandard.decompress(body).decode("utf-8", "replace"))
            for name, body in logs.items()
        ]
        for place in saved.FOLDERS.values():
            for what, version in filter(None, map(saved.of_name, await bucket.list(f"{place}/"))):
                found.saved[what] = max(version, found.saved.get(what, 0))
        labels = {what for what in found.saved if what.startswith("alias:")}
        bodies = await _each(
            labels, lambda what: bucket.get(f"{saved.folder(what)}{found.saved[what]}.json")
        )
        found.pointed = {
            what.removeprefix("alias:"): saved.decode(body).fields for what, body in bodies.items()
        }
    finally:
        await bucket.aclose()
    return found


async def _manifest(bucket: Bucket, name: str) -> Manifest | None:
    try:
        return release.decode(await bucket.get(name))
    except Errored:
        return None


async def _each(names: Iterable[str], get: Callable[[str], Awaitable[T]]) -> dict[str, T]:
    """What `get` answers for each name, a few at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> tuple[str, T]:
        async with gate:
            return name, await get(name)

    return dict(await asyncio.gather(*map(one, sorted(names))))
