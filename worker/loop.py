"""From the queue to a live release: wait, claim, build, publish, finish; one after another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, TypeVar

from bot.core import release
from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import BuildFailed, Errored, PushlaneError, Stopped
from bot.core.lease import Lease, held
from bot.core.ledger import Ending, Ledger
from worker.build import Built, Workshop, build
from worker.buildlog import BuildLog
from worker.publish import Published, Publisher

T = TypeVar("T")
log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_VERB_PAUSE: Final = 0.25
_STOPPED: Final = {"cancelled": Status.CANCELLED, "superseded": Status.SUPERSEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the loops of one process share."""

    ledger: Ledger
    shop: Workshop
    publisher: Publisher
    secrets: tuple[str, ...] = ()
    """Masked in every build's log."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is to end: nothing more is claimed."""
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    """The deployments that are held. Cancelled, each is given back."""


async def serve(worker: Worker) -> None:
    """Takes one deployment after another until `worker.ending` is set.

    A Redis that is away is waited for. What it holds stands in `worker.under_way`.
    """
    pause, away = _FIRST_PAUSE, False
    while not worker.ending.is_set():
        try:
            # Never cancelled from outside: a BLPOP that is loses what the server pops for it. It
            # ends by itself within two seconds.
            id_ = await worker.ledger.claims.wait(Stage.BUILD)
            if away:
                log.info("Redis is back")
            pause, away = _FIRST_PAUSE, False
            if id_ is not None:
                await _answer(worker, id_)
        except Errored as error:
            if not away:
                log.warning("Redis is away, waiting for it", extra={"error": error.message})
            away = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


async def _answer(worker: Worker, id_: str) -> None:
    """Answers one doorbell. One that is stale, or that somebody else has answered, is nothing."""
    claimed = await worker.ledger.claims.claim(id_, Stage.BUILD)
    if claimed.deployment is None:
        return
    if worker.ending.is_set():
        await worker.ledger.claims.give_back(claimed.deployment)
        return
    attending = asyncio.create_task(attend(worker, claimed.deployment), name=id_)
    worker.under_way.add(attending)
    try:
        await asyncio.wait({attending})
    except asyncio.CancelledError:
        attending.cancel()
        await asyncio.wait({attending})
        raise
    finally:
        worker.under_way.discard(attending)


async def attend(worker: Worker, deployment: Deployment) -> None:
    """Brings a claimed deployment to its end, or back to the queue.

    Nothing of the build's fails the worker. Cancelled, it gives the claim back and raises.
    """
    about = {"deployment": deployment.id, "project": deployment.project}
    log.info("building", extra=about | {"attempt": deployment.build_attempts})
    begun = time.monotonic()
    try:
        # The workspace is taken down after the deployment has ended: nobody waits for that.
        async with AsyncExitStack() as rooms, held(worker.ledger.claims, deployment) as lease:
            ended = await _under_lease(worker, deployment, lease, rooms)
            # The keeper may find the ended claim gone before it is told to stop: that is right.
            lease.end("ended")
        about |= {"status": ended.status.value, "seconds": f"{time.monotonic() - begun:.2f}"}
        if ended.error_code and ended.status is not Status.READY:
            about |= {"code": ended.error_code, "error": ended.error_message}
        log.info("ended", extra=about)
    except Stopped as stopped:
        log.warning("stopped", extra=about | {"reason": stopped.reason})
    except asyncio.CancelledError:
        await asyncio.shield(_give_back(worker, deployment))
        raise
    except Exception:
        # The claim's lease passes, and the sweep puts it back.
        log.exception("an error that nobody foresaw", extra=about)


async def _give_back(worker: Worker, deployment: Deployment) -> None:
    about = {"deployment": deployment.id}
    try:
        await worker.ledger.claims.give_back(deployment)
        log.info("given back", extra=about)
    except PushlaneError as error:
        log.warning("could not be given back", extra=about | {"error": error.message})


async def _under_lease(
    worker: Worker, deployment: Deployment, lease: Lease, rooms: AsyncExitStack
) -> Deployment:
    """Builds, publishes and ends. Answers the record as it ended, or was put back."""
    claims = worker.ledger.claims
    published: Published | None = None
    fault: Errored | None = None
    async with BuildLog(
        lambda lines: worker.ledger.logs.append(deployment, lines),
        max_mb=worker.shop.settings.build_log_mb,
        secrets=worker.secrets,
    ) as written:
        try:
            built, published = await _bring(worker, deployment, lease, written, rooms)
            ending = Ending(
                status=Status.READY,
                release=published.release,
                files=published.files,
                bytes=published.bytes,
                framework=built.framework,
            )
        except BuildFailed as error:
            ending = Ending(
                status=Status.FAILED, error_code=error.code, error_message=error.message[:2000]
            )
            await written.say(f"Failed: {error.message}")
        except Stopped as stopped:
            if stopped.reason not in _STOPPED:
                raise
            ending = Ending(status=_STOPPED[stopped.reason])
            await written.say(f"Stopped: {stopped.reason}")
        except Errored as error:
            fault = error
        except Exception as error:
            log.exception("an error that nobody foresaw", extra={"deployment": deployment.id})
            fault = Errored(
                f"an error inside Pushlane ({type(error).__name__}); its log says more",
                code="internal",
            )
        if fault is not None:
            await written.say(f"Error: {fault.message}")
            ending = Ending(
                status=Status.ERRORED, error_code=fault.code, error_message=fault.message[:2000]
            )
        if published is None:
            await _save_log(worker, deployment, written)
    if fault is not None and fault.retryable:
        again = fault
        return await _persistently(lease, lambda: claims.retry(deployment, again))
    ended = await _persistently(lease, lambda: claims.finish(deployment, ending))
    if published is not None and ended.status is Status.READY:
        worker.publisher.remember(published)
    return ended


async def _bring(
    worker: Worker,
    deployment: Deployment,
    lease: Lease,
    written: BuildLog,
    rooms: AsyncExitStack,
) -> tuple[Built, Published]:
    """Builds and publishes; the log is saved meanwhile."""
    known = asyncio.ensure_future(worker.publisher.known(deployment))
    try:
        workspace = await rooms.enter_async_context(worker.shop.sandbox.workspace())
        built = await build(worker.shop, deployment, workspace, lease=lease, log=written)
        lease.check()
        await _persistently(
            lease, lambda: worker.ledger.claims.advance(deployment, Status.PUBLISHING)
        )
        published = await worker.publisher.publish(
            deployment,
            built.output,
            known=await known,
            lease=lease,
            spa=built.sitefile.site.spa,
            say=written.say,
            beside=lambda: _save_log(worker, deployment, written),
        )
        return built, published
    finally:
        known.cancel()
        await asyncio.gather(known, return_exceptions=True)


async def _save_log(worker: Worker, deployment: Deployment, written: BuildLog) -> None:
    """Puts the whole log into the bucket; a failure of that fails no build."""
    name = release.log_name(deployment.repository_key, deployment.id, deployment.claim)
    try:
        body = await written.whole()
        await worker.shop.bucket.put(name, body, content_type=release.PACK_TYPE)
    except Errored as error:
        log.warning(
            "a log could not be saved",
            extra={"deployment": deployment.id, "error": error.message},
        )


async def _persistently(lease: Lease, verb: Callable[[], Awaitable[T]]) -> T:
    """Repeats a verb of the ledger while Redis is away and the lease holds.

    Every verb of a claim may be repeated: the same claim gets the same answer.
    """
    while True:
        try:
            return await verb()
        except Errored as error:
            if error.code != "redis_unreachable":
                raise
            if lease.reason == "lost":
                raise Stopped("lost") from error
            await asyncio.sleep(_VERB_PAUSE)
