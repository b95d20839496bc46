"""What becomes of each object of a project in the bucket. Pure.

A manifest is judged by the ledger, and a pack by the manifests that are in the bucket. So a ledger
that was lost, or is another one, has no reason to delete a release, and none to delete its packs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from bot.core.bucket import Entry
from bot.core.ledger import Trace

LONGEST_RECORD_MS: Final = 31 * 86_400_000
"""An ended deployment's record lasts 30 days at least."""

_NAME: Final = re.compile(
    r"[a-z]+/[^/]+/(d[0-9a-hjkmnp-tv-z]{16})-([0-9a-f]{16})\.(?:json|pack|log)"
)
_SOURCE: Final = re.compile(r"sources/[^/]+/[0-9a-f]{64}(?:-[0-9a-f]{16})?\.tar\.zst")


class Verdict(StrEnum):
    """What to do with an object."""

    KEEP = "keep"
    """Something needs it, or may need it."""
    REMOVE = "remove"
    """Nothing names it, and nothing can name it again."""
    UNKNOWN = "unknown"
    """The ledger does not know whose it is: not ours to remove."""


class Owner(NamedTuple):
    """The claim that wrote an object."""

    deployment: str
    claim: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """By what the objects of a repository's projects are judged. Times are ms since the epoch."""

    traces: Mapping[str, Trace]
    """Every deployment that the ledger knows, by id."""
    going: AbstractSet[str]
    """Deployments whose releases are given up, now or before."""
    shown: AbstractSet[str] = frozenset()
    """Manifests that the alias of production or of a branch names, whatever the records say."""
    undecided: AbstractSet[str] = frozenset()
    """Deployments that have a manifest, and that the ledger does not know."""
    named: AbstractSet[str] | None = frozenset()
    """Packs that a manifest names which is not to go; None when that cannot be told."""
    left: AbstractSet[str] = frozenset()
    """Packs that a manifest names which is to go."""
    condemned: Mapping[str, int] = field(default_factory=dict)
    """Objects that are condemned, each with the time from which it may be deleted."""
    in_use: AbstractSet[str] = frozenset()
    """Sources of deployments that have not ended, or not long ago."""
    old: int
    """What was written after this is too young to be judged."""
    recent: int
    """What ended, or was written, after this has its log and source kept."""
    quiet: int
    """No claim of the repository that still runs began before this."""
    now: int


def owner_of(name: str) -> Owner | None:
    """Whose an object is, by its name; None when it bears no claim's name."""
    found = _NAME.fullmatch(name)
    return Owner(found[1], found[2]) if found else None


def of_manifest(entry: Entry, known: Known) -> Verdict:
    """A manifest stays while it is shown, or kept, or its claim may still be accepted."""
    if entry.name in known.shown:
        return Verdict.KEEP
    owner = owner_of(entry.name)
    trace = known.traces.get(owner.deployment) if owner else None
    if owner is None or trace is None:
        return Verdict.UNKNOWN
    if trace.release == entry.name:
        return Verdict.REMOVE if trace.id in known.going else Verdict.KEEP
    return _of_claim(owner, trace, entry, known)


def of_pack(entry: Entry, known: Known) -> Verdict:
    """A pack stays while a manifest names it that stays, or its claim may still write one.

    One of an owner long forgotten goes with the last manifest that names it.
    """
    if known.named is None:
        return Verdict.UNKNOWN
    if entry.name in known.named:
        return Verdict.KEEP
    owner = owner_of(entry.name)
    trace = known.traces.get(owner.deployment) if owner else None
    if owner is not None and trace is not None:
        return _of_claim(owner, trace, entry, known)
    left = entry.name in known.left or entry.name in known.condemned
    return Verdict.REMOVE if left else Verdict.UNKNOWN


def of_log(entry: Entry, known: Known) -> Verdict:
    """A log stays as long as the release, else as long as the retention's days."""
    owner = owner_of(entry.name)
    if owner is None or owner.deployment in known.undecided:
        return Verdict.UNKNOWN
    trace = known.traces.get(owner.deployment)
    if trace is None:
        # No record and no manifest: that of one which did not end ready, past its time.
        lost = entry.modified_at > known.now - LONGEST_RECORD_MS
        return Verdict.UNKNOWN if lost else Verdict.REMOVE
    if not trace.ended or (trace.released and trace.id not in known.going):
        return Verdict.KEEP
    over = trace.id in known.going or trace.ended_at <= known.recent
    return Verdict.REMOVE if over else Verdict.KEEP


def of_source(entry: Entry, known: Known) -> Verdict:
    """A source stays while a deployment needs it, and for the retention's days after."""
    if not _SOURCE.fullmatch(entry.name):
        return Verdict.UNKNOWN
    young = entry.modified_at > min(known.recent, known.old)
    return Verdict.KEEP if young or entry.name in known.in_use else Verdict.REMOVE


def in_use(traces: Mapping[str, Trace], *, recent: int) -> frozenset[str]:
    """Sources of deployments that have not ended, or after `recent`."""
    return frozenset(
        trace.source
        for trace in traces.values()
        if trace.source and (not trace.ended or trace.ended_at > recent)
    )


def _of_claim(owner: Owner, trace: Trace, entry: Entry, known: Known) -> Verdict:
    """What a claim wrote and nothing names: its own business, until it is fenced or has ended."""
    if not trace.ended and trace.claim == owner.claim:
        return Verdict.KEEP
    return Verdict.KEEP if entry.modified_at > known.old else Verdict.REMOVE
