"""Rounds over all projects, one process at a time, beside everything else that a bot does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bot.catchup.heads import GRACE_SECONDS
from bot.catchup.look import Looker
from bot.catchup.outages import Outages
from bot.catchup.redelivery import Redelivery
from bot.core.deployment import new_claim
from bot.core.errors import Errored, PushlaneError
from bot.core.github import GitHub, Refused
from bot.core.ledger import REDIS_CODES, Ledger, Listener, Project
from bot.core.settings import Settings
from bot.source import Sources

log = logging.getLogger(__name__)

AT_ONCE: Final = 2
"""Projects that are looked at at the same time: most of git's slots stay with the pushes."""
LEASE_SECONDS: Final = 15.0
"""Prolonged with each project. Two rounds at once would do no harm: they ask GitHub twice."""
_PAUSE_SECONDS: Final = 0.1
_BETWEEN_SECONDS: Final = 2.0
_REDIS_SECONDS: Final = 2.0
_RESTS: Final = (60.0, 3600.0)
"""The first and the longest rest of a project that cannot be looked at; it doubles in between."""
_FAILURES_MOST: Final = 3
"""So many failures running are GitHub's, not a project's: the round ends."""


@dataclass(frozen=True, slots=True)
class _Rest:
    """Of a project that could not be looked at."""

    code: str
    """Of the last error."""
    times: int
    until: float
    """By the monotonic clock."""


@dataclass(slots=True, kw_only=True)
class _Round:
    """A round that is under way."""

    ledger: Ledger
    holder: str
    waiting: Iterator[Project]
    found: list[Project] = field(default_factory=list)
    """Where something was missed."""
    again_seconds: list[float] = field(default_factory=list)
    failures: int = 0
    """Running."""
    is_over: bool = False

    async def goes_on(self) -> bool:
        """Prolongs the right to it; False when it is lost. Raises `Errored`."""
        wait = await self.ledger.rounds.hold(
            self.holder, lease_seconds=LEASE_SECONDS, since_seconds=0
        )
        return wait == 0


class CatchUp:
    """Finds what GitHub has not told us, or what we could not take."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        sources: Sources,
        github: GitHub,
        settings: Settings,
        hook_url: str,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """`hook_url` is where our webhook leads to; the settings say how often there is a round."""
        self._ledger = ledger
        self._settings = settings
        self._every = float(settings.catch_up_seconds)
        self._looker = Looker(
            ledger=ledger,
            sources=sources,
            github=github,
            settings=settings,
            grace_seconds=grace_seconds,
        )
        self._redelivery = Redelivery(ledger=ledger, github=github, hook_url=hook_url)
        self._outages = Outages(ledger)
        self._listener: Listener | None = None
        self._wished_at = self._begun_at = time.monotonic()
        self._rests: dict[str, _Rest] = {}

    def soon(self) -> None:
        """A delivery was refused: a round is to begin before its time. Safe to call at any time."""
        if self._listener is not None:
            self._listener.hear("")

    async def follow(self) -> None:
        """Does rounds until it is cancelled: at once, when they are due, and when one is wished.

        A Redis that was away wishes one too: what came meanwhile was refused, and what it had
        acknowledged may be gone with it.
        """
        with self._ledger.changes.listen() as self._listener:
            while True:
                try:
                    pause = await self._turn()
                except Errored as error:
                    log.debug("no round of the catch-up", extra={"error": error.message})
                    await asyncio.sleep(_REDIS_SECONDS)
                    continue
                except Exception:
                    log.exception("an error that nobody foresaw")
                    pause = _RESTS[0]
                if "" in await self._listener.next(seconds=pause):
                    self._wished_at = time.monotonic()

    async def _turn(self) -> float:
        """Does a round, when it is time and nobody else does; the seconds until the next look."""
        holder = new_claim()
        wait = await self._ledger.rounds.hold(
            holder,
            lease_seconds=LEASE_SECONDS,
            since_seconds=time.monotonic() - self._wished_at,
        )
        if wait:
            return min(wait, self._every)
        wished, self._begun_at = self._wished_at >= self._begun_at, time.monotonic()
        due = await self._round(holder, wished=wished)
        await self._ledger.rounds.done(holder, due_seconds=due)
        # Refusals come in crowds.
        await asyncio.sleep(_BETWEEN_SECONDS)
        return 0.0

    async def _round(self, holder: str, *, wished: bool) -> float:
        """Looks at all projects; answers the seconds until the next round is due."""
        projects = [
            project
            for project in await self._ledger.view.projects()
            # Where no delivery has ever come, nobody has asked us to follow the pushes.
            if project.delivered_at and self._settings.allows(project.repository)
        ]
        projects.sort(key=lambda project: -project.pushed_at)
        round_ = _Round(ledger=self._ledger, holder=holder, waiting=self._rested(projects))
        lanes = [asyncio.create_task(self._lane(round_)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        if not round_.is_over:
            # The App's list is one request; those of repositories are two for each.
            closely = projects if wished else round_.found
            asked = await self._redelivery.ask(
                projects, closely=_one_of_each(closely), go_on=round_.goes_on
            )
            again = await self._outages.take_up(
                {project.slug for project in projects} - self._rests.keys()
            )
            if round_.found or asked or again:
                log.info(
                    "caught up",
                    extra={
                        "projects": len(round_.found),
                        "redelivered": asked,
                        "deployed_anew": again,
                    },
                )
        return min((self._every, *round_.again_seconds))

    async def _lane(self, round_: _Round) -> None:
        """Looks at one project after another until none is left, or the round is over."""
        for project in round_.waiting:
            if round_.is_over or not await round_.goes_on():
                round_.is_over = True
                return
            try:
                looked = await self._looker.look(project)
            except PushlaneError as error:
                if error.code in REDIS_CODES:
                    raise
                self._fail(round_, project, error)
            except Exception as error:
                log.exception("an error that nobody foresaw", extra={"project": project.slug})
                self._rest(project, type(error).__name__)
            else:
                round_.failures = 0
                self._rests.pop(project.slug, None)
                if looked.missed:
                    round_.found.append(project)
                if looked.again_seconds is not None:
                    round_.again_seconds.append(looked.again_seconds)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _rested(self, projects: Sequence[Project]) -> Iterator[Project]:
        now = time.monotonic()
        for project in projects:
            rest = self._rests.get(project.slug)
            if rest is None or rest.until <= now:
                yield project

    def _fail(self, round_: _Round, project: Project, error: PushlaneError) -> None:
        """Lets a project rest, and ends a round in which GitHub itself seems to be away."""
        before = self._rests.get(project.slug)
        seconds = self._rest(project, error.code)
        if before is None or before.code != error.code:
            log.warning(
                "its branches cannot be looked at",
                extra={"project": project.slug, "error": error.message},
            )
        if isinstance(error, Errored) and not isinstance(error, Refused):
            round_.again_seconds.append(seconds)
            round_.failures += 1
            round_.is_over |= round_.failures >= _FAILURES_MOST

    def _rest(self, project: Project, code: str) -> float:
        """Passes a project over for so many seconds: the longer, the oftener it has failed."""
        before = self._rests.get(project.slug)
        times = before.times if before else 0
        seconds = min(_RESTS[0] * 2.0**times, _RESTS[1])
        self._rests[project.slug] = _Rest(code, times + 1, time.monotonic() + seconds)
        return seconds


def _one_of_each(projects: Sequence[Project]) -> list[Project]:
    """One project of each repository: they have its webhooks in common."""
    return list({project.repository: project for project in reversed(projects)}.values())[::-1]
