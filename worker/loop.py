"""From the queue to a live release: claim, build, publish, finish; one after another."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from bot.core import release
from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import BuildFailed, Errored, PushlaneError, Stopped
from bot.core.lease import Lease
from bot.core.ledger import Ending, Ledger
from bot.core.loop import Loop, conclude, foreseen, persistently
from worker.build import Built, Workshop, build
from worker.buildlog import BuildLog
from worker.caches import Caches
from worker.publish import Published, Publisher

log = logging.getLogger(__name__)

_ANEW: Final = 3
"""How often a release is made while the collector takes away what it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the builds of one process share."""

    ledger: Ledger
    shop: Workshop
    publisher: Publisher
    secrets: tuple[str, ...] = ()
    """Masked in every build's log."""

    def loop(self, *, ending: asyncio.Event | None = None) -> Loop:
        """The stage's loop; each `serve` of it builds one deployment at a time."""
        return Loop(
            ledger=self.ledger,
            stage=Stage.BUILD,
            work=self._work,
            ending=ending or asyncio.Event(),
        )

    async def _work(
        self, deployment: Deployment, lease: Lease, rooms: AsyncExitStack
    ) -> Deployment:
        """Builds, publishes and ends. Answers the record as it ended, or was put back."""
        error: PushlaneError | None = None
        made: tuple[Built, Published, Caches] | None = None
        async with BuildLog(
            lambda lines: self.ledger.logs.append(deployment, lines),
            max_mb=self.shop.settings.build_log_mb,
            secrets=self.secrets,
        ) as written:
            try:
                made = await self._bring(deployment, lease, written, rooms)
            except Exception as raised:  # noqa: BLE001 - each one ends the claim, by whose fault
                error = foreseen(raised, deployment, directory=self.shop.settings.data_dir)
                await written.say(_said(error))
                if not isinstance(error, Stopped) or error.reason != "lost":
                    await self._save_log(deployment, written)
        if made is not None:
            try:
                return await self._accepted(deployment, lease, *made)
            except PushlaneError as raised:
                error = raised
        assert error is not None
        return await conclude(self.ledger, deployment, lease, error)

    async def _accepted(
        self,
        deployment: Deployment,
        lease: Lease,
        built: Built,
        published: Published,
        caches: Caches,
    ) -> Deployment:
        """Ends it ready. A release that names what the collector has condemned is made anew."""
        for _ in range(_ANEW):
            ending = Ending(
                status=Status.READY,
                release=published.release,
                packs=published.manifest.packs,
                files=published.files,
                bytes=published.bytes,
                framework=built.framework,
            )
            try:
                ended = await persistently(
                    lease, partial(self.ledger.claims.finish, deployment, ending)
                )
            except Errored as error:
                if error.code != "pack_condemned":
                    raise
            else:
                if ended.status is Status.READY:
                    self.publisher.remember(published)
                    caches.accept()
                return ended
            log.info(
                "publishing anew, without condemned packs", extra={"deployment": deployment.id}
            )
            known = await self.publisher.known(deployment)
            published = await self.publisher.publish(
                deployment,
                built.output,
                known=known,
                lease=lease,
                spa=built.sitefile.site.spa,
                say=_unsaid,
            )
        raise Errored("packs were given up again and again", code="pack_condemned")

    async def _bring(
        self, deployment: Deployment, lease: Lease, written: BuildLog, rooms: AsyncExitStack
    ) -> tuple[Built, Published, Caches]:
        """Builds and publishes; the log is saved meanwhile."""
        known = asyncio.ensure_future(self.publisher.known(deployment))
        try:
            workspace = await rooms.enter_async_context(self.shop.sandbox.workspace())
            caches = await rooms.enter_async_context(
                Caches(self.shop.store, deployment, workspace, secrets=self.secrets)
            )
            built = await build(
                self.shop, deployment, workspace, lease=lease, log=written, caches=caches
            )
            lease.check()
            await persistently(
                lease, lambda: self.ledger.claims.advance(deployment, Status.PUBLISHING)
            )
            published = await self.publisher.publish(
                deployment,
                built.output,
                known=await known,
                lease=lease,
                spa=built.sitefile.site.spa,
                say=written.say,
                beside=lambda: self._save_log(deployment, written),
            )
            return built, published, caches
        finally:
            known.cancel()
            await asyncio.gather(known, return_exceptions=True)

    async def _save_log(self, deployment: Deployment, written: BuildLog) -> None:
        """Puts the whole log into the bucket; a failure of that fails no build."""
        name = release.log_name(deployment.repository_key, deployment.id, deployment.claim)
        try:
            body = await written.whole()
            await self.shop.bucket.put(name, body, content_type=release.PACK_TYPE)
            await self.ledger.logs.saved(deployment)
        except Errored as error:
            log.warning(
                "a log could not be saved",
                extra={"deployment": deployment.id, "error": error.message},
            )


async def _unsaid(_: str) -> None:
    """The log has ended, and it says what was published."""


def _said(error: PushlaneError) -> str:
    """The last line of a log that did not end well."""
    match error:
        case Stopped(reason=reason):
            return f"Stopped: {reason}"
        case BuildFailed():
            return f"Failed: {error.message}"
        case _:
            return f"Error: {error.message}"
