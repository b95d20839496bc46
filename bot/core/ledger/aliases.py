"""Aliases: what a host shows, and the moves that a person makes."""

from __future__ import annotations

import msgspec

from bot.core import keys
from bot.core.errors import Rejected
from bot.core.ledger.connection import Connection
from bot.core.ledger.records import REUSED


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A mutable name that points at one release."""

    label: str
    project: str
    kind: str
    """`production`, `branch` or `deployment`."""
    seq: int
    """Rises with every move."""
    deployment: str = ""
    """Empty for a tombstone: the branch was deleted."""
    release: str = ""
    """Empty for a tombstone, and for a deployment whose release is no longer kept."""
    pinned: bool = False
    moved_at: int = 0


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What a promotion, rollback or unpin did."""

    label: str
    deployment: str
    previous: str
    pinned: bool


class Aliases:
    """Reads and moves aliases. A push moves them in `Claims.finish`, a person here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, label: str) -> Alias | None:
        """The alias of a host label, or None."""
        prefix = self._connection.prefix
        asked_at = self._connection.furthest
        async with self._connection.redis.pipeline(transaction=False) as pipe:
            # What is read before the epoch is of that epoch: a flushed Redis shows no site as gone.
            pipe.hgetall(keys.alias(prefix, label))
            pipe.hmget(keys.named(prefix, "epoch"), ["id", "tick"])
            found, epoch = await self._connection.guard(pipe.execute())
        self._connection.saw(*epoch, asked_at=asked_at)
        if not found:
            return None
        return msgspec.convert({"label": label, **found}, Alias, strict=False)

    async def promote(self, id_: str, *, idempotency_key: str = "") -> Move:
        """Points production at a ready deployment, and pins it unless it is the newest.

        Raises `Rejected`: `not_found`, `not_ready`, `release_gone`.
        """
        return await self._point({"mode": "promote", "id": id_, "key": idempotency_key})

    async def rollback(self, slug: str, *, to: str = "", idempotency_key: str = "") -> Move:
        """Points production at the deployment before the one that is live (or at `to`), pinned.

        Raises `Rejected`: `not_found`, `not_ready`, `release_gone`, `nothing_to_roll_back_to`.
        """
        arguments = {"mode": "rollback", "project": slug, "id": to, "key": idempotency_key}
        return await self._point(arguments)

    async def unpin(self, slug: str, *, idempotency_key: str = "") -> Move:
        """Lets production follow pushes again: it moves to the newest ready deployment."""
        return await self._point({"mode": "unpin", "project": slug, "key": idempotency_key})

    async def _point(self, arguments: dict[str, str]) -> Move:
        answer = await self._connection.call("point", arguments)
        if answer[0] != "moved":
            status, words = _REFUSALS[answer[0]]
            raise Rejected(words, code=_CODES.get(answer[0], answer[0]), http_status=status)
        _, label, deployment, previous, pinned = answer
        return Move(label=label, deployment=deployment, previous=previous, pinned=pinned == "1")


_REFUSALS = {
    "reused": (422, REUSED),
    "not_found": (404, "there is no such deployment or project; see `pushlane list`"),
    "not_ready": (409, "that deployment has no release; choose one that ended ready"),
    "release_gone": (
        409,
        "that deployment's release is no longer kept; `pushlane redeploy` builds its commit anew",
    ),
    "nothing_to_roll_back_to": (
        409,
        "production has no earlier release to roll back to; see `pushlane list`",
    ),
}
_CODES = {"reused": "idempotency_key_reused"}
