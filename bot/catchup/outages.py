"""What ended only because GitHub was away for longer than all attempts is taken up again, once."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from bot.core.deployment import Trigger
from bot.core.ledger import Ledger, Request

log = logging.getLogger(__name__)

AWAY: Final = frozenset({"github_unreachable", "fetch_timeout"})
"""Codes by which a fetch that GitHub did not serve has ended."""
_SINCE_SECONDS: Final = 43_200.0
"""Well within the day for which an Idempotency-Key is remembered: so none is taken up twice."""


@dataclass(frozen=True, slots=True)
class Outages:
    """Looks at the dead letters."""

    ledger: Ledger

    async def take_up(self, projects: Collection[str]) -> int:
        """Deploys anew the pushes of these projects (slugs) that an outage ended; how many.

        Only the newest of its branch, and only once: what GitHub does not serve then either is
        for a person to see. Raises `Errored`.
        """
        ended = await self.ledger.rounds.given_up(AWAY, since_seconds=_SINCE_SECONDS)
        taken_up = 0
        for each in ended:
            if each.project not in projects or each.trigger is not Trigger.PUSH:
                continue
            answer = await self.ledger.records.request(
                Request(
                    project=each.project,
                    ref=each.ref,
                    commit=each.commit,
                    trigger=Trigger.REDEPLOY,
                    redeploy_of=each.id,
                    idempotency_key=f"outage-{each.id}:",
                )
            )
            if answer.outcome == "recorded":
                taken_up += 1
                log.info(
                    "deployed anew: GitHub was away",
                    extra={"deployment": answer.deployment, "redeploy_of": each.id},
                )
        return taken_up
