"""Which commits GitHub is still to be told about: level-triggered, leased, never out of order."""

from __future__ import annotations

import msgspec

from bot.core.deployment import Deployment, new_claim
from bot.core.ledger.connection import Connection
from bot.core.ledger.view import to_deployment


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One commit of a project, with the newest deployment of that commit as it is now."""

    project: str
    commit: str
    deployment: Deployment
    version: int
    """Rises with every change of what there is to tell."""
    told: str
    """What was posted last, in the reporter's own words; empty when nothing was."""
    failures: int
    """How often posting has failed since it last succeeded."""
    lease: str
    """The random id of this lease."""


class Reports:
    """The set of commits whose state GitHub does not know yet."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lease(self, *, seconds: float) -> tuple[Report | None, float]:
        """Takes the entry that is due first; nobody else gets it for `seconds`.

        Answers it and 0, or None and the seconds until the next one is due (at most 5).
        """
        answer = await self._connection.call(
            "lease_report", {"lease": str(int(seconds * 1000)), "claim": new_claim()}
        )
        if answer[0] != "leased":
            return None, int(answer[1]) / 1000
        project, commit, version, told, failures, lease = answer[1:7]
        return (
            Report(
                project=project,
                commit=commit,
                deployment=to_deployment(answer[7:]),
                version=int(version),
                told=told,
                failures=int(failures),
                lease=lease,
            ),
            0.0,
        )

    async def told(self, report: Report, words: str) -> None:
        """GitHub knows `words`. Clears the entry, unless it has changed meanwhile."""
        await self._connection.call("told", {**_named(report), "told": words})

    async def later(self, report: Report, *, seconds: float, everyone: bool = False) -> None:
        """Posting failed: not before `seconds` from now; with `everyone` that goes for all."""
        arguments = {"delay": str(int(seconds * 1000)), "everyone": "1" if everyone else ""}
        await self._connection.call("later", {**_named(report), **arguments})


def _named(report: Report) -> dict[str, str]:
    return {
        "project": report.project,
        "commit": report.commit,
        "version": str(report.version),
        "lease": report.lease,
    }
