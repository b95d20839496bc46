"""Keeping a claim alive: its lease is extended while the work goes on, and its end is noticed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from bot.core.deployment import Deployment
from bot.core.errors import Errored, Stopped
from bot.core.ledger import Claims, Ledger, Listener, Verdict

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Lease:
    """The time-limited right to a deployment, as the one who works on it sees it."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once, when the work is to end."""
    reason: str = ""
    """`""`, `lost`, `cancelled` or `superseded`."""

    def check(self) -> None:
        """Raises `Stopped(reason)` when the work is to end."""
        if self.stop.is_set():
            raise Stopped(self.reason)

    async def bound(self, work: Awaitable[T]) -> T:
        """Awaits `work`, which is cancelled when the lease ends. Raises `Stopped` then."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.check()
            return await working
        finally:
            for each in (working, stopped):
                each.cancel()
            await asyncio.gather(working, stopped, return_exceptions=True)

    def end(self, reason: str) -> None:
        """Asks the work to end; the first reason stays."""
        if not self.stop.is_set():
            self.reason = reason
            self.stop.set()


@asynccontextmanager
async def held(ledger: Ledger, deployment: Deployment) -> AsyncIterator[Lease]:
    """Extends the claim's lease every third of it while the body lasts, and when it is changed.

    The body watches `lease.stop`, which a request to stop sets at once where changes are heard. A
    claim that was lost raises `Stopped("lost")` at the exit of a body that ended without an error.
    When Redis is out of reach for two thirds of the lease, by the monotonic clock, the claim counts
    as lost: somebody else may have it a third later.
    """
    lease = Lease()
    keeper = asyncio.create_task(_kept(ledger, deployment, lease), name=f"lease {deployment.id}")
    try:
        yield lease
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper
    if lease.reason == "lost":
        raise Stopped("lost")


async def _kept(ledger: Ledger, deployment: Deployment, lease: Lease) -> None:
    with ledger.changes.listen(f"deployment:{deployment.id}") as listener:
        await _keep(ledger.claims, deployment, lease, listener)


async def _keep(claims: Claims, deployment: Deployment, lease: Lease, listener: Listener) -> None:
    third = claims.lease_seconds / 3
    # A claim or extension counts from when it was asked for, so never for longer than it holds.
    sure_at = time.monotonic()
    pause = third
    while not lease.stop.is_set():
        await listener.next(seconds=pause)
        asked_at = time.monotonic()
        left = sure_at + 2 * third - asked_at
        try:
            # A connection that hangs must not outlast the time that is left.
            async with asyncio.timeout(max(left, 0.05)):
                verdict = await claims.extend(deployment)
        except (Errored, TimeoutError) as error:
            if time.monotonic() - sure_at >= 2 * third:
                log.warning(
                    "lease given up: Redis is out of reach",
                    extra={"deployment": deployment.id, "error": str(error)},
                )
                lease.end("lost")
            pause = min(third / 4, max(sure_at + 2 * third - time.monotonic(), 0), 1.0)
            continue
        if verdict is not Verdict.GO:
            lease.end(verdict.value)
        sure_at, pause = asked_at, third
