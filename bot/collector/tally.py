"""What a round of the collector did, or would do: counts and bytes by kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from bot.core.bucket import Entry

Word: TypeAlias = Literal["kept", "condemned", "waiting", "deleted", "unknown"]
NAMES: Final = 100
"""Of each kind so many are named."""


class Share(msgspec.Struct, kw_only=True):
    """Some objects of one kind."""

    count: int = 0
    bytes: int = 0
    names: list[str] = []
    """The first 100, in a dry run."""


class Tally(msgspec.Struct, kw_only=True):
    """One round. In a dry run `condemned` and `deleted` are what would be."""

    dry_run: bool
    complete: bool = False
    """Everything was looked at; else the next round goes on."""
    stopped: str = ""
    """What stopped it before its end."""
    seconds: float = 0.0
    projects: int = 0
    kept: dict[str, Share] = {}
    """By kind, as in the others."""
    condemned: dict[str, Share] = {}
    """Now: deleted in a later round."""
    waiting: dict[str, Share] = {}
    """Condemned before, and not due yet."""
    deleted: dict[str, Share] = {}
    unknown: dict[str, Share] = {}
    """The ledger does not know whose they are, so they stay."""
    uploads: int = 0
    """Uploads in parts that somebody began and abandoned: ended."""
    trimmed: int = 0
    """Deployments whose records had gone, taken out of the indexes."""

    def add(self, word: Word, kind: str, entries: Iterable[Entry]) -> None:
        """Counts objects of a kind."""
        shares: dict[str, Share] = getattr(self, word)
        for entry in entries:
            share = shares.setdefault(kind, Share())
            share.count += 1
            share.bytes += entry.size
            if self.dry_run and len(share.names) < NAMES:
                share.names.append(entry.name)

    @property
    def handled(self) -> int:
        """How many objects were condemned or deleted."""
        return sum(s.count for found in (self.condemned, self.deleted) for s in found.values())
