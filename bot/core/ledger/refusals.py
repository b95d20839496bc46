"""Deliveries that were refused: counted all, noted the newest, written at a bounded pace.

Whoever sends them need not know any secret, so there is no key for each.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from bot.core import keys
from bot.core.errors import Errored
from bot.core.ledger.connection import Connection

_PAUSE_SECONDS: Final = 1.0
_NOTED_MOST: Final = 20
"""In one pause; the rest is only counted."""
_DAY_SECONDS: Final = 86_400
_DAYS: Final = 30
_LENGTHS: Final = {"peer": 64, "event": 64, "guid": 64, "repository": 140}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery that was refused. All but `at`, `peer` and `code` is what its sender claims.

    What strangers wrote is cut short, and each odd letter of it becomes a question mark.
    """

    at: int = 0
    """Milliseconds since the epoch."""
    peer: str
    code: str
    """Of the error that it was answered with."""
    event: str = ""
    guid: str = ""
    repository: str = ""

    def __post_init__(self) -> None:
        for name, most in _LENGTHS.items():
            text = getattr(self, name)[:most]
            plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
            msgspec.structs.force_setattr(self, name, plain)


class Refusals:
    """Notes refusals beside the answers, which wait for nothing of it, and reads them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counts: Counter[str] = Counter()
        self._newest: list[tuple[float, Refusal]] = []
        self._writing: asyncio.Task[None] | None = None

    def note(self, refusal: Refusal) -> None:
        """Takes note of one. Returns at once, and never raises."""
        self._counts[refusal.code] += 1
        if len(self._newest) < _NOTED_MOST:
            self._newest.append((time.monotonic(), refusal))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all(), name="refusals")

    async def read(self) -> tuple[dict[str, int], list[Refusal]]:
        """How many were refused in the last 30 days, by code, and the newest of them first."""
        redis, prefix = cast(Any, self._connection.redis), self._connection.prefix
        seconds, _ = await self._connection.guard(cast(Awaitable[tuple[int, int]], redis.time()))
        today = seconds // _DAY_SECONDS
        async with redis.pipeline(transaction=False) as pipe:
            for day in range(today - _DAYS + 1, today + 1):
                pipe.hgetall(keys.named(prefix, f"refused-counts:{day}"))
            pipe.lrange(keys.named(prefix, "refused"), 0, -1)
            *days, newest = await self._connection.guard(pipe.execute())
        counts: Counter[str] = Counter()
        for each in days:
            counts.update({code: int(number) for code, number in each.items()})
        refusals = [msgspec.json.decode(each, type=Refusal, strict=False) for each in newest]
        return dict(counts.most_common()), refusals

    async def aclose(self) -> None:
        """Ends the writing; what is not written yet is written now, if that can be."""
        if self._writing is None:
            return
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)
        with suppress(Errored):
            await self._write()

    async def _write_all(self) -> None:
        while self._counts:
            # Redis may be away; the counts wait for it.
            with suppress(Errored):
                await self._write()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _write(self) -> None:
        counts, newest = Counter(self._counts), list(self._newest)
        if not counts:
            return
        now = time.monotonic()
        arguments = {
            "counts": {code: str(number) for code, number in counts.items()},
            "newest": [
                {**msgspec.to_builtins(refusal), "ago": str(round((now - since) * 1000))}
                for since, refusal in newest
            ],
        }
        await self._connection.call("refuse", arguments)
        self._counts -= counts
        self._newest = self._newest[len(newest) :]
