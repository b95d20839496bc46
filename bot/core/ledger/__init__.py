"""The ledger: records, doorbells and aliases in Redis. The only part that speaks to Redis.

The record is the truth; a queue entry is a doorbell, and losing or doubling one is harmless. Each
transition is one Lua script in `lua/`, one verb a file, timed by Redis TIME.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.ledger.aliases import Alias, Aliases, Move
from bot.core.ledger.census import Census, Trace
from bot.core.ledger.changes import Changes, Listener
from bot.core.ledger.claims import Claimed, Claims, Ending, Verdict
from bot.core.ledger.collection import Collection
from bot.core.ledger.connection import (
    DURABLE_SETTINGS,
    PASSING,
    REDIS_CODES,
    Connection,
    Durability,
)
from bot.core.ledger.logs import BuildLogs, LogLine
from bot.core.ledger.projects import Projects
from bot.core.ledger.records import Answer, Beside, Compared, Payload, Records, Request
from bot.core.ledger.refusals import Refusal, Refusals
from bot.core.ledger.reports import Report, Reports
from bot.core.ledger.restores import Restores
from bot.core.ledger.rounds import Head, Heads, Rounds
from bot.core.ledger.saves import Saves
from bot.core.ledger.view import OUTCOMES, Delivery, Project, QueueView, View

__all__ = [
    "DURABLE_SETTINGS",
    "OUTCOMES",
    "PASSING",
    "REDIS_CODES",
    "Alias",
    "Aliases",
    "Answer",
    "Beside",
    "BuildLogs",
    "Census",
    "Changes",
    "Claimed",
    "Claims",
    "Collection",
    "Compared",
    "Connection",
    "Delivery",
    "Durability",
    "Ending",
    "Head",
    "Heads",
    "Ledger",
    "Listener",
    "LogLine",
    "Move",
    "Payload",
    "Project",
    "Projects",
    "QueueView",
    "Records",
    "Refusal",
    "Refusals",
    "Report",
    "Reports",
    "Request",
    "Restores",
    "Rounds",
    "Saves",
    "Trace",
    "Verdict",
    "View",
    "open_ledger",
]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger's rooms over one connection; each is a small class with the verbs of its part."""

    connection: Connection
    records: Records
    claims: Claims
    aliases: Aliases
    reports: Reports
    rounds: Rounds
    saves: Saves
    restores: Restores
    logs: BuildLogs
    refusals: Refusals
    view: View
    changes: Changes
    projects: Projects
    collection: Collection

    async def aclose(self) -> None:
        """Closes every connection."""
        await self.refusals.aclose()
        await self.connection.aclose()


def open_ledger(
    url: str,
    *,
    prefix: str = "",
    lease_seconds: float = 60,
    max_attempts: int = 5,
    least_epoch: int = 0,
    require_durable: bool = False,
) -> Ledger:
    """A ledger on the Redis at `url`. Connects at the first use, not here.

    With `least_epoch` 1 every verb is refused until somebody has begun it, or restored it. With
    `require_durable` nothing is recorded in a Redis that may lose it.
    """
    connection = Connection(url, prefix=prefix, least_epoch=least_epoch)
    return Ledger(
        connection=connection,
        records=Records(connection, require_durable=require_durable),
        claims=Claims(connection, lease_seconds=lease_seconds, max_attempts=max_attempts),
        aliases=Aliases(connection),
        reports=Reports(connection),
        rounds=Rounds(connection),
        saves=Saves(connection),
        restores=Restores(connection),
        logs=BuildLogs(connection),
        refusals=Refusals(connection),
        view=View(connection),
        changes=Changes(connection),
        projects=Projects(connection),
        collection=Collection(connection),
    )
