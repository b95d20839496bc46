"""Which commits GitHub is still to be told about: level-triggered, leased, never out of order."""

from __future__ import annotations

import math

import msgspec

from bot.core.deployment import Deployment, new_claim
from bot.core.ledger.connection import Connection
from bot.core.ledger.view import to_deployment

_HASTENED_MOST = 1000


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a project, with the newest deployment of that commit as it is now."""

    project: str
    repository: str
    """`owner/name` as it is called now, which may be another name than the deployment's."""
    commit: str
    deployment: Deployment
    version: int
    """Rises with every change of what there is to tell."""
    told: str
    """What was posted last, in the reporter's own words; empty when that is not known."""
    told_of: str
    """The deployment of which something was posted last; empty when nothing was."""
    failures: int
    """How often posting has failed since it last succeeded."""
    lease: str
    """The random id of this lease."""
    posts_of_minute: int
    """What all reporters posted in this minute; GitHub allows about 80."""
    posts_of_hour: int
    """And in this hour: about 500."""


class Reports:
    """The set of commits whose state GitHub does not know yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lease(self, *, seconds: float) -> tuple[Report | None, float]:
        """Takes the entry that is due first; nobody else gets it for `seconds`.

        Answers it and 0, or None and the seconds until the next one is due (at most 5).
        """
        answer = await self._connection.call(
            "lease_report", {"lease": _milliseconds(seconds), "claim": new_claim()}
        )
        if answer[0] != "leased":
            return None, int(answer[1]) / 1000
        project, repository, commit, version, told, told_of, failures, lease, *rest = answer[1:]
        return (
            Report(
                project=project,
                repository=repository,
                commit=commit,
                deployment=to_deployment(rest[2:]),
                version=int(version),
                told=told,
                told_of=told_of,
                failures=int(failures),
                lease=lease,
                posts_of_minute=int(rest[0]),
                posts_of_hour=int(rest[1]),
            ),
            0.0,
        )

    async def told(self, report: Report, words: str) -> None:
        """GitHub knows `words`. Clears the entry, unless it has changed meanwhile.

        By a lease that was lost: another may have posted something newer before, so the commit
        is told anew.
        """
        await self._told(report, words=words, posted=True)

    async def told_so_far(self, report: Report, words: str, *, seconds: float) -> bool:
        """GitHub knows `words`, and is told more under the same lease, now prolonged to `seconds`.

        False: the lease is lost; post nothing more.
        """
        return await self._told(report, words=words, posted=True, seconds=seconds) == "more"

    async def pass_over(self, report: Report) -> None:
        """There is nothing to post. Clears the entry, unless it has changed meanwhile."""
        await self._told(report, words="", posted=False)

    async def later(self, report: Report, *, seconds: float, everyone: bool = False) -> None:
        """Posting failed: not before `seconds` from now; with `everyone` that goes for all."""
        arguments = {"delay": _milliseconds(seconds), "everyone": "1" if everyone else ""}
        await self._connection.call("later", {**_named(report), **arguments})

    async def hasten(self) -> int:
        """Makes due at once what waits after a failure; answers for how many commits that is.

        What GitHub's rate limit holds back waits on.
        """
        return int((await self._connection.call("hasten", {"limit": str(_HASTENED_MOST)}))[0])

    async def _told(
        self, report: Report, *, words: str, posted: bool, seconds: float | None = None
    ) -> str:
        arguments = {
            "deployment": report.deployment.id,
            "told": words,
            "posted": "1" if posted else "",
            "more": "" if seconds is None else _milliseconds(seconds),
        }
        return (await self._connection.call("told", {**_named(report), **arguments}))[0]


def _milliseconds(seconds: float) -> str:
    """Rounded up: nothing may be done before its time."""
    return str(math.ceil(seconds * 1000))


def _named(report: Report) -> dict[str, str]:
    return {
        "project": report.project,
        "commit": report.commit,
        "version": str(report.version),
        "lease": report.lease,
    }
