"""What a storm has shown, and what it has not: for a person, and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from tests.chaos.evidence import Violation
from tests.chaos.invariants import CHECKS
from tests.chaos.storm import Outcome

_LEAST: Final = {
    "acknowledged": 150,
    "repeats": 20,
    "worker_kills": 5,
    "redis_kills": 1,
    "pauses": 1,
    "s3_faults": 5,
    "github_faults": 5,
    "untold": 1,
}
"""In forty seconds, also on a slow machine."""
_LEAST_SECONDS: Final = 40
_MEASURED: Final = {
    "slowest_503_seconds": "how soon a delivery is refused while Redis is away (I11)",
    "slowest_return_seconds": "how soon builds go on after a kill of Redis (I11)",
    "slowest_return_from_silence_seconds": "how soon builds go on after a silence of Redis (I11)",
    "probes_without_redis": "whether sites are served while Redis is away (I11)",
    "slowest_stop_seconds": "how soon a build dies that is stopped (I8)",
    "pages_checked": "whether the newest is live (I5)",
    "releases_checked": "whether releases are whole (I4, I12)",
    "logs_checked": "whether logs mix (I6)",
}
_FEW: Final = 3
"""Violations of one invariant that a person is shown."""
_EVIDENCE_LETTERS: Final = 300


def too_calm(outcome: Outcome) -> list[str]:
    """What has not happened often enough for an absence of violations to mean something."""
    if outcome.seconds < _LEAST_SECONDS:
        return []
    least = {name: count * outcome.seconds / _LEAST_SECONDS for name, count in _LEAST.items()}
    return [
        f"{outcome.counts.get(name, 0):g} {name.replace('_', ' ')} of {count:g}"
        for name, count in least.items()
        if outcome.counts.get(name, 0) < count
    ]


def not_measured(outcome: Outcome) -> list[str]:
    """What nothing was seen of: by chance there was nothing to build just then, say."""
    return [words for name, words in _MEASURED.items() if not outcome.counts.get(name)]


def held(outcome: Outcome) -> bool:
    """Whether every invariant held, and enough has happened to tell."""
    return not outcome.violations and not too_calm(outcome)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All of it, each violation with its evidence."""
    found = outcome.violations
    return {
        **_figures(outcome),
        "lost": sum(each.what.startswith("lost") for each in found),
        "ended_twice": sum(each.what.startswith(("ended twice", "twice")) for each in found),
        "stale": sum(each.what.startswith("stale") for each in found),
        "not_measured": not_measured(outcome),
        "too_calm": too_calm(outcome),
        "violations": [asdict(each) for each in found],
        "held": held(outcome),
    }


def in_words(outcome: Outcome) -> Iterator[str]:
    """Lines: some violations of each invariant, the figures, what was not measured, the verdict."""
    by_invariant = defaultdict[str, list[Violation]](list)
    for each in outcome.violations:
        by_invariant[each.invariant].append(each)
    for invariant in sorted(by_invariant, key=list(CHECKS).index):
        found = by_invariant[invariant]
        yield from map(_told, found[:_FEW])
        if len(found) > _FEW:
            yield f"{invariant}: … and {len(found) - _FEW} more; --json tells all"
    yield from (f"{name:36} {value:g}" for name, value in _figures(outcome).items())
    yield from (f"not measured: {words}" for words in not_measured(outcome))
    yield from (f"too calm to show anything: {words}" for words in too_calm(outcome))
    yield _verdict(outcome, {name: len(found) for name, found in by_invariant.items()})


def _verdict(outcome: Outcome, counts: Mapping[str, int]) -> str:
    if counts:
        each = ", ".join(f"{name}: {counts[name]}" for name in CHECKS if name in counts)
        return f"VIOLATED: {each}"
    if too_calm(outcome):
        return "NOT SHOWN: nothing is wrong, but too little has happened"
    return f"HELD: all {len(CHECKS)} invariants, nothing lost, doubled or stale"


def _told(violation: Violation) -> str:
    words = " ".join(violation.evidence.split())
    if len(words) > _EVIDENCE_LETTERS:
        words = f"{words[:_EVIDENCE_LETTERS]}…"
    ids = f" [{' '.join(violation.ids)}]" if violation.ids else ""
    return f"{violation.invariant}: {violation.what}{ids}" + (f": {words}" if words else "")


def _figures(outcome: Outcome) -> dict[str, float]:
    return {
        "seconds": outcome.seconds,
        "settle_seconds": round(outcome.settle_seconds, 1),
        **dict(sorted(outcome.counts.items())),
    }
