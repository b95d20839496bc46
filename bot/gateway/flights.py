"""One act for all who want its result at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Acts under way, by key. Whoever gives up waiting ends none: others may want it, or will."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[T]] = {}
        self._all: set[asyncio.Task[T]] = set()

    def join(self, key: str, act: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The act under way for `key`, begun now if there is none."""
        flight = self._under_way.get(key)
        if flight is None:
            flight = asyncio.create_task(act(), name=key)
            self._under_way[key] = flight
            self._all.add(flight)
            flight.add_done_callback(lambda landed: self._landed(key, landed))
        return flight

    async def wait(self, key: str, act: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Its result; what it raises is raised to all who wait."""
        return await asyncio.shield(self.join(key, act))

    def forget(self, key: str) -> None:
        """Lets the next who asks begin anew. What is under way goes on for those who wait."""
        self._under_way.pop(key, None)

    def forget_all(self) -> None:
        """The same, for all keys."""
        self._under_way.clear()

    def flies(self, key: str) -> bool:
        """Whether the calling act is still the one for `key`, and was not forgotten."""
        return self._under_way.get(key) is asyncio.current_task()

    async def aclose(self) -> None:
        """Ends all acts."""
        for flight in tuple(self._all):
            flight.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)

    def _landed(self, key: str, flight: asyncio.Task[T]) -> None:
        self._all.discard(flight)
        if self._under_way.get(key) is flight:
            del self._under_way[key]
        if not flight.cancelled():
            flight.exception()  # seen, even where nobody waited for it
