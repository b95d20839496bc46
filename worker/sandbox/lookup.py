"""Names to addresses in threads of their own: a slow name holds up nobody but who asked for it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Final

_AT_ONCE: Final = 8
_KNOWN_SECONDS: Final = 30.0
_KNOWN: Final = 1000


class Lookup:
    """The lookups of one execution, eight at a time; more wait for one another.

    An answer holds for half a minute: a package manager connects anew for each of a thousand
    packages, always to the same host.

    `getaddrinfo` cannot be ended. A thread that still asks when nobody waits any more holds its
    place until it has been answered, and never holds up the end of the process.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[str, tuple[float, list[str]]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name, each once. Raises OSError where there is none."""
        if (known := self._still_known(host)) is not None:
            return known
        await self._places.acquire()
        # Who waited for a place finds what was answered meanwhile.
        if (known := self._still_known(host)) is not None:
            self._places.release()
            return known
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def take(found: list[str] | OSError) -> None:
            self._places.release()
            if not isinstance(found, OSError) and len(self._known) < _KNOWN:
                self._known[host] = (time.monotonic() + _KNOWN_SECONDS, found)
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: list[str] | OSError
            try:
                answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = list(dict.fromkeys(str(each[4][0]) for each in answers))
            except (OSError, UnicodeError) as error:
                found = OSError(f"{host} cannot be resolved: {error}")
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(partial(take, found))

        threading.Thread(target=ask, name="lookup", daemon=True).start()
        return await answer

    def _still_known(self, host: str) -> list[str] | None:
        until, found = self._known.get(host, (0.0, []))
        return found if time.monotonic() < until else None
