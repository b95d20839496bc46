"""What changes in the ledger, heard by one subscription and handed on to everyone who listens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bot.core import keys
from bot.core.errors import Errored
from bot.core.ledger.connection import Connection

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 2.0
_HEARD_MOST = 1000
"""So many changes are kept for a listener that is slow; past that it is told to look at all."""


class Listener:
    """Hears the changes whose name begins with one of its prefixes."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes
        self._heard: set[str] = set()
        self._event = asyncio.Event()

    def hear(self, change: str) -> None:
        """Takes note of a change; `""` means that any may have been missed."""
        if change and not change.startswith(self._prefixes):
            return
        if len(self._heard) >= _HEARD_MOST:
            self._heard = {""}
        self._heard.add(change)
        self._event.set()

    async def next(self, *, seconds: float) -> frozenset[str]:
        """What was heard since the last call; empty when nothing was for `seconds`.

        `""` among them says that changes may have been missed: look for yourself.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        heard, self._heard = frozenset(self._heard), set()
        return heard


class Changes:
    """What every verb announces: `deployment:<id>`, `alias:<label>`, `log:<id>`, `report`.

    A hint, not a truth: what is said while the connection is down is not repeated, so whoever
    listens also looks at a slow beat.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._listeners: set[Listener] = set()

    @contextmanager
    def listen(self, *prefixes: str) -> Iterator[Listener]:
        """Hears the changes that begin with any of `prefixes`, while the body lasts."""
        listener = Listener(prefixes)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def follow(self) -> None:
        """Hears and hands on until it is cancelled; a lost connection is made anew."""
        pause = 0.1
        while True:
            try:
                async with self._connection.subscribed(keys.CHANGED) as messages:
                    self._hand_on("")
                    async for message in messages:
                        pause = 0.1
                        if message:
                            self._hand_on(message)
            except Errored as error:
                log.debug("no changes are heard", extra={"error": error.message})
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _hand_on(self, change: str) -> None:
        for listener in tuple(self._listeners):
            listener.hear(change)
