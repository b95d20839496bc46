"""The plan of a storm: the same for the same seed, dense enough, and never ambiguous."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

from tests.chaos.plan import Fault, Planned, Push, plan, poison_count
from tests.chaos.world import Commit, Sort, sorts
from tests.standin import ZERO


def pool(repository: str, count: int, *, seed: int = 0) -> tuple[Commit, ...]:
    return tuple(
        Commit(repository, number, f"{seed + 1:04x}{number:036x}", sort)
        for number, sort in enumerate(sorts(Random(seed), count))
    )


def a_plan(seed: int, seconds: float) -> list[Planned]:
    poisoned, unfetchable = poison_count(seconds)
    return plan(
        seed,
        seconds,
        {f"acme/site-{n}": pool(f"acme/site-{n}", 400, seed=n) for n in range(8)},
        poisoned=pool("acme/poison", poisoned, seed=90),
        unfetchable=pool("acme/unfetchable", unfetchable, seed=91),
    )


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert a_plan(1, 60) == a_plan(1, 60)
    assert a_plan(1, 60) != a_plan(2, 60)


def test_a_plan_of_600_seconds_holds_what_is_to_be_shown() -> None:
    planned = a_plan(1, 600)
    pushes = [each.action for each in planned if isinstance(each.action, Push)]
    faults = Counter(each.action.what for each in planned if isinstance(each.action, Fault))
    repeats = sum(len(push.repeats) for push in pushes)
    assert len(pushes) + repeats > 3500
    assert repeats > 600
    assert sum(push.after == ZERO for push in pushes) > 20
    assert faults["worker kill"] > 220
    assert faults["redis kill"] > 22
    assert faults["worker freeze"] > 70
    for where in ("s3", "github"):
        assert sum(n for what, n in faults.items() if what.startswith(where)) > 250


def test_each_branch_goes_from_commit_to_commit_without_a_gap() -> None:
    heads: dict[tuple[str, str], str] = defaultdict(lambda: ZERO)
    for planned in a_plan(3, 120):
        if isinstance(push := planned.action, Push):
            assert push.before == heads[push.repository, push.ref]
            assert push.after != push.before
            heads[push.repository, push.ref] = push.after


def test_a_branch_is_pushed_to_at_most_twice_a_second_and_then_to_something_new() -> None:
    seconds: dict[tuple[tuple[str, str], int], list[Push]] = defaultdict(list)
    past: dict[tuple[str, str], set[str]] = defaultdict(set)
    for planned in a_plan(4, 300):
        if isinstance(push := planned.action, Push):
            branch = (push.repository, push.ref)
            if seconds[branch, push.second]:
                assert ZERO not in (push.before, push.after)
                assert push.after not in past[branch]
            seconds[branch, push.second].append(push)
            past[branch].add(push.after)
    assert max(map(len, seconds.values())) == 2


def test_the_first_commit_of_a_pool_is_a_plain_page() -> None:
    assert sorts(Random(5), 20)[0] is Sort.PAGE
