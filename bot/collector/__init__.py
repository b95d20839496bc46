"""The collector: makes room in the bucket, once a day by itself, or when somebody asks.

Condemned first, deleted later: `rounds` says why nothing that is named is ever taken.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Final

from bot.collector.retention import Retention
from bot.collector.rounds import Round
from bot.collector.tally import Share, Tally
from bot.core.bucket import Bucket
from bot.core.deployment import new_claim
from bot.core.errors import Errored, Rejected
from bot.core.ledger import Ledger

__all__ = ["GRACE_SECONDS", "Collector", "Retention", "Share", "Tally"]

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 3600.0
"""Beyond a build's longest time: what is condemned stands for so long."""
_DAY_SECONDS: Final = 86_400.0
_PAUSE_SECONDS: Final = 3600.0
"""Between two rounds that come by themselves."""
_BEAT_SECONDS: Final = 60.0


class Collector:
    """Rounds over one ledger and bucket. Of all processes one collects at a time."""

    def __init__(
        self,
        ledger: Ledger,
        bucket: Bucket,
        *,
        delay_seconds: float,
        retention: Retention | None = None,
    ) -> None:
        """`delay_seconds`: how long what is condemned stands before it may be deleted."""
        self._ledger = ledger
        self._bucket = bucket
        self._delay_ms = int(delay_seconds * 1000)
        self._retention = retention or Retention()

    async def follow(self) -> None:
        """Collects when it is time, until it is cancelled."""
        while True:
            await asyncio.sleep(_BEAT_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            try:
                await self.collect_when_due()
            except Errored as error:
                log.warning("nothing could be collected", extra={"error": error.message})

    async def collect_when_due(self) -> Tally | None:
        """Makes a round if one is due and nobody else makes one. Raises `Errored`."""
        lease = new_claim()
        what = await self._ledger.collection.take(lease, when="due")
        if what not in ("all", "due"):
            return None
        return await self._round(lease, condemning=what == "all")

    async def collect(self, *, dry_run: bool) -> Tally:
        """Makes a round over everything now; a dry run changes nothing.

        What fails on the way is said in the tally. Raises `Rejected` (409 `collecting`) while
        another round is under way, and `Errored` when the ledger cannot be asked at all.
        """
        if dry_run:
            return await self._go(Tally(dry_run=True))
        lease = new_claim()
        if await self._ledger.collection.take(lease, when="now") == "busy":
            raise Rejected(
                "the collector is at work already; ask again when it has done",
                code="collecting",
                http_status=409,
            )
        return await self._round(lease, condemning=True)

    async def _round(self, lease: str, *, condemning: bool) -> Tally:
        tally = await self._go(Tally(dry_run=False), lease=lease, condemning=condemning)
        whole = _DAY_SECONDS if condemning and tally.complete else None
        await self._ledger.collection.ended(
            lease, whole_seconds=whole, pause_seconds=_PAUSE_SECONDS
        )
        about = {
            "condemned": sum(share.count for share in tally.condemned.values()),
            "deleted": sum(share.count for share in tally.deleted.values()),
            "bytes": sum(share.bytes for share in tally.deleted.values()),
            "seconds": tally.seconds,
        }
        if tally.stopped:
            log.warning("stopped collecting; it goes on later: %s", tally.stopped, extra=about)
        else:
            log.info("collected", extra=about)
        return tally

    async def _go(self, tally: Tally, *, lease: str = "", condemning: bool = True) -> Tally:
        begun = time.monotonic()
        going = Round(
            collection=self._ledger.collection,
            bucket=self._bucket,
            retention=self._retention,
            delay_ms=self._delay_ms,
            tally=tally,
            lease=lease,
            condemning=condemning,
        )
        try:
            await going.go(await self._ledger.view.projects())
        except Errored as error:
            # What could not be looked at is not decided; what was decided stands.
            tally.stopped = error.message
        tally.seconds = round(time.monotonic() - begun, 3)
        return tally
