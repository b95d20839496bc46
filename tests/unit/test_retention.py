"""Which releases are kept, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.collector.retention import DAY_MS, Decision, Release, Retention, Why, decide

NOW = 1_790_000_000_000
MAIN, TOPIC = "refs/heads/main", "refs/heads/topic"


def a_release(
    seq: int,
    *,
    days_ago: float = 100,
    branch: str = MAIN,
    production: bool = False,
    named: bool = False,
) -> Release:
    return Release(
        deployment=f"d{seq}",
        seq=seq,
        ended_at=NOW - int(days_ago * DAY_MS),
        branch=branch,
        production=production,
        named=named,
    )


def decided(*releases: Release, **retention: int) -> Decision:
    return decide(releases, now=NOW, retention=Retention(**retention))


@pytest.mark.parametrize(
    ("release", "why"),
    [
        (a_release(1, named=True), Why.NAMED),
        (a_release(1, named=True, production=True, days_ago=0), Why.NAMED),
        (a_release(1, production=True), Why.PRODUCTION),
        (a_release(1), Why.BRANCH),
        (a_release(1, branch="", days_ago=13.9), Why.RECENT),
    ],
)
def test_a_release_alone_is_kept_for_its_first_reason(release: Release, why: Why) -> None:
    assert decided(release) == Decision({"d1": why}, ())


@pytest.mark.parametrize("days", [14, 15, 1000])
def test_one_of_no_branch_goes_when_its_days_are_over(days: int) -> None:
    assert decided(a_release(1, branch="", days_ago=days)) == Decision({}, ("d1",))


def test_the_last_of_production_and_of_each_branch_are_kept_and_what_is_older_goes() -> None:
    releases = [
        *(a_release(seq, production=True) for seq in range(1, 31)),
        *(a_release(seq, branch=TOPIC) for seq in range(31, 41)),
    ]
    found = decided(*releases)
    assert [*found.kept.values()].count(Why.PRODUCTION) == 20
    assert {id_ for id_, why in found.kept.items() if why is Why.BRANCH} == {"d38", "d39", "d40"}
    assert found.going == (*(f"d{n}" for n in range(1, 11)), *(f"d{n}" for n in range(31, 38)))


def test_what_an_alias_names_is_kept_however_old_and_takes_no_place_of_another() -> None:
    releases = [a_release(seq, production=True) for seq in range(2, 25)]
    found = decided(a_release(1, production=True, named=True), *releases)
    assert found.kept["d1"] is Why.NAMED
    assert found.going == ("d2", "d3", "d4")


def test_everything_of_the_last_days_is_kept_however_much_that_is() -> None:
    releases = [a_release(seq, production=True, days_ago=1) for seq in range(1, 200)]
    assert decided(*releases).going == ()


def test_the_order_of_a_project_is_that_of_its_seq_whatever_ended_first() -> None:
    late = a_release(1, days_ago=15)
    found = decided(a_release(2, days_ago=90), late, a_release(3, days_ago=80), branch=2)
    assert found.going == ("d1",)


@pytest.mark.parametrize("wrong", [{"production": 0}, {"branch": -1}, {"days": -1}])
def test_a_retention_without_the_newest_of_production_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="less than nothing"):
        Retention(**wrong)


RELEASES = st.lists(
    st.builds(
        Release,
        deployment=st.uuids().map(str),
        seq=st.integers(1, 10_000),
        ended_at=st.integers(NOW - 60 * DAY_MS, NOW),
        branch=st.sampled_from(["", MAIN, TOPIC]),
        production=st.booleans(),
        named=st.booleans(),
    ),
    unique_by=(lambda each: each.seq, lambda each: each.deployment),
    max_size=60,
)
RETENTION = st.builds(
    Retention,
    production=st.integers(1, 30),
    branch=st.integers(0, 5),
    days=st.integers(0, 60),
)


@given(RELEASES, RETENTION)
def test_whatever_there_is_what_must_stay_stays_and_nothing_else(
    releases: list[Release], retention: Retention
) -> None:
    found = decide(releases, now=NOW, retention=retention)
    ids = {each.deployment for each in releases}
    assert found.kept.keys() | set(found.going) == ids
    assert len(found.kept) + len(found.going) == len(ids)

    newest_first = sorted(releases, key=lambda each: -each.seq)
    production = [each.deployment for each in newest_first if each.production]
    due = {each.deployment for each in releases if each.named}
    due |= set(production[: retention.production])
    for branch in (MAIN, TOPIC):
        of_branch = [each.deployment for each in newest_first if each.branch == branch]
        due |= set(of_branch[: retention.branch])
    recent = NOW - retention.days * DAY_MS
    due |= {each.deployment for each in releases if each.ended_at > recent}
    assert found.kept.keys() == due


@given(RELEASES, RETENTION)
def test_what_goes_at_one_time_goes_at_every_later_one(
    releases: list[Release], retention: Retention
) -> None:
    now = set(decide(releases, now=NOW, retention=retention).going)
    later = set(decide(releases, now=NOW + DAY_MS, retention=retention).going)
    assert now <= later
