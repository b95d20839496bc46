"""What the catch-up makes of GitHub's heads, and of GitHub's list of failed deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from bot.catchup.heads import Findings, Gone, Missed, compare, differ
from bot.catchup.redelivery import leads_here, worth_asking
from bot.core.github import Attempt
from bot.core.ledger import Head, Heads
from bot.core.ledger.rounds import NO_COMMIT

NOW = 1_790_000_000_000
OLD, FRESH = NOW - 31_000, NOW - 29_000
A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN, TOPIC = "refs/heads/main", "refs/heads/topic"


def a_head(commit: str, *, seq: int = 3, at: int = OLD) -> Head:
    return Head.of(f"{commit} {seq} {at}")


def compared(
    found: Mapping[str, str],
    known: Mapping[str, Head],
    *,
    seen: Collection[str] = (),
    first: bool = False,
) -> Findings:
    return compare(found, Heads(known=known, now=NOW), seen=seen, first=first)


def test_heads_that_are_as_the_ledger_knows_them_say_nothing() -> None:
    found, known = {MAIN: A, TOPIC: B}, {MAIN: a_head(A), TOPIC: a_head(B, seq=0)}
    assert not differ(found, known)
    assert compared(found, known) == Findings(noted={}, forgotten={})


@pytest.mark.parametrize("at", [OLD, FRESH])
def test_a_commit_that_nobody_has_told_of_was_missed_at_once(at: int) -> None:
    known = {MAIN: a_head(A, at=at)}
    findings = compared({MAIN: B}, known)
    assert findings == Findings(missed=(Missed(MAIN, B, known[MAIN]),), noted={}, forgotten={})


def test_a_commit_that_was_deployed_before_is_missed_once_no_server_can_lag() -> None:
    fresh, old = {MAIN: a_head(B, at=FRESH)}, {MAIN: a_head(B, at=OLD)}
    assert compared({MAIN: A}, fresh, seen={A}) == Findings(noted={}, forgotten={}, unsure=True)
    forced_back = compared({MAIN: A}, old, seen={A})
    assert forced_back.missed == (Missed(MAIN, A, old[MAIN]),)
    assert not forced_back.unsure


def test_a_branch_that_the_last_look_has_not_seen_was_missed() -> None:
    assert compared({MAIN: A, TOPIC: A}, {MAIN: a_head(A)}, seen={A}).missed == (
        Missed(TOPIC, A, None),
    )


def test_branches_at_a_first_look_were_there_before_us_and_are_only_noted() -> None:
    known = {MAIN: a_head(A)}
    findings = compared({MAIN: B, TOPIC: C}, known, first=True)
    assert findings.noted == {TOPIC: C}
    assert findings.missed == (Missed(MAIN, B, known[MAIN]),)


def test_a_branch_that_was_only_noted_is_missed_when_it_has_moved() -> None:
    noted = {TOPIC: a_head(A, seq=0, at=OLD)}
    assert compared({TOPIC: B}, noted).missed == (Missed(TOPIC, B, noted[TOPIC]),)
    just_noted = {TOPIC: a_head(A, seq=0, at=FRESH)}
    assert compared({TOPIC: B}, just_noted) == Findings(noted={}, forgotten={}, unsure=True)


def test_a_branch_that_is_not_there_any_more_is_gone_once_no_server_can_lag() -> None:
    fresh, old = a_head(B, at=FRESH), a_head(B, at=OLD)
    found = {MAIN: A}
    assert compared(found, {MAIN: a_head(A), TOPIC: fresh}) == Findings(
        noted={}, forgotten={}, unsure=True
    )
    assert compared(found, {MAIN: a_head(A), TOPIC: old}).gone == (Gone(TOPIC, old),)


def test_of_a_branch_that_was_only_noted_or_is_deleted_nothing_is_to_be_taken_down() -> None:
    noted, deleted = a_head(B, seq=0), a_head(NO_COMMIT)
    findings = compared({MAIN: A}, {MAIN: a_head(A), TOPIC: noted, "refs/heads/x": deleted})
    assert findings.gone == ()
    assert findings.forgotten == {TOPIC: noted.entry, "refs/heads/x": deleted.entry}


def test_a_deleted_branch_that_is_there_again_was_missed() -> None:
    fresh, old = {TOPIC: a_head(NO_COMMIT, at=FRESH)}, {TOPIC: a_head(NO_COMMIT, at=OLD)}
    assert compared({TOPIC: A}, fresh, seen={A}).missed == ()
    assert compared({TOPIC: B}, fresh, seen={A}).missed == (Missed(TOPIC, B, fresh[TOPIC]),)
    assert compared({TOPIC: A}, old, seen={A}).missed == (Missed(TOPIC, A, old[TOPIC]),)


def an_attempt(
    guid: str,
    *,
    code: int = 503,
    event: str = "push",
    repository_id: int | None = 7,
    minutes: int = 0,
) -> Attempt:
    return Attempt(
        id=1000 - minutes,
        guid=guid,
        event=event,
        delivered_at=datetime(2026, 1, 1, tzinfo=UTC) - timedelta(minutes=minutes),
        status_code=code,
        repository_id=repository_id,
    )


def test_what_failed_is_worth_asking_for_newest_first() -> None:
    attempts = [an_attempt("new", code=0), an_attempt("old", code=401, minutes=5)]
    assert [each.guid for each in worth_asking(attempts, repositories={7})] == ["new", "old"]


def test_what_has_come_another_time_or_is_no_push_of_ours_is_left_alone() -> None:
    attempts = [
        an_attempt("came", code=202),
        an_attempt("came", minutes=1),
        an_attempt("ping", event="ping"),
        an_attempt("stranger", repository_id=8),
        an_attempt("of the hook", repository_id=None),
    ]
    assert [each.guid for each in worth_asking(attempts, repositories={7})] == ["of the hook"]


def test_what_has_failed_three_times_is_not_asked_for_any_more() -> None:
    attempts = [an_attempt("hopeless", minutes=n) for n in range(3)]
    twice = [an_attempt("twice", minutes=n) for n in (4, 5)]
    found = worth_asking([*attempts, *twice], repositories={7})
    assert [(each.guid, each.id) for each in found] == [("twice", 996)]


@pytest.mark.parametrize(
    ("url", "ours", "leads"),
    [
        ("https://x.example/webhooks/github", "https://x.example/webhooks/github", True),
        ("https://x.example:8443/webhooks/github", "https://x.example/webhooks/github", True),
        ("https://y.example/webhooks/github", "https://x.example/webhooks/github", False),
        ("https://x.example/other", "https://x.example/webhooks/github", False),
        ("https://x.example/p/webhooks/github", "https://x.example/p/webhooks/github", True),
        ("https://tunnel.example/webhooks/github", "http://localhost:8000/webhooks/github", True),
        ("https://tunnel.example/jenkins", "http://localhost:8000/webhooks/github", False),
        ("", "https://x.example/webhooks/github", False),
    ],
)
def test_a_webhook_is_ours_by_its_url(url: str, ours: str, leads: bool) -> None:
    assert leads_here(url, ours) is leads
