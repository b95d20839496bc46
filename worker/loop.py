"""From the queue to a live release: claim, build, publish, finish; one after another."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bot.core import release
from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import BuildFailed, Errored, PushlaneError, Stopped
from bot.core.lease import Lease
from bot.core.ledger import Ending, Ledger
from bot.core.loop import Loop, conclude, foreseen, persistently
from bot.core.secrets import Keyring, context_of, secrets_for
from worker.build import Built, Told, Workshop, build
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
    keyring: Keyring = field(default_factory=lambda: Keyring(""))
    """Opens the projects' build secrets."""

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
                _mask(error, written)
                await written.say(_said(error))
                if not isinstance(error, Stopped) or error.reason != "lost":
                    await self._save_log(deployment, written)
        if made is not None:
            try:
                built, published, caches = made
                ended = await self._accepted(deployment, lease, built, published)
                if ended.status is Status.READY:
                    caches.accept()
                return ended
            except PushlaneError as raised:
                _mask(raised, written)
                error = raised
        assert error is not None
        return await conclude(self.ledger, deployment, lease, error)

    async def _accepted(
        self, deployment: Deployment, lease: Lease, built: Built, published: Published
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
            told = await self._told(deployment, lease, written)
            # What may be a fork's gets no secrets, and neither finds nor leaves anything.
            store = self.shop.store if context_of(deployment) is not None else None
            caches = await rooms.enter_async_context(
                Caches(
                    store,
                    deployment,
                    workspace,
                    secrets=(*self.secrets, *told.secrets.values()),
                    epoch=told.settings.cache_epoch,
                )
            )
            built = await build(
                self.shop,
                deployment,
                workspace,
                lease=lease,
                log=written,
                caches=caches,
                told=told,
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

    async def _told(self, deployment: Deployment, lease: Lease, written: BuildLog) -> Told:
        """What the build is told of its project; the log hides what is secret of it from now on."""
        settings, held = await persistently(
            lease, lambda: self.ledger.projects.read(deployment.project)
        )
        secrets = await asyncio.to_thread(secrets_for, deployment, held, self.keyring)
        written.masker = await asyncio.to_thread(written.masker.hiding, tuple(secrets.values()))
        if secrets:
            await written.say(f"Secrets for {context_of(deployment)}: {', '.join(secrets)}")
        elif held.sealed and context_of(deployment) is None:
            await written.say(
                "No secrets: only what is built from a branch or a tag of the repository gets them"
            )
        return Told(settings=settings, secrets=secrets)

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


def _mask(error: PushlaneError, written: BuildLog) -> None:
    """Takes out of an error what a build must not bring out: it is recorded, and told to GitHub."""
    error.message = written.masker.mask_all(error.message)
    error.args = (error.message,)


def _said(error: PushlaneError) -> str:
    """The last line of a log that did not end well."""
    match error:
        case Stopped(reason=reason):
            return f"Stopped: {reason}"
        case BuildFailed():
            return f"Failed: {error.message}"
        case _:
            return f"Error: {error.message}"
