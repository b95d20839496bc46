"""A look at one project's branches on GitHub: what was pushed and not delivered is recorded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bot.catchup.heads import GRACE_SECONDS, Findings, Gone, Missed, compare, differ, news
from bot.core.deployment import Push, Removal, repository_key
from bot.core.errors import BuildFailed, Errored
from bot.core.github import Described, GitHub
from bot.core.ledger import Compared, Ledger, Project
from bot.core.ledger.rounds import NO_COMMIT
from bot.core.settings import Settings
from bot.source import Origin, Sources

log = logging.getLogger(__name__)

MISSED_MOST: Final = 100
"""Pushes that one look records; those beyond are found by the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What came of a look."""

    missed: int = 0
    """Pushes and deletions that are now recorded."""
    again_seconds: float | None = None
    """Something is to be looked at again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looker:
    """Compares the heads of a project's branches with what the ledger knows of them."""

    ledger: Ledger
    sources: Sources
    github: GitHub
    settings: Settings
    grace_seconds: float = GRACE_SECONDS

    async def look(self, project: Project) -> Looked:
        """Records what was missed of a project that deliveries have told of before.

        Where nothing was, it costs one `git ls-remote` and no request of the API's. Raises
        `BuildFailed` where the repository cannot be read, or is another one now, and `Errored`.
        """
        heads = await self.ledger.rounds.heads(project.slug)
        found = await self._heads(project)
        if project.looked_at and not differ(found, heads.known):
            return Looked()
        # GitHub's own time, and then all once more: so the heads are not from before it, and what
        # was just on its way has come.
        described = await self._described(project)
        heads = await self.ledger.rounds.heads(project.slug)
        found = await self._heads(project)
        findings = compare(
            found,
            heads,
            seen=await self.ledger.rounds.seen(project.slug, news(found, heads.known)),
            first=not project.looked_at,
            grace_seconds=self.grace_seconds,
        )
        return await self._record(project, findings, described)

    async def _record(
        self, project: Project, findings: Findings, described: Described | None
    ) -> Looked:
        production = f"refs/heads/{project.production_branch}"
        missed = sorted(findings.missed, key=lambda each: (each.ref != production, each.ref))
        pushed_at = int(described.pushed_at.timestamp()) if described and described.pushed_at else 0
        done = 0
        for push in missed[:MISSED_MOST]:
            done += await self._push(project, push, described, pushed_at)
        for gone in findings.gone:
            done += await self._removal(project, gone, pushed_at)
        await self.ledger.rounds.look(
            project.slug, noted=findings.noted, forgotten=findings.forgotten
        )
        more = findings.unsure or len(missed) > MISSED_MOST
        return Looked(missed=done, again_seconds=self.grace_seconds if more else None)

    async def _push(
        self, project: Project, missed: Missed, described: Described | None, pushed_at: int
    ) -> bool:
        push = Push(
            guid="",
            body_sha256="",
            repository=described.full_name if described else project.repository,
            repository_id=described.id if described else project.repository_id,
            private=described.private if described else project.private,
            default_branch=described.default_branch if described else project.default_branch,
            ref=missed.ref,
            before=missed.known.commit if missed.known else NO_COMMIT,
            after=missed.commit,
            pushed_at=pushed_at,
        )
        answer = await self.ledger.records.record(push, compared=_compared(project, missed))
        if answer.outcome != "recorded":
            return False
        log.info(
            "caught up with a push that was not delivered",
            extra={
                "repository": push.repository,
                "ref": push.ref,
                "commit": push.after,
                "deployment": answer.deployment,
            },
        )
        return True

    async def _removal(self, project: Project, gone: Gone, pushed_at: int) -> bool:
        removal = Removal(
            guid="",
            body_sha256="",
            repository=project.repository,
            repository_id=project.repository_id,
            ref=gone.ref,
            before=gone.known.commit,
            pushed_at=pushed_at,
        )
        answer = await self.ledger.records.remove(removal, compared=_compared(project, gone))
        if answer.outcome != "removed":
            return False
        log.info(
            "caught up with a deletion that was not delivered",
            extra={"repository": project.repository, "ref": gone.ref},
        )
        return True

    async def _heads(self, project: Project) -> Mapping[str, str]:
        return await self.sources.heads(
            Origin(
                base_url=self.settings.github_url,
                repository=project.repository,
                key=repository_key(project.repository_id, project.repository),
                token=self.github.token_for,
            )
        )

    async def _described(self, project: Project) -> Described | None:
        """What GitHub's API says of the repository; None when it does not tell, or not now."""
        try:
            described = await self.github.describe(project.repository)
        except Errored as error:
            log.info(
                "caught up by git alone",
                extra={"repository": project.repository, "error": error.message},
            )
            return None
        if described and project.repository_id not in (0, described.id):
            raise BuildFailed(
                f"{project.repository} is another repository now than the one that was deployed: "
                "push to it, and it gets a project of its own",
                code="repository_replaced",
            )
        if described and not self.settings.allows(described.full_name):
            raise BuildFailed(
                f"PUSHLANE_REPOS does not name {described.full_name}",
                code="repository_not_allowed",
            )
        return described


def _compared(project: Project, difference: Missed | Gone) -> Compared:
    known = difference.known
    return Compared(project=project.slug, known=known.entry if known else "")
