"""What `scripts/chaos` says of a storm, and which of its options make no sense."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.asked import arguments
from tests.chaos.evidence import Evidence, Violation
from tests.chaos.storm import Outcome
from tests.chaos.verdict import as_json, held, in_words

CALM = {"acknowledged": 300.0, "repeats": 90.0, "worker_kills": 9.0, "redis_kills": 1.0}
LIVELY = CALM | {"pauses": 2.0, "s3_faults": 9.0, "github_faults": 9.0, "untold": 3.0}


def an_outcome(*violations: Violation, **counts: float) -> Outcome:
    """Of forty seconds in which enough has happened."""
    return Outcome(
        counts=LIVELY | counts,
        seconds=40,
        settle_seconds=12.34,
        evidence=Evidence(),
        violations=list(violations),
    )


def test_the_verdict_comes_last() -> None:
    *_, last = in_words(an_outcome())
    assert last.startswith("HELD: all ")
    *_, last = in_words(an_outcome(Violation("I5", "stale"), Violation("I2", "lost")))
    assert last == "VIOLATED: I2: 1, I5: 1"


def test_of_many_violations_of_an_invariant_three_are_shown_and_the_others_counted() -> None:
    many = [Violation("I7", f"twice: {number}", ("d1",), "x" * 900) for number in range(40)]
    lines = list(in_words(an_outcome(*many)))
    shown = [line for line in lines if line.startswith("I7")]
    assert len(shown) == 4
    assert shown[0] == f"I7: twice: 0 [d1]: {'x' * 300}…"
    assert shown[3] == "I7: … and 37 more; --json tells all"
    assert len(as_json(an_outcome(*many))["violations"]) == 40


def test_what_nothing_was_seen_of_is_said() -> None:
    lines = list(in_words(an_outcome(slowest_503_seconds=1.2)))
    kill = "not measured: how soon builds go on after a kill of Redis (I11)"
    assert kill in lines
    assert not any(line.startswith("not measured: how soon a delivery") for line in lines)


def test_a_storm_in_which_too_little_has_happened_shows_nothing() -> None:
    calm = an_outcome(worker_kills=2)
    assert not held(calm)
    *_, too_calm, last = in_words(calm)
    assert too_calm == "too calm to show anything: 2 worker kills of 5"
    assert last.startswith("NOT SHOWN")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mutant", "nope"), "there is no mutant 'nope'"),
        (("--seconds", "-3"), "more than 0, and not -3"),
        (("--seconds", "nan"), "more than 0, and not nan"),
        (("--workers", "0"), "from 1, and not 0"),
        (("--redis-kills", "-1"), "from 1, and not -1"),
        (("--bots", "two"), "a whole number, and not 'two'"),
    ],
)
def test_what_makes_no_sense_is_said_at_once_in_one_line(
    words: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["scripts/chaos", *words])
    with pytest.raises(SystemExit) as ended:
        arguments()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
