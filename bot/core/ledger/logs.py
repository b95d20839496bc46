"""The live log of each claim: a stream of lines, appended only by the claim that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, cast

import msgspec

from bot.core import keys
from bot.core.deployment import Deployment
from bot.core.ledger.connection import Connection

SAVED_SECONDS = 3600
"""So long a log stays in Redis once the bucket has it: sixteen megabytes for each build would fill
it in a week."""


class LogLine(msgspec.Struct, frozen=True):
    """One line without its end. `id` orders the lines of one claim's log (Redis's stream id)."""

    id: str
    text: str


class BuildLogs:
    """Writes and reads live logs. The bucket keeps the whole of each build's; then they go soon.

    What is not saved lasts 7 days.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def append(self, deployment: Deployment, lines: Sequence[str]) -> bool:
        """Adds lines to the running claim's log; False when the claim is fenced."""
        arguments = {"id": deployment.id, "claim": deployment.claim, "lines": list(lines)}
        return (await self._connection.call("append", arguments))[0] == "appended"

    async def saved(self, deployment: Deployment) -> None:
        """The bucket holds the running claim's whole log: Redis need not for much longer."""
        name = keys.log(self._connection.prefix, deployment.id, deployment.claim)
        redis = cast(Any, self._connection.redis)
        await self._connection.guard(redis.expire(name, SAVED_SECONDS))

    async def read(
        self, id_: str, claim: str, *, after: str = "0", limit: int = 1000
    ) -> list[LogLine]:
        """The lines of one claim's log after `after`, oldest first, at most `limit`."""
        name = keys.log(self._connection.prefix, id_, claim)
        found = await self._connection.guard(
            cast(
                Awaitable[list[tuple[str, dict[str, str]]]],
                cast(Any, self._connection.redis).xrange(name, min=f"({after}", count=limit)
                if after != "0"
                else cast(Any, self._connection.redis).xrange(name, count=limit),
            )
        )
        return [LogLine(entry, fields.get("line", "")) for entry, fields in found]

    async def last(self, id_: str, claim: str, *, limit: int) -> tuple[int, list[LogLine]]:
        """How many lines one claim's log has, and the last of them, oldest first, at most `limit`.

        None at all: the log is not there (any more), or nothing has been written.
        """
        name = keys.log(self._connection.prefix, id_, claim)
        async with cast(Any, self._connection.redis).pipeline(transaction=False) as pipe:
            pipe.xlen(name)
            pipe.xrevrange(name, count=max(limit, 1))
            count, found = await self._connection.guard(pipe.execute())
        newest_first = [LogLine(entry, fields.get("line", "")) for entry, fields in found[:limit]]
        return count, newest_first[::-1]
