"""What each label points at, known without asking Redis each time, and at most a second old."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from bot.core.errors import Errored
from bot.core.ledger import Alias, Aliases, Changes
from bot.gateway.flights import Flights

V = TypeVar("V")
log = logging.getLogger(__name__)

# A move is announced, and then the next request waits for a new read. Where the announcement is
# lost, these bound what is shown: 0.7 and 0.25 make less than a second.
_RENEWED_SECONDS: Final = 0.4
"""After so long it is read again beside the requests, which do not wait for that."""
_TRUSTED_SECONDS: Final = 0.7
"""After so long a request waits for a new read."""
_PATIENCE_SECONDS: Final = 0.25
"""But no longer than this, if it can be served what was known before."""

_KNOWN: Final = 20_000
_UNKNOWN: Final = 10_000
"""Of these strangers can make as many as they like, so they have a room of their own."""
_AT_ONCE: Final = 8
"""Of the ledger's connections, which the receiver needs too."""


@dataclass(slots=True)
class _Kept:
    alias: Alias
    renew_at: float
    trusted_until: float


class KnownAliases:
    """Aliases by label. While Redis is away they stay what they were."""

    def __init__(self, aliases: Aliases, changes: Changes) -> None:
        self._aliases = aliases
        self._changes = changes
        self._known: OrderedDict[str, _Kept] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._flights: Flights[Alias | None] = Flights()
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._away = False

    def at_once(self, label: str) -> Alias | None:
        """The alias, where that is fresh knowledge; else ask `get`."""
        kept = self._known.get(label)
        return kept.alias if kept is not None and kept.renew_at > time.monotonic() else None

    async def get(self, label: str) -> Alias | None:
        """The alias, or None. Raises `Errored` when Redis is away and it is not known."""
        now = time.monotonic()
        kept = self._known.get(label)
        if kept is None:
            if self._unknown.get(label, 0.0) > now:
                return None
            return await self._flights.wait(label, partial(self._read, label))
        self._known.move_to_end(label)
        if kept.renew_at > now:
            return kept.alias
        reading = self._flights.join(label, partial(self._read, label))
        if kept.trusted_until > now:
            return kept.alias
        await asyncio.wait({reading}, timeout=_PATIENCE_SECONDS)
        if reading.done() and not reading.cancelled() and reading.exception() is None:
            return reading.result()
        _doubt(kept)
        return kept.alias

    async def follow(self) -> None:
        """Forgets, for ever, what is announced to have moved."""
        with self._changes.listen("alias:") as listener:
            while True:
                for change in await listener.next(seconds=60):
                    self._moved(change.removeprefix("alias:"))

    async def aclose(self) -> None:
        """Ends what is under way."""
        await self._flights.aclose()

    def _moved(self, label: str) -> None:
        """Trusts no more what is known of a label, or with `""` of any.

        Nor what is being read: that may be from before the move.
        """
        if not label:
            self._unknown.clear()
            self._flights.forget_all()
        else:
            self._unknown.pop(label, None)
            self._flights.forget(label)
        for kept in [self._known.get(label)] if label else self._known.values():
            if kept is not None:
                kept.renew_at = kept.trusted_until = 0.0

    async def _read(self, label: str) -> Alias | None:
        async with self._few:
            begun = time.monotonic()
            try:
                alias = await self._aliases.get(label)
            except Errored as error:
                self._failed(label, error)
                raise
        if self._away:
            log.info("aliases can be read again")
            self._away = False
        if self._flights.flies(label):
            self._keep(label, alias, begun)
        elif alias is not None and label not in self._known:
            # It may have moved meanwhile, but it is better than nothing if Redis goes away now.
            _bounded(self._known, label, _Kept(alias, 0.0, 0.0), most=_KNOWN)
        return alias

    def _failed(self, label: str, error: Errored) -> None:
        if not self._away:
            log.warning(
                "aliases cannot be read: sites stay what they were", extra={"error": error.message}
            )
            self._away = True
        if self._flights.flies(label) and (kept := self._known.get(label)):
            _doubt(kept)

    def _keep(self, label: str, alias: Alias | None, begun: float) -> None:
        if alias is None:
            self._known.pop(label, None)
            _bounded(self._unknown, label, begun + _TRUSTED_SECONDS, most=_UNKNOWN)
            return
        self._unknown.pop(label, None)
        kept = _Kept(alias, begun + _RENEWED_SECONDS, begun + _TRUSTED_SECONDS)
        _bounded(self._known, label, kept, most=_KNOWN)


def _doubt(kept: _Kept) -> None:
    """Shows it on, and nobody waits: it is read again beside the requests, until that succeeds."""
    kept.renew_at = time.monotonic() + _RENEWED_SECONDS
    kept.trusted_until = math.inf


def _bounded(map_: OrderedDict[str, V], key: str, value: V, *, most: int) -> None:
    map_[key] = value
    map_.move_to_end(key)
    if len(map_) > most:
        map_.popitem(last=False)
