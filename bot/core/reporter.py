"""Tells GitHub what became of each commit: level-triggered, in order, and until it is told."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

import msgspec

from bot.core.deployment import ENDED, Deployment, State, Status, deployment_label, state
from bot.core.errors import Errored
from bot.core.github import GitHub, Limited, Refused, Untellable
from bot.core.ledger import Changes, Report, Reports
from bot.core.settings import Settings

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Statuses that one process posts at a time, each of another commit."""
LEASE_SECONDS: Final = 60.0
"""Longer than a post may take: begun within 20 s, then connected and answered in 12 each."""
BEGIN_SECONDS: Final = 20.0
GRACE_SECONDS: Final = 10.0
"""So long the posts under way may take once the process is to end."""

# GitHub allows about 80 statuses a minute and 500 an hour. Half of that is for those on the way;
# the rest is left to first ones and ends, which always go.
_MINUTE_SHORT, _HOUR_SHORT = 40, 250

_BACKOFF = (1.0, 300.0)
"""The first and the longest pause after a failure, in seconds; it doubles in between."""
_REFUSED_BACKOFF = (60.0, 3600.0)
_SAID_AGAIN_SECONDS = 3600.0
_REDIS_PAUSE = 1.0

_BUILT: Final = frozenset({Status.READY, Status.FAILED, Status.ERRORED})
"""Ends that a person waits for."""


@dataclass(frozen=True, slots=True)
class _Status:
    """What is posted on a commit."""

    state: State
    description: str
    target_url: str

    @property
    def words(self) -> str:
        """All of it, for comparing with what was told."""
        return f"{self.state} {self.target_url} {self.description}"


@dataclass(frozen=True, slots=True)
class _Told:
    """GitHub knows these words, or never will."""

    words: str


@dataclass(frozen=True, slots=True)
class _Later:
    """It is to be posted again; with `everyone` nobody may post before."""

    seconds: float
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class _PassedOver:
    """There was nothing to post."""


@dataclass(frozen=True, slots=True)
class _Left:
    """The lease is lost, or Redis away: whoever leases it next tells the rest."""


_Outcome: TypeAlias = _Told | _Later | _PassedOver | _Left


class Reporter:
    """Posts the state of each commit that the ledger holds as unreported.

    Never part of a build: whatever GitHub does, no deployment's result changes.
    """

    def __init__(
        self, *, reports: Reports, changes: Changes, github: GitHub, settings: Settings
    ) -> None:
        self._reports = reports
        self._changes = changes
        self._github = github
        self._settings = settings
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._posts: set[asyncio.Task[None]] = set()
        self._said: dict[tuple[str, str], float] = {}
        self._is_away = False
        """Whether GitHub has failed, for no fault of a request's."""
        self._limited_until = 0.0
        """By the monotonic clock: the ledger, which holds all processes back, is told later."""

    async def follow(self) -> None:
        """Reports until it is cancelled, also while Redis or GitHub come and go.

        Then what is being posted is finished first, so that nobody has to post it again.
        """
        if not self._github.configured:
            log.warning(
                "commits get no status: set PUSHLANE_GITHUB_TOKEN (scope repo:status), or "
                "PUSHLANE_GITHUB_APP_ID and PUSHLANE_GITHUB_APP_PRIVATE_KEY"
            )
        hastened = False
        try:
            with self._changes.listen("deployment:", "report") as listener:
                while True:
                    try:
                        if not hastened:
                            await self._reports.hasten()
                            hastened = True
                        pause = await self._begin()
                    except Errored as error:
                        log.debug("nothing is reported", extra={"error": error.message})
                        pause = _REDIS_PAUSE
                    except Exception:
                        log.exception("an error that nobody foresaw")
                        pause = _REDIS_PAUSE
                    if pause:
                        await listener.next(seconds=pause)
        finally:
            if self._posts:
                _, late = await asyncio.wait(tuple(self._posts), timeout=GRACE_SECONDS)
                for post in late:
                    post.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _begin(self) -> float:
        """Begins to report what is due first and answers 0, or the seconds until something is."""
        await self._slots.acquire()
        begun_at = time.monotonic()
        if (limited := self._limited_until - begun_at) > 0:
            self._slots.release()
            return limited
        try:
            report, pause = await self._reports.lease(seconds=LEASE_SECONDS)
        except BaseException:
            self._slots.release()
            raise
        if report is None:
            self._slots.release()
            return pause
        post = asyncio.create_task(self._report(report, begun_at))
        self._posts.add(post)
        post.add_done_callback(self._ended)
        return 0.0

    def _ended(self, post: asyncio.Task[None]) -> None:
        self._posts.discard(post)
        self._slots.release()

    async def _report(self, report: Report, begun_at: float) -> None:
        """Tells one commit's state, and notes in the ledger how that went."""
        about = {"repository": report.repository, "commit": report.commit}
        try:
            outcome = await self._told(report, begun_at)
            while True:
                try:
                    await self._note(report, outcome)
                    return
                except Errored as error:
                    # Once the lease is over another may post the same again, which is no harm.
                    if time.monotonic() > begun_at + LEASE_SECONDS:
                        log.warning("not noted", extra=about | {"error": error.message})
                        return
                await asyncio.sleep(_REDIS_PAUSE)
        except Exception:
            # The lease passes, and it is tried again.
            log.exception("an error that nobody foresaw", extra=about)

    async def _told(self, report: Report, begun_at: float) -> _Outcome:
        """Posts what there is to post."""
        status = self._status(report.deployment)
        if not self._github.configured or status.words == report.told or _may_go_untold(report):
            return _PassedOver()
        try:
            if _was_too_quick(report):
                first = self._status(
                    msgspec.structs.replace(report.deployment, status=Status.RECEIVED)
                )
                await self._post(report, first, begun_at)
                begun_at = time.monotonic()
                if not await self._noted(report, first):
                    return _Left()
            await self._post(report, status, begun_at)
        except Limited as limit:
            self._limited_until = max(self._limited_until, time.monotonic() + limit.seconds)
            self._say("", limit)
            return _Later(limit.seconds, everyone=True)
        except Refused as error:
            self._say(report.repository, error)
            return _Later(_backoff(report, *_REFUSED_BACKOFF))
        except Untellable as error:
            self._say(report.repository, error)
            return _Told(status.words)
        except Errored as error:
            self._is_away = True
            log.info(
                "a status is posted later",
                extra={"repository": report.repository, "error": error.message},
            )
            return _Later(_backoff(report, *_BACKOFF))
        return _Told(status.words)

    async def _noted(self, report: Report, status: _Status) -> bool:
        """Whether a first post is noted, and the lease goes on."""
        try:
            return await self._reports.told_so_far(report, status.words, seconds=LEASE_SECONDS)
        except Errored:
            return False

    async def _note(self, report: Report, outcome: _Outcome) -> None:
        match outcome:
            case _Told(words):
                await self._reports.told(report, words)
                if report.failures and self._is_away:
                    # It is back: what waits longer and longer since it went need not.
                    self._is_away = False
                    await self._reports.hasten()
            case _Later(seconds, everyone):
                await self._reports.later(report, seconds=seconds, everyone=everyone)
            case _PassedOver():
                await self._reports.pass_over(report)
            case _Left():
                pass
            case _:
                assert_never(outcome)

    async def _post(self, report: Report, status: _Status, begun_at: float) -> None:
        await self._github.post_status(
            report.repository,
            report.commit,
            state=status.state,
            context=f"pushlane/{report.project}",
            description=status.description,
            target_url=status.target_url,
            begin_by=begun_at + BEGIN_SECONDS,
        )

    def _status(self, deployment: Deployment) -> _Status:
        found, description = state(deployment)
        url = f"{self._settings.public_url}/deployments/{deployment.id}"
        if deployment.status is Status.READY:
            url = self._settings.site_url(deployment_label(deployment.id, deployment.project))
        return _Status(found, description, url)

    def _say(self, repository: str, error: Errored) -> None:
        """Warns a person, once an hour for each repository and cause."""
        key, now = (repository, error.code), time.monotonic()
        if now >= self._said.get(key, 0.0):
            self._said[key] = now + _SAID_AGAIN_SECONDS
            log.warning("%s", error.message, extra={"code": error.code})


def _may_go_untold(report: Report) -> bool:
    """Whether this is a step on the way, and many statuses were posted already.

    Or it is done once more: a commit takes a thousand statuses, and one that waits for room, say,
    may be tried for days.
    """
    begun = report.told_of == report.deployment.id and report.told != ""
    spared = _is_short(report) or report.deployment.error_code != ""
    return spared and begun and report.deployment.status not in ENDED


def _was_too_quick(report: Report) -> bool:
    """Whether it ended before GitHub saw it begin; whoever waits for it is to see both."""
    new = report.told_of != report.deployment.id
    return report.deployment.status in _BUILT and new and not _is_short(report)


def _is_short(report: Report) -> bool:
    """Whether so many statuses were posted lately that only what matters most is."""
    return report.posts_of_minute >= _MINUTE_SHORT or report.posts_of_hour >= _HOUR_SHORT


def _backoff(report: Report, first: float, longest: float) -> float:
    jitter = random.uniform(0.75, 1.25)  # noqa: S311 - it spreads calls, no secret hangs on it
    return min(first * 2.0 ** min(report.failures, 30), longest) * jitter
