"""Which releases of a project are kept, and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What of a project is kept besides what an alias names."""

    production: int = 20
    """The newest that were ready in production, at least 1: `unpin` goes back to the newest."""
    branch: int = 3
    """The newest of each branch, until it is deleted."""
    days: int = 14
    """All that ended in so many days, and the logs and sources of whatever did."""

    def __post_init__(self) -> None:
        if self.production < 1 or self.branch < 0 or self.days < 0:
            raise ValueError(f"{self} keeps less than nothing")


class Why(StrEnum):
    """Why a release is kept; of several reasons the first."""

    NAMED = "named"
    """The alias of production or of a branch shows it."""
    PRODUCTION = "production"
    """It is among the newest of production."""
    BRANCH = "branch"
    """It is among the newest of its branch."""
    RECENT = "recent"
    """It ended not long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release that is there, as the decision looks at it."""

    deployment: str
    seq: int
    """Orders the releases of a project."""
    ended_at: int
    """Milliseconds since the epoch."""
    branch: str = ""
    """Its whole ref, while that is a branch which has not been deleted; else empty."""
    production: bool = False
    """It was ready in production."""
    named: bool = False
    """The alias of production or of a branch names it. A deployment's own alias does not count."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Each release is in exactly one of the two."""

    kept: Mapping[str, Why] = field(default_factory=dict)
    """By deployment."""
    going: tuple[str, ...] = ()
    """Deployments, oldest first."""


def decide(releases: Iterable[Release], *, now: int, retention: Retention) -> Decision:
    """Divides a project's releases; `now` is in milliseconds since the epoch."""
    kept: dict[str, Why] = {}
    going: list[str] = []
    seen: Counter[str] = Counter()
    for each in sorted(releases, key=lambda release: release.seq, reverse=True):
        seen["production"] += each.production
        seen[each.branch] += 1
        if each.named:
            kept[each.deployment] = Why.NAMED
        elif each.production and seen["production"] <= retention.production:
            kept[each.deployment] = Why.PRODUCTION
        elif each.branch and seen[each.branch] <= retention.branch:
            kept[each.deployment] = Why.BRANCH
        elif each.ended_at > now - retention.days * DAY_MS:
            kept[each.deployment] = Why.RECENT
        else:
            going.append(each.deployment)
    return Decision(kept, tuple(reversed(going)))
