"""What must hold of the bucket as the ledger's second home: all that is to be saved is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.chaos.evidence import Evidence, Hash, Violation
from tests.chaos.invariants.records import ENDS

_SAME = ("project", "kind", "seq", "deployment_seq", "deployment", "release", "pinned")


def what_ended_and_what_moved_is_saved(evidence: Evidence) -> Iterator[Violation]:
    """Rule 14: at rest the bucket holds each thing as new as the ledger does, and nothing newer."""
    ended = {id_: each for id_, each in evidence.records.items() if each.get("status") in ENDS}
    moved = {
        label: alias
        for label, alias in evidence.aliases.items()
        # A deployment's own host follows from its record.
        if alias.get("kind") != "deployment"
    }
    yield from _as_new(evidence, "deployment", ended, "version")
    yield from _as_new(evidence, "project", evidence.projects, "version")
    yield from _as_new(evidence, "alias", moved, "seq")
    for label, alias in moved.items():
        saved = evidence.pointed.get(label, {})
        if any(saved.get(name) != alias.get(name) for name in _SAME):
            what = f"{label} was saved as it is not"
            yield Violation("S14", what, (), f"{alias}, saved {dict(saved)}")


def _as_new(
    evidence: Evidence, kind: str, things: Mapping[str, Hash], field: str
) -> Iterator[Violation]:
    for name, thing in things.items():
        here, there = int(thing.get(field, "0")), evidence.saved.get(f"{kind}:{name}")
        if there != here:
            what = f"the {kind} is not saved as new as it is"
            yield Violation("S14", what, (name,), f"{here} here, {there} in the bucket")
