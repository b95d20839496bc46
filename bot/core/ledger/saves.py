"""What the bucket is to hold too, and does not yet: level-triggered, leased, newest only."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from bot.core.ledger.connection import Connection
from bot.core.saved import Saved


class Saves:
    """The set of things that have changed since they were saved."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lease(self, *, seconds: float, limit: int) -> tuple[list[Saved], float]:
        """Takes what is due, as it is now; nobody else gets it for `seconds`.

        Answers it and the seconds until more is due (at most 5).
        """
        wait, *words = await self._connection.call(
            "lease_saves", {"lease": _milliseconds(seconds), "limit": str(limit)}
        )
        due = [
            Saved(what=what, version=int(version), fields=msgspec.json.decode(fields))
            for what, version, fields in zip(*[iter(words)] * 3, strict=True)
        ]
        return due, int(wait) / 1000

    async def note(
        self, *, saved: Iterable[Saved], failed: Iterable[Saved] = (), seconds: float = 0.0
    ) -> None:
        """Clears what was saved, unless it has changed; what failed is due in `seconds` again."""
        await self._connection.call(
            "saved",
            {
                "saved": [[each.what, str(each.version)] for each in saved],
                "failed": [each.what for each in failed],
                "delay": _milliseconds(seconds),
            },
        )


def _milliseconds(seconds: float) -> str:
    return str(math.ceil(seconds * 1000))
