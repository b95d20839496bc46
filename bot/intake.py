"""The fetching stage: the exact commit, whether it is built at all, its source in the bucket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakValueDictionary

from bot.core import monorepo, sitefile
from bot.core.deployment import (
    ENDED,
    ZERO,
    Deployment,
    Stage,
    Status,
    Trigger,
    branch_label,
)
from bot.core.errors import BuildFailed, Errored, Full, PushlaneError, Stopped
from bot.core.lease import Lease
from bot.core.ledger import Ending, Ledger
from bot.core.loop import Loop, conclude, foreseen, persistently
from bot.core.monorepo import Part
from bot.core.settings import Settings
from bot.core.sitefile import Sitefile
from bot.source import Fetched, Options, Origin, Resolved, Sources, archive_name
from bot.source.origin import TokenFor, no_token

_OF_A_PROJECT: Final = 2
"""Sources of one project that a process fetches at a time: the other places are for the others."""
_COMPARED: Final = 3000
"""Changed files that are compared with what is watched; GitHub's own lists end there too."""
_PATIENCE: Final = 1.0
"""Seconds that a further one waits for its place, and so keeps another's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What the fetching stage uses."""

    ledger: Ledger
    sources: Sources
    settings: Settings
    token_for: TokenFor = no_token
    watch_seconds: float = 2.0
    """So long it may take to compare what has changed with what a repository watches."""
    _places: WeakValueDictionary[str, asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary, init=False
    )

    def loop(self) -> Loop:
        """The stage's loop; each `serve` of it fetches one source at a time."""
        return Loop(ledger=self.ledger, stage=Stage.FETCH, work=self._work)

    async def _work(
        self, deployment: Deployment, lease: Lease, stack: AsyncExitStack
    ) -> Deployment:
        try:
            async with self._place(deployment.project):
                now = await self._bring(deployment, lease)
            stack.push_async_callback(self._first_look, deployment)
            return now
        except Exception as raised:  # noqa: BLE001 - each one ends the claim, by whose fault it is
            error = foreseen(raised, deployment, directory=self.settings.data_dir)
        if not isinstance(error, Stopped):
            word = "Failed" if isinstance(error, BuildFailed) else "Error"
            word = "Waiting" if error.code == "project_busy" else word
            await self._say(deployment, f"{word}: {error.message}")
        return await conclude(self.ledger, deployment, lease, error)

    @asynccontextmanager
    async def _place(self, project: str) -> AsyncIterator[None]:
        """A place among those fetches of a project that may go on at once.

        Raises `Full` when there is none soon: it is tried again later, and no attempt counts.
        """
        places = self._places.setdefault(project, asyncio.Semaphore(_OF_A_PROJECT))
        try:
            async with asyncio.timeout(_PATIENCE):
                await places.acquire()
        except TimeoutError:
            raise Full(
                f"{_OF_A_PROJECT} other fetches of this project are under way, and are let end",
                code="project_busy",
            ) from None
        try:
            yield
        finally:
            places.release()

    async def _bring(self, deployment: Deployment, lease: Lease) -> Deployment:
        begun = time.monotonic()
        if not self.settings.allows(deployment.repository):
            raise BuildFailed(
                f"PUSHLANE_REPOS does not name {deployment.repository}",
                code="repository_not_allowed",
            )
        if deployment.trigger is Trigger.PUSH and not deployment.delivery:
            await self._say(deployment, "Caught up: no delivery from GitHub had told of this push")
        origin = self._origin(deployment)
        named = await lease.bound(self._resolved(origin, deployment))
        fetched = await lease.bound(self.sources.fetch(origin, named.commit, ref=named.ref))
        whole = await self._asked(deployment, await lease.bound(self._files(fetched)))
        await self._spread(deployment, named, whole)
        part = Part(project=deployment.project, entry=deployment.entry)
        settings = await self.ledger.projects.settings(deployment.project)
        asked = monorepo.asked_of(whole, part, settings)
        if asked is None:
            reason: str | None = _not_named(deployment, whole, part)
        else:
            reason = await self._why_skip(deployment, fetched, whole, asked)
        if asked is None or reason is not None:
            ending = Ending(status=Status.SKIPPED, reason=reason or "")
            await self._say(deployment, f"Skipped: {reason}")
            return await persistently(lease, lambda: self.ledger.claims.finish(deployment, ending))
        options = Options(depth=asked.build.fetch_depth, submodules=asked.build.submodules)
        if options.depth != 1:
            fetched = await lease.bound(
                self.sources.fetch(origin, named.commit, ref=named.ref, depth=options.depth)
            )
        # Asked before the bucket is: what is condemned may be deleted after it was found there.
        name = archive_name(origin.key, fetched.commit, options)
        condemned = await self.ledger.collection.condemned([name])
        archive = await lease.bound(
            self.sources.archive(
                fetched, options=options, anew=deployment.claim if condemned else ""
            )
        )
        await self._say(
            deployment,
            f"Fetched {named.commit[:7]} of {deployment.repository} in "
            f"{time.monotonic() - begun:.2f} s"
            + (" (its source was in the bucket already)" if archive.reused else ""),
            *archive.notes,
        )
        fields: dict[str, str | int] = {
            "commit": named.commit,
            "ref": named.ref,
            "default_branch": named.default_branch,
            "source": archive.name,
            "source_bytes": archive.bytes,
            "message": fetched.message[:500],
            "author": deployment.author or fetched.author,
        }
        return await persistently(
            lease, lambda: self.ledger.claims.advance(deployment, Status.QUEUED, **fields)
        )

    async def _spread(self, deployment: Deployment, named: Resolved, whole: Sitefile) -> None:
        """Deploys the other projects that the file of a repository's main project names."""
        entries = monorepo.further_entries(whole, main=deployment.project)
        if deployment.entry or not entries:
            return
        found = await self.ledger.records.spread(
            deployment,
            entries,
            ref=named.ref,
            commit=named.commit,
            default_branch=named.default_branch,
        )
        for each in found:
            if each.is_new:
                taken = "" if each.project == each.entry else ", since that name is taken"
                await self._say(deployment, f"New: project {each.entry}, as {each.project}{taken}")
        led = ", ".join(f"{each.project} {each.deployment}" for each in found if each.deployment)
        if led:
            await self._say(deployment, f"The other projects of this repository: {led}")

    def _origin(self, deployment: Deployment) -> Origin:
        return Origin(
            base_url=self.settings.github_url,
            repository=deployment.repository,
            key=deployment.repository_key,
            token=self.token_for,
            opens=self.settings.allows,
        )

    async def _first_look(self, deployment: Deployment) -> None:
        """Notes which branches a project has when it is new: the catch-up does not build those."""
        if not self.settings.catch_up_seconds or deployment.trigger is not Trigger.PUSH:
            return
        # The catch-up's own first look makes good what fails here.
        with suppress(PushlaneError):
            project = await self.ledger.view.project(deployment.project)
            if project and not project.looked_at:
                heads = await self.sources.heads(self._origin(deployment))
                await self.ledger.rounds.look(project.slug, noted=heads)

    async def _resolved(self, origin: Origin, deployment: Deployment) -> Resolved:
        """The commit that is meant, and its whole ref. A push and a redeploy name both."""
        if deployment.commit:
            return Resolved(commit=deployment.commit, ref=deployment.ref, default_branch="")
        try:
            return await self.sources.resolve(origin, deployment.ref)
        except BuildFailed as error:
            if error.code != "ref_not_found" or not deployment.ref.startswith("refs/heads/"):
                raise
            # A person's short name may be a tag's.
            try:
                return await self.sources.resolve(origin, f"refs/tags/{deployment.branch}")
            except BuildFailed:
                raise error from None

    async def _files(self, fetched: Fetched) -> dict[str, bytes]:
        """Those of the repository's own files that say what to deploy and how."""
        bodies = await self.sources.read(fetched, *sitefile.DECIDING)
        found = zip(sitefile.DECIDING, bodies, strict=True)
        return {name: body for name, body in found if body is not None}

    async def _asked(self, deployment: Deployment, files: dict[str, bytes]) -> Sitefile:
        context = sitefile.netlify_context(production=deployment.production)
        return await asyncio.to_thread(
            sitefile.read, files, context=context, branch=deployment.branch
        )

    async def _why_skip(
        self, deployment: Deployment, fetched: Fetched, whole: Sitefile, asked: Sitefile
    ) -> str | None:
        """Why nothing is to be built, for people. What a person asked for is never skipped.

        `watch` skips only what is known to change nothing: a branch that is new, was put elsewhere
        by force, has nothing live, or whose changes are too many to compare, is built.
        """
        if deployment.trigger is not Trigger.PUSH:
            return None
        reason = await asyncio.to_thread(
            sitefile.skip_reason, fetched.message, deployment.branch, asked
        )
        part = Part(project=deployment.project, entry=deployment.entry)
        if reason is not None or not monorepo.watches(whole, asked, part):
            return reason
        newest, _cursor = await self.ledger.view.deployments(
            project=deployment.project, branch=deployment.branch, limit=20
        )
        # What is on its way may go live first, and this one may take back what that changes.
        if any(each.id != deployment.id and each.status not in ENDED for each in newest):
            return None
        if deployment.forced or deployment.before == ZERO:
            return None
        label = branch_label(deployment.branch, deployment.project)
        alias = await self.ledger.aliases.get(label)
        live = await self.ledger.view.deployment(alias.deployment) if alias else None
        if live is None:
            return None
        changed = await self.sources.changed(fetched, live.commit)
        if changed is None or len(changed) > _COMPARED:
            return None
        try:
            return await asyncio.to_thread(
                monorepo.untouched_reason,
                changed,
                whole,
                asked,
                part,
                seconds=self.watch_seconds,
            )
        except TimeoutError:
            await self._say(
                deployment,
                f"Deployed whatever `watch` says: to compare it with {len(changed):,} changed "
                "files takes too long",
            )
            return None

    async def _say(self, deployment: Deployment, *lines: str) -> None:
        """Writes to the deployment's log; a log that is lost stops no deployment."""
        try:
            await self.ledger.logs.append(deployment, lines)
        except Errored:
            return


def _not_named(deployment: Deployment, whole: Sitefile, part: Part) -> str:
    """Why nothing is built of a project that the file does not name.

    Raises `BuildFailed` (`project_not_named`) where a person asked for that very one.
    """
    words = monorepo.not_named(whole, part)
    if deployment.entry and deployment.trigger is not Trigger.PUSH:
        raise BuildFailed(words, code="project_not_named")
    return words
