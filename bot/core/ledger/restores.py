"""Bringing back what the bucket holds, into a ledger that lacks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Sequence
from enum import StrEnum
from typing import Any, cast

import msgspec

from bot.core import keys
from bot.core.ledger.connection import Connection
from bot.core.saved import Saved

LEASE_SECONDS = 15.0
"""So long a restoration that tells nothing keeps others from beginning one."""


class Begun(StrEnum):
    """What beginning a restoration says."""

    HELD = "held"
    """Another process is at it."""
    BEHIND = "behind"
    """The ledger lacks what it once held: it is closed until the restoration has ended."""
    WHOLE = "whole"
    """Nothing is known to be missing; what is, is merged while everything goes on."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a restoration is, or what it has led to. Times are milliseconds, 0 = not yet."""

    begun_at: int = 0
    ended_at: int = 0
    done: int = 0
    """Of what the bucket holds and the ledger lacked."""
    of: int = 0
    projects: int = 0
    secrets: int = 0
    """Projects whose secrets came back."""
    aliases: int = 0
    deployments: int = 0
    epoch: int = 0
    """That the ledger got by it, or had then."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger's own word on restorations."""

    epoch: int
    """0: it has none, so that every verb is refused."""
    going_on: Progress | None
    last: Progress | None


class Restores:
    """The verbs of a restoration. None is refused by a ledger that is behind."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def begin(self, token: str) -> Begun:
        """Takes the right to restore, for `LEASE_SECONDS` from the last sign of going on."""
        epoch, tick = self._connection.furthest
        furthest = {"furthest_epoch": str(epoch), "furthest_tick": str(tick)}
        return Begun((await self._call("restore_begin", {**_held(token), **furthest}))[0])

    async def go_on(self, token: str, progress: Progress) -> None:
        """Tells how far it is."""
        await self._call("restore_go_on", {**_held(token), **_words(progress)})

    async def end(self, token: str, progress: Progress, *, noted: bool) -> None:
        """Ends it, and opens the ledger. With `noted` the ledger remembers what it led to."""
        await self._call(
            "restore_end",
            {
                **_held(token),
                **_words(progress),
                "furthest_epoch": str(self._connection.furthest[0]),
                "noted": "1" if noted else "",
            },
        )

    async def lacking(self, things: Sequence[tuple[str, int]]) -> list[int]:
        """The places of those things (what, version) that the ledger lacks, or holds older."""
        asked = [[what, str(version)] for what, version in things]
        return [int(place) - 1 for place in await self._call("wanted", {"things": asked})]

    async def merge(self, things: Sequence[Saved]) -> Counter[str]:
        """Brings things back, each only if that is news; projects first, the newest first.

        Counts them by what became of them: `merged`, `known`, `expired` (kept no longer), `taken`
        (a project whose name another repository bears here).
        """
        told = [
            {"what": thing.what, "version": str(thing.version), "fields": thing.fields}
            for thing in things
        ]
        return Counter(await self._call("merge", {"things": told}))

    async def state(self) -> State:
        """Whether a restoration goes on, and what the last one led to."""
        prefix = self._connection.prefix
        async with self._connection.redis.pipeline(transaction=False) as pipe:
            pipe.hget(keys.named(prefix, "epoch"), "id")
            pipe.hgetall(keys.named(prefix, "restoring"))
            pipe.hgetall(keys.named(prefix, "restored"))
            reading = cast(Awaitable[list[Any]], pipe.execute())
            epoch, going_on, last = await self._connection.reach(reading)
        return State(
            epoch=int(epoch or 0),
            going_on=msgspec.convert(going_on, Progress, strict=False) if going_on else None,
            last=msgspec.convert(last, Progress, strict=False) if last else None,
        )

    async def _call(self, verb: str, arguments: dict[str, Any]) -> list[str]:
        return await self._connection.call(verb, arguments, fenced=False)


def _held(token: str) -> dict[str, str]:
    return {"token": token, "lease": str(int(LEASE_SECONDS * 1000))}


def _words(progress: Progress) -> dict[str, str]:
    return {name: str(value) for name, value in msgspec.structs.asdict(progress).items()}
