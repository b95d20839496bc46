"""Asks GitHub to deliver once more what had failed, where our credentials may."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from bot.core.errors import Errored
from bot.core.github import Attempt, GitHub, Hook, Refused
from bot.core.ledger import REDIS_CODES, Ledger, Project

log = logging.getLogger(__name__)

DAYS: Final = 3
"""So long GitHub redelivers what it has delivered."""
TRIES: Final = 3
"""A delivery that has failed so often is not asked for any more."""
MOST: Final = 50
"""Deliveries that one round asks for."""
HOOKS_MOST: Final = 100
"""Repositories whose webhooks one round looks at."""
RESERVE: Final = 500
"""Requests of the hour that are left to statuses and to people."""
_PAUSE_SECONDS: Final = 1.0
"""Between two requests that write: https://docs.github.com/rest/using-the-rest-api."""
_REFUSALS_MOST: Final = 3


def worth_asking(attempts: Sequence[Attempt], *, repositories: Collection[int]) -> list[Attempt]:
    """The newest attempt of each push whose every attempt in the list failed, newest push first.

    `attempts` are newest first, `repositories` GitHub's ids of those that may deploy. Left out is
    what has failed `TRIES` times.
    """
    tries = Counter(each.guid for each in attempts)
    delivered = {each.guid for each in attempts if not each.failed}
    newest: dict[str, Attempt] = {}
    for each in attempts:
        of_ours = each.repository_id is None or each.repository_id in repositories
        if each.event == "push" and of_ours and tries[each.guid] < TRIES:
            newest.setdefault(each.guid, each)
    return [each for guid, each in newest.items() if guid not in delivered]


def leads_here(url: str, hook_url: str) -> bool:
    """Whether a webhook's URL is ours: our route, on our host where we know our own."""
    ours, theirs = urlsplit(hook_url), urlsplit(url)
    nameless = ours.hostname in ("localhost", "127.0.0.1", "::1")
    return theirs.path == ours.path and (nameless or theirs.hostname == ours.hostname)


@dataclass(slots=True)
class _Spending:
    """What one round has asked for, and what the rate limit leaves."""

    asked: int = 0
    left: float = math.inf

    @property
    def is_over(self) -> bool:
        return self.asked >= MOST or self.left < RESERVE


@dataclass(slots=True, kw_only=True)
class Redelivery:
    """What was delivered while nobody took it."""

    ledger: Ledger
    github: GitHub
    hook_url: str
    """Where our webhook leads to."""
    _refused: set[str] = field(default_factory=set)
    """Repositories whose webhooks we may not see to; `""` is the App."""
    _allowed: bool = False
    """Whether we may see to any."""

    async def ask(
        self,
        projects: Sequence[Project],
        *,
        closely: Sequence[Project],
        go_on: Callable[[], Awaitable[bool]],
    ) -> int:
        """Asks for the pushes that failed in the last days and have not reached us since; how many.

        The App's list is read for all `projects`, the repositories' own for those to look at
        `closely`. Ends when `go_on` says no. What GitHub refuses, or fails at, is said and is no
        error. Raises `Errored` for a Redis that is away.
        """
        spending = _Spending()
        ids = frozenset(project.repository_id for project in projects)
        for repository in ("", *(project.repository for project in closely[:HOOKS_MOST])):
            if not self._may(repository):
                continue
            if spending.is_over or not await go_on():
                break
            try:
                for hook in await self._hooks(repository):
                    await self._ask(hook, ids, spending, go_on)
                    self._allowed = True
            except Refused as error:
                self._refuse(repository, error)
            except Errored as error:
                if error.code in REDIS_CODES:
                    raise
                log.info("redelivery is left for later", extra={"error": error.message})
                break
        return spending.asked

    async def _hooks(self, repository: str) -> tuple[Hook, ...]:
        if not repository:
            return (self.github.hooks.of_app,) if self.github.hooks.of_app else ()
        hooks = await self.github.hooks.of_repository(repository)
        return tuple(hook for hook in hooks if leads_here(hook.url, self.hook_url))

    async def _ask(
        self,
        hook: Hook,
        ids: Collection[int],
        spending: _Spending,
        go_on: Callable[[], Awaitable[bool]],
    ) -> None:
        since = datetime.now(UTC) - timedelta(days=DAYS)
        attempts = await self.github.hooks.failed(hook, since=since)
        spending.left = attempts.left
        worth = worth_asking(attempts.found, repositories=ids)
        delivered = await self.ledger.rounds.delivered([each.guid for each in worth])
        for attempt in worth:
            if attempt.guid in delivered:
                continue
            if spending.is_over or not await go_on():
                return
            spending.left = await self.github.hooks.redeliver(hook, attempt)
            spending.asked += 1
            log.info("redelivery asked for", extra={"guid": attempt.guid})
            await asyncio.sleep(_PAUSE_SECONDS)

    def _may(self, repository: str) -> bool:
        if repository in self._refused:
            return False
        # A token without the scope is refused everywhere: no need to hear it from each.
        return self._allowed or len(self._refused - {""}) < _REFUSALS_MOST

    def _refuse(self, repository: str, refusal: Refused) -> None:
        if not self._refused:
            log.info("failed deliveries are not asked for again", extra={"reason": refusal.message})
        self._refused.add(repository)
