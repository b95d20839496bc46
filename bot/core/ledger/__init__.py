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
from bot.core.ledger.connection import Connection, Durability
from bot.core.ledger.logs import BuildLogs, LogLine
from bot.core.ledger.records import Answer, Records, Request
from bot.core.ledger.reports import Report, Reports
from bot.core.ledger.view import Delivery, Project, QueueView, View

__all__ = [
    "Alias",
    "Aliases",
    "Answer",
    "BuildLogs",
    "Census",
    "Changes",
    "Claimed",
    "Claims",
    "Collection",
    "Connection",
    "Delivery",
    "Durability",
    "Ending",
    "Ledger",
    "Listener",
    "LogLine",
    "Move",
    "Project",
    "QueueView",
    "Records",
    "Report",
    "Reports",
    "Request",
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
    logs: BuildLogs
    view: View
    changes: Changes
    collection: Collection

    async def aclose(self) -> None:
        """Closes every connection."""
        await self.connection.aclose()


def open_ledger(
    url: str, *, prefix: str = "", lease_seconds: float = 60, max_attempts: int = 5
) -> Ledger:
    """A ledger on the Redis at `url`. Connects at the first use, not here."""
    connection = Connection(url, prefix=prefix)
    return Ledger(
        connection=connection,
        records=Records(connection),
        claims=Claims(connection, lease_seconds=lease_seconds, max_attempts=max_attempts),
        aliases=Aliases(connection),
        reports=Reports(connection),
        logs=BuildLogs(connection),
        view=View(connection),
        changes=Changes(connection),
        collection=Collection(connection),
    )
