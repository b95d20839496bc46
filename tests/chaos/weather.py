"""What was wrong when: the spells of faults, for those who judge what was seen meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Spell:
    """One fault while it lasts: `kind` (`redis down`, `frozen`, …) and where. Unix seconds."""

    kind: str
    where: str
    began_at: float
    ended_at: float = float("inf")


@dataclass(slots=True)
class Weather:
    """The spells so far."""

    spells: list[Spell] = field(default_factory=list)

    @contextmanager
    def spell(self, kind: str, where: str = "") -> Iterator[Spell]:
        """A spell as long as the body lasts."""
        made = self.begin(kind, where)
        try:
            yield made
        finally:
            made.ended_at = time.time()

    def begin(self, kind: str, where: str = "") -> Spell:
        """A spell that somebody else ends."""
        made = Spell(kind, where, time.time())
        self.spells.append(made)
        return made

    def between(
        self, began_at: float, ended_at: float, *kinds: str, where: str = ""
    ) -> list[Spell]:
        """The spells of these kinds that touch the time; `where` names one place, or any."""
        return [
            spell
            for spell in self.spells
            if spell.kind in kinds
            and spell.began_at < ended_at
            and spell.ended_at > began_at
            and where in ("", spell.where)
        ]
