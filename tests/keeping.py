"""A ledger that is kept in a bucket, for tests of what becomes of it without its Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest
from msgspec.structs import replace

from bot.core import keys, saved
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment
from bot.core.errors import Errored
from bot.core.ledger import Alias, Ledger, Project, open_ledger
from bot.core.ledger.restores import Progress
from bot.keeper import Keeper
from tests.conftest import S3
from tests.front import until
from tests.ledgers import redis_of

Copy: TypeAlias = list[bytes]
"""Every key of a ledger and its value, as Redis dumps it, in turn."""
_COPY = """
local found = {}
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do
  table.insert(found, name)
  table.insert(found, redis.call('DUMP', name))
end
return found
"""
_PUT_BACK = """
for _, name in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', name) end
for i = 2, #ARGV, 2 do redis.call('RESTORE', ARGV[i], 0, ARGV[i + 1]) end
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """One process's ledger and keeper, as a bot has them."""

    ledger: Ledger
    bucket: Bucket
    keeper: Keeper

    async def saved(self) -> None:
        """Waits until the bucket holds all that it is to hold."""

        async def none_unsaved() -> bool:
            return await unsaved(self.ledger) == set()

        await until(none_unsaved)

    async def whole(self) -> None:
        """Waits until the ledger is open."""

        async def is_open() -> bool:
            state = await self.keeper.progress()
            return bool(state.epoch) and state.going_on is None and self.keeper.state == "whole"

        await until(is_open)

    async def whole_after_refusal(self) -> None:
        """Waits until a ledger that was lost is open again; what it lost is noticed here."""
        with pytest.raises(Errored, match="restored from the bucket"):
            await self.ledger.claims.sweep()
        await self.whole()

    async def restored(self) -> Progress:
        """Waits until a restoration has ended that brought something; what it led to."""

        async def ended() -> bool:
            state = await self.keeper.progress()
            return state.going_on is None and state.last is not None

        await until(ended)
        found = (await self.keeper.progress()).last
        assert found
        return found

    async def objects(self) -> list[str]:
        """The names of all that was saved."""
        return [
            name for folder in saved.FOLDERS.values() for name in await self.bucket.list(folder)
        ]


@asynccontextmanager
async def kept(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    """A ledger whose keeper goes on while the body lasts; whole when it begins."""
    ledger = open_ledger(
        redis_url, prefix=f"{prefix}:", lease_seconds=30, max_attempts=3, least_epoch=1
    )
    made = Kept(ledger, bucket, Keeper(ledger, bucket))
    beside = [
        asyncio.create_task(ledger.changes.follow()),
        asyncio.create_task(made.keeper.follow()),
    ]
    try:
        await made.whole()
        yield made
    finally:
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await ledger.aclose()


def a_bucket(s3: S3, prefix: str, *, endpoint_url: str = "") -> Bucket:
    """The bucket below a prefix, by another way if need be."""
    return Bucket(
        s3.bucket,
        prefix=f"{prefix}/",
        endpoint_url=endpoint_url or s3.endpoint_url,
        credentials={
            "aws_access_key_id": s3.access_key,
            "aws_secret_access_key": s3.secret_key,
        },
    )


async def unsaved(ledger: Ledger) -> set[str]:
    """What the bucket does not hold yet."""
    return set(
        await redis_of(ledger).zrange(keys.named(ledger.connection.prefix, "unsaved"), 0, -1)
    )


async def _names(ledger: Ledger) -> list[str]:
    found = redis_of(ledger).scan_iter(f"{ledger.connection.prefix}*", count=1000)
    return [name async for name in found]


async def flush(ledger: Ledger) -> None:
    """What FLUSHALL does, for this ledger alone."""
    await redis_of(ledger).eval(_PUT_BACK, 0, f"{ledger.connection.prefix}*")


async def copied(ledger: Ledger, raw: Any) -> Copy:
    """All that the ledger holds now; `raw` is a client that decodes nothing."""
    found: Copy = await raw.eval(_COPY, 0, f"{ledger.connection.prefix}*")
    return found


async def put_back(ledger: Ledger, copy: Copy, raw: Any) -> None:
    """The ledger comes back, in one moment, as it was when it was copied."""
    await raw.eval(_PUT_BACK, 0, f"{ledger.connection.prefix}*", *copy)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a ledger shows to those who only read it."""

    projects: list[Project]
    deployments: list[Deployment]
    aliases: dict[str, Alias]


async def shown(ledger: Ledger) -> Shown:
    """All of it; numbers that only order what is to come are left out."""
    base = keys.alias(ledger.connection.prefix, "")
    labels = [name.removeprefix(base) for name in await _names(ledger) if name.startswith(base)]
    aliases = {label: await ledger.aliases.get(label) for label in sorted(labels)}
    found, _ = await ledger.view.deployments(limit=1000)
    return Shown(
        projects=[_lasting(each) for each in await ledger.view.projects()],
        deployments=found,
        aliases={label: alias for label, alias in aliases.items() if alias},
    )


def _lasting(project: Project) -> Project:
    # What each delivery changes is saved with what it leads to, or with the next setting.
    delivered_at = min(project.delivered_at, 1)
    return replace(project, seq=0, pushed_at=0, delivered_at=delivered_at)
