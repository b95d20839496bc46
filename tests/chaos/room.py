"""Collects beside the storm: keeps far less than for people, and deletes far sooner."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final, cast

from bot.collector import Collector, Retention, rounds
from bot.core.errors import PushlaneError
from bot.core.ledger import collection, open_ledger
from tests.chaos.fleet import PREFIX, Fleet
from tests.chaos.stored import bucket_of

_EVERY_SECONDS: Final = 6.0
_LEASE_SECONDS: Final = 5.0
_DELAY_SECONDS: Final = 12.0
"""Longer than the storm's longest build; a claim that lasts longer is waited for."""


async def make_room(fleet: Fleet, counts: Counter[str]) -> None:
    """Rounds of the collector until it is cancelled, over a Redis that comes and goes.

    A round that Redis has ended is followed by the next one soon: its lease is short.
    """
    cast(Any, collection).LEASE_SECONDS = _LEASE_SECONDS
    cast(Any, rounds)._EXTEND_SECONDS = _LEASE_SECONDS / 5
    ledger = open_ledger(
        fleet.redis.environ["PUSHLANE_REDIS_URL"], prefix=f"{PREFIX}:", least_epoch=1
    )
    bucket = bucket_of(fleet)
    collector = Collector(
        ledger,
        bucket,
        delay_seconds=_DELAY_SECONDS,
        retention=Retention(production=4, branch=1, days=0),
    )
    try:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                tally = await collector.collect(dry_run=False)
            except PushlaneError:
                counts["rounds_failed"] += 1
                continue
            counts["rounds"] += 1
            counts["objects_deleted"] += sum(share.count for share in tally.deleted.values())
    finally:
        await bucket.aclose()
        await ledger.aclose()
