"""What the catch-up needs of the ledger: whose turn a round is, and what is known of heads."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Self, cast

import msgspec

from bot.core import keys
from bot.core.deployment import Deployment
from bot.core.ledger.connection import Connection
from bot.core.ledger.view import from_fields

_DEAD_MOST = 500
"""Dead letters that one round looks at, the newest first."""
NO_COMMIT = "0" * 40
"""What a deleted branch names."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger knows of a branch's head."""

    commit: str
    """40 hex digits, or `NO_COMMIT`: the branch was deleted."""
    seq: int
    """Of the push or deletion that told it; 0 when a look has found it and nothing was recorded."""
    at: int
    """When that was, in milliseconds of Redis's clock."""
    entry: str
    """All of it as it is kept: the same text means that nothing has come since."""

    @classmethod
    def of(cls, entry: str) -> Self:
        """Reads what is kept."""
        commit, seq, at = entry.split(" ")
        return cls(commit=commit, seq=int(seq), at=int(at), entry=entry)


class Heads(msgspec.Struct, frozen=True, kw_only=True):
    """The heads of a project's branches by ref, as they were known at one moment."""

    known: Mapping[str, Head]
    now: int
    """That moment, in milliseconds of Redis's clock."""


class Rounds:
    """Rounds of the catch-up, and what it compares. See docs/protocol.md, rule 15."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._redis = cast(Any, connection.redis)

    async def hold(self, holder: str, *, lease_seconds: float, since_seconds: float) -> float:
        """Begins a round, or prolongs the one that `holder` has begun: 0.0 when it has it.

        Else the seconds until it is worth asking again: another process has one under way, or one
        that began within `since_seconds` is done and the next is not due. `holder` is an id of its
        own for each round.
        """
        answer = await self._connection.call(
            "round",
            {
                "holder": holder,
                "lease": _milliseconds(lease_seconds),
                "since": _milliseconds(since_seconds),
            },
        )
        return 0.0 if answer[0] == "held" else max(int(answer[1]) / 1000, 0.001)

    async def done(self, holder: str, *, due_seconds: float) -> None:
        """Ends a round; the next is due after `due_seconds`, or when somebody wants one before."""
        await self._connection.call(
            "round_done", {"holder": holder, "due": _milliseconds(due_seconds)}
        )

    async def heads(self, slug: str) -> Heads:
        """What is known of the heads of a project's branches."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.named(self._connection.prefix, f"heads:{slug}"))
            pipe.time()
            found, (seconds, micros) = await self._connection.guard(pipe.execute())
        known = {ref: Head.of(entry) for ref, entry in found.items()}
        return Heads(known=known, now=seconds * 1000 + micros // 1000)

    async def look(
        self,
        slug: str,
        *,
        noted: Mapping[str, str] | None = None,
        forgotten: Mapping[str, str] | None = None,
    ) -> None:
        """Notes that a project's branches were looked at.

        `noted`: ref -> commit of branches that were there before us; what is recorded of one stays.
        `forgotten`: ref -> entry of those that are gone, where nothing has come meanwhile.
        """
        arguments = {"project": slug, "noted": noted or {}, "forgotten": forgotten or {}}
        await self._connection.call("look", arguments)

    async def seen(self, slug: str, commits: Collection[str]) -> frozenset[str]:
        """Those of the commits of which the project has had a deployment in the last 30 days."""
        return await self._there({commit: f"report:{slug}:{commit}" for commit in commits})

    async def delivered(self, guids: Collection[str]) -> frozenset[str]:
        """Those of the deliveries that have reached us in the last 30 days."""
        return await self._there({guid: f"delivery:{guid}" for guid in guids})

    async def given_up(self, codes: Collection[str], *, since_seconds: float) -> list[Deployment]:
        """Dead letters of these codes that are their refs' newest still, and ended since then."""
        prefix = self._connection.prefix
        dead = self._redis.lrange(keys.named(prefix, "dead"), 0, _DEAD_MOST - 1)
        ids = await self._connection.guard(cast(Awaitable[list[str]], dead))
        if not ids:
            return []
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for id_ in ids:
                pipe.hgetall(keys.deployment(prefix, id_))
            (seconds, _), *rows = await self._connection.guard(
                cast(Awaitable[list[Any]], pipe.execute())
            )
        since = (seconds - since_seconds) * 1000
        found = [
            each
            for each in map(from_fields, filter(None, rows))
            if each.error_code in codes and each.ended_at >= since
        ]
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in found:
                pipe.hget(keys.named(prefix, f"ref:{each.project}:{each.ref}"), "deployment")
            newest = await self._connection.guard(cast(Awaitable[list[str]], pipe.execute()))
        return [each for each, id_ in zip(found, newest, strict=True) if each.id == id_]

    async def _there(self, names: Mapping[str, str]) -> frozenset[str]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names.values():
                pipe.exists(keys.named(self._connection.prefix, name))
            found = await self._connection.guard(cast(Awaitable[list[int]], pipe.execute()))
        return frozenset(word for word, there in zip(names, found, strict=True) if there)


def _milliseconds(seconds: float) -> str:
    return str(math.ceil(seconds * 1000))
