"""What was used last, up to a weight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """A map that forgets what was used longest ago once it weighs too much.

    The newest is kept whatever its weight.
    """

    def __init__(self, most: int) -> None:
        self.weight = 0
        self._most = most
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What is kept for `key`, or None; it counts as used."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> list[K]:
        """Keeps it; answers the keys that were forgotten for it."""
        before = self._kept.pop(key, None)
        self._kept[key] = (value, weight)
        self.weight += weight - (before[1] if before else 0)
        forgotten = []
        while self.weight > self._most and len(self._kept) > 1:
            oldest, (_, its_weight) = self._kept.popitem(last=False)
            self.weight -= its_weight
            forgotten.append(oldest)
        return forgotten

    def keys(self) -> list[K]:
        """All that is kept, that used longest ago first."""
        return list(self._kept)
