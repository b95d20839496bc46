"""Statuses, durations and stages in words."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.deployment import ENDED, Deployment, Status, Timing, timings
from bot.pages import words
from bot.pages.deployment import spans


def a_deployment(status: Status = Status.READY, **fields: Any) -> Deployment:
    times = {"received_at": 1000, "ended_at": 13_340} if status in ENDED else {}
    given: dict[str, Any] = {"ref": "refs/heads/main", **times, **fields}
    return Deployment(
        id="d0",
        status=status,
        project="site",
        repository="acme/site",
        seq=1,
        **given,
    )


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_words_and_a_tone(status: Status) -> None:
    assert words.headline(a_deployment(status))
    assert words.TONES[status]
    words.advice(a_deployment(status))


@pytest.mark.parametrize(
    ("deployment", "headline"),
    [
        (a_deployment(Status.READY), "Ready in 12.3 s"),
        (a_deployment(Status.FAILED), "Failed after 12.3 s"),
        (a_deployment(Status.BUILDING), "Building"),
        (a_deployment(Status.BUILDING, stop="cancelled"), "Stopping, to be cancelled"),
        (a_deployment(Status.CANCELLED, stop="cancelled"), "Cancelled"),
        (a_deployment(Status.QUEUED, error_code="bucket_failed"), "Waiting to try again"),
    ],
)
def test_the_headline_says_how_it_stands(deployment: Deployment, headline: str) -> None:
    assert words.headline(deployment) == headline


def test_a_failure_says_whose_it_is_and_what_to_do() -> None:
    assert "push again" in words.advice(a_deployment(Status.FAILED))
    assert "pushlane redeploy d0" in words.advice(a_deployment(Status.ERRORED))
    assert "by itself" in words.advice(a_deployment(Status.QUEUED, error_code="bucket_failed"))
    assert words.advice(a_deployment(Status.READY)) == ""


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("build_failed", "This lies with the repository: mend it there and push again."),
        ("ref_not_found", "a commit that is there: pushlane deploy acme/site@REF"),
        ("repository_not_found", "When Pushlane may read it: pushlane redeploy d0"),
        ("build_timeout", "or raise the limit and: pushlane redeploy d0"),
        ("commit_not_found", ""),
    ],
)
def test_what_is_to_be_done_about_a_failure_depends_on_its_code(code: str, advice: str) -> None:
    said = words.advice(a_deployment(Status.FAILED, error_code=code))
    assert said.endswith(advice)
    assert bool(said) is bool(advice)


def test_what_has_no_message_yet_is_called_by_its_ref() -> None:
    assert words.subject(a_deployment(message="One\n\nTwo")) == "One"
    assert words.subject(a_deployment(message="", ref="refs/tags/v1")) == "Deployment of v1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3780, "1 h 3 min"),
        (4 * 86_400, "4 d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_moments_are_told_from_now_and_in_utc() -> None:
    assert words.ago(1_000_000, now=1_059_000) == "just now"
    assert words.ago(1_000_000, now=1_000_000 + 3 * 3_600_000) == "3 h ago"
    assert words.moment(1_790_000_000_000) == "2026-09-21 14:13:20 UTC"
    assert words.iso(1_790_000_000_000) == "2026-09-21T14:13:20Z"


def test_stages_follow_each_other_and_the_one_it_is_in_lasts() -> None:
    found = timings(
        a_deployment(Status.BUILDING, received_at=1, fetching_at=2, queued_at=5, building_at=9)
    )
    assert found == (
        Timing(Status.RECEIVED, 1, 2),
        Timing(Status.FETCHING, 2, 5),
        Timing(Status.QUEUED, 5, 9),
        Timing(Status.BUILDING, 9, 0),
    )


def test_of_a_stage_that_was_tried_again_the_last_attempt_is_told() -> None:
    waits = a_deployment(
        Status.QUEUED, received_at=1, fetching_at=2, queued_at=5, building_at=9, publishing_at=12
    )
    assert timings(waits)[-1] == Timing(Status.QUEUED, 5, 0)
    builds = a_deployment(
        Status.BUILDING, received_at=1, fetching_at=2, queued_at=5, building_at=20, publishing_at=12
    )
    assert timings(builds)[-2:] == (
        Timing(Status.QUEUED, 5, 20),
        Timing(Status.BUILDING, 20, 0),
    )


def test_what_ends_while_it_waits_has_no_further_stage() -> None:
    found = timings(a_deployment(Status.CANCELLED, received_at=1, ended_at=4))
    assert found == (Timing(Status.RECEIVED, 1, 4),)


def test_the_bar_is_filled_and_every_stage_can_be_seen() -> None:
    found = timings(
        a_deployment(
            Status.READY,
            received_at=1,
            fetching_at=1,
            queued_at=400,
            building_at=401,
            publishing_at=900_000,
            ended_at=900_003,
        )
    )
    placed = spans(found, now=0)
    assert min(span.width for span in placed) >= 5
    assert [span.x for span in placed[1:]] == [span.x + span.width for span in placed[:-1]]
    assert placed[-1].x + placed[-1].width == 1000
    assert not any(span.lasts for span in placed)
    assert placed[3].seconds == pytest.approx(899.6, abs=0.1)


def test_a_stage_that_lasts_is_measured_until_now() -> None:
    (span,) = spans((Timing(Status.RECEIVED, 1000, 0),), now=3500)
    assert span.lasts
    assert span.seconds == 2.5
    assert (span.x, span.width) == (0, 1000)
