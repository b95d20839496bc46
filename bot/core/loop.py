"""A stage's way with its deployments: wait for a doorbell, claim, work under the lease, end.

Both stages go this way: the bot's intake fetches, the worker builds.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import (
    NO_ROOM_WORDS,
    BuildFailed,
    Errored,
    Full,
    PushlaneError,
    Stopped,
    disk_full,
)
from bot.core.lease import Lease, held
from bot.core.ledger import PASSING, Ending, Ledger

T = TypeVar("T")
log = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Deployment, Lease, AsyncExitStack], Awaitable[Deployment]]
"""Brings a claimed deployment on, or to its end; answers the record as it is then.

What it enters into the stack is left after the claim has ended: nobody waits for that.
"""

_LONGEST_PAUSE: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_RETURN_SECONDS: Final = 3.0
"""So long a claim that could not be given back is tried to be."""
_VERB_PAUSE: Final = 0.25
_LEAST_BYTES: Final = 16_000_000
"""A disk with less is full: what was written in vain is removed again."""
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_STOPPED: Final = {"cancelled": Status.CANCELLED, "superseded": Status.SUPERSEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One stage in one process. Any number of `serve` may go on at once."""

    ledger: Ledger
    stage: Stage
    work: Work
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is to end: nothing more is claimed."""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    """The deployments that are held. Cancelled, each is given back."""

    away: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while Redis is: so that of all who wait for it one says so."""

    async def serve(self) -> None:
        """Takes one deployment after another until `ending` is set. A Redis away is waited for."""
        pause = _FIRST_PAUSE
        while not self.ending.is_set():
            try:
                # Never cancelled from outside: a BLPOP that is loses what the server pops for it.
                # It ends by itself within two seconds.
                id_ = await self.ledger.claims.wait(self.stage)
                if self.away.is_set():
                    log.info("Redis is back")
                    self.away.clear()
                pause = _FIRST_PAUSE
                if id_ is not None:
                    await self._answer(id_)
            except Errored as error:
                if self.ending.is_set():
                    return
                if not self.away.is_set():
                    log.warning("Redis is away, waiting for it", extra={"error": error.message})
                    self.away.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def give_back(self) -> None:
        """Ends the work under way: each deployment goes back to the queue, uncounted."""
        for each in tuple(self.under_way):
            each.cancel()

    async def _answer(self, id_: str) -> None:
        """Answers one doorbell. One that is stale, or that somebody has answered, is nothing."""
        claimed = await self.ledger.claims.claim(id_, self.stage)
        if claimed.deployment is None:
            return
        if self.ending.is_set():
            await self.ledger.claims.give_back(claimed.deployment)
            return
        attending = asyncio.create_task(self.attend(claimed.deployment), name=id_)
        self.under_way.add(attending)
        try:
            await asyncio.wait({attending})
        except asyncio.CancelledError:
            attending.cancel()
            await asyncio.wait({attending})
            raise
        finally:
            self.under_way.discard(attending)

    async def attend(self, deployment: Deployment) -> None:
        """Does the work on a claimed deployment.

        Nothing of a repository's fails the process. Cancelled, it gives the claim back and raises.
        """
        about: dict[str, object] = {"deployment": deployment.id, "project": deployment.project}
        log.info(deployment.status.value, extra=about)
        begun = time.monotonic()
        try:
            async with AsyncExitStack() as stack, held(self.ledger, deployment) as lease:
                now = await self.work(deployment, lease, stack)
                # The keeper may find the ended claim gone before it is told to stop: that is right.
                lease.end("ended")
            about |= {"status": now.status.value, "seconds": f"{time.monotonic() - begun:.2f}"}
            if now.error_code:
                about |= {"code": now.error_code, "error": now.error_message}
            log.info("done", extra=about)
        except Stopped as stopped:
            log.warning("stopped", extra=about | {"reason": stopped.reason})
        except asyncio.CancelledError:
            await asyncio.shield(self._returned(deployment))
            raise
        except Exception:
            # The claim's lease passes, and the sweep puts it back.
            log.exception("an error that nobody foresaw", extra=about)

    async def _returned(self, deployment: Deployment) -> None:
        """Gives it back; a Redis that is away is waited for as long as an end may take."""
        about: dict[str, object] = {"deployment": deployment.id}
        until = time.monotonic() + _RETURN_SECONDS
        while True:
            try:
                given = await self.ledger.claims.give_back(deployment)
            except PushlaneError as error:
                if time.monotonic() < until:
                    await asyncio.sleep(_FIRST_PAUSE)
                    continue
                log.warning("could not be given back", extra=about | {"error": error.message})
            else:
                log.info("given back" if given else "lost before it was given back", extra=about)
            return


async def persistently(lease: Lease, verb: Callable[[], Awaitable[T]]) -> T:
    """Repeats a verb of the ledger while Redis is away, full or replaced, and the lease holds.

    Every verb of a claim may be repeated: the same claim gets the same answer.
    """
    while True:
        try:
            return await verb()
        except Errored as error:
            if error.code not in PASSING:
                raise
            if lease.reason == "lost":
                raise Stopped("lost") from error
            await asyncio.sleep(_VERB_PAUSE)


def foreseen(
    error: Exception, deployment: Deployment, *, directory: Path | None = None
) -> PushlaneError:
    """The error itself; for a full disk a `Full`; else an `Errored` (code `internal`), logged.

    Where the disk of `directory` is full, that is the reason of whatever else went wrong.
    """
    if isinstance(error, Full | Stopped):
        return error
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return disk_full(str(error.filename or ""))
    if directory is not None and _is_full(directory):
        return disk_full(str(directory))
    if isinstance(error, Errored) and NO_ROOM_WORDS.search(error.message):
        return disk_full(str(directory or ""))
    if isinstance(error, PushlaneError):
        return error
    log.error("an error that nobody foresaw", extra={"deployment": deployment.id}, exc_info=error)
    return Errored(
        f"an error inside Pushlane ({type(error).__name__}); its log says more", code="internal"
    )


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _LEAST_BYTES
    except OSError:
        return False


async def conclude(
    ledger: Ledger, deployment: Deployment, lease: Lease, error: PushlaneError
) -> Deployment:
    """Ends a claim whose work raised `error`, or puts it back for a later attempt.

    The repository's fault ends it as failed, a stop as what was asked for; ours is retried where
    that may help. Raises `Stopped` for a claim that is lost.
    """
    match error:
        case Stopped():
            if error.reason not in _STOPPED:
                raise error
            ending = Ending(status=_STOPPED[error.reason])
        case Errored() if error.retryable:
            return await persistently(lease, lambda: ledger.claims.retry(deployment, error))
        case BuildFailed():
            ending = Ending(
                status=Status.FAILED, error_code=error.code, error_message=error.message[:2000]
            )
        case _:
            ending = Ending(
                status=Status.ERRORED, error_code=error.code, error_message=error.message[:2000]
            )
    return await persistently(lease, lambda: ledger.claims.finish(deployment, ending))
