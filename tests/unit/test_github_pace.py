"""When GitHub may be asked again, and what its answers mean."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from bot.core.errors import Errored
from bot.core.github.answers import (
    LONGEST_WAIT_SECONDS,
    Answer,
    Limited,
    Refused,
    Untellable,
    is_limit,
    seconds_to_wait,
    status_error,
)
from bot.core.github.client import fitting
from bot.core.github.pace import Pace


def an_answer(status: int, body: str = "{}", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body)


def test_a_limit_without_a_time_lasts_a_minute_and_doubles_up_to_an_hour() -> None:
    pace, now, waits = Pace(), 1000.0, []
    for _ in range(9):
        waits.append(pace.limited(None, begun_at=now, now=now).seconds)
        with pytest.raises(Limited):
            pace.check(now + waits[-1] - 1)
        now += waits[-1]
        pace.check(now)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    pace.accepted(begun_at=now)
    assert pace.limited(None, begun_at=now, now=now).seconds == 60


def test_requests_that_were_under_way_together_meet_one_limit() -> None:
    pace = Pace()
    for moment in range(4):
        limit = pace.limited(None, begun_at=1000.0, now=1001.0 + moment)
        assert limit.seconds == 60
    pace.accepted(begun_at=1000.0)
    assert pace.limited(None, begun_at=1064.0, now=1064.0).seconds == 120


def test_a_shorter_limit_does_not_end_a_longer_one() -> None:
    pace = Pace()
    pace.limited(100, begun_at=0.0, now=1000.0)
    assert pace.limited(1, begun_at=0.0, now=1010.0).seconds == 90


def test_unknown_credentials_are_tried_once_a_minute_then_seldom() -> None:
    pace, error = Pace(), Refused("no", code="github_credentials_unknown")
    pace.refused(error, begun_at=1000.0, now=1000.0)
    with pytest.raises(Refused, match="no"):
        pace.check(1059.0)
    pace.check(1060.0)
    pace.refused(error, begun_at=1060.0, now=1060.0)
    with pytest.raises(Refused):
        pace.check(1179.0)


@pytest.mark.parametrize(
    ("answer", "limit"),
    [
        (an_answer(429), True),
        (an_answer(403, retry_after="7"), True),
        (an_answer(503, retry_after="7"), True),
        (an_answer(403, x_ratelimit_remaining="0"), True),
        (an_answer(403, '{"message": "You have exceeded a secondary rate limit."}'), True),
        (an_answer(403, '{"message": "Resource not accessible by integration"}'), False),
        (an_answer(201, x_ratelimit_remaining="0"), False),
        (an_answer(500), False),
    ],
)
def test_limits_are_told_from_refusals(answer: Answer, limit: bool) -> None:
    assert is_limit(answer) is limit


def test_the_time_to_wait_is_githubs_own_by_its_own_clock() -> None:
    assert seconds_to_wait(an_answer(403, retry_after="7", x_ratelimit_remaining="0")) == 7
    assert seconds_to_wait(an_answer(403, retry_after="0")) == 1
    assert seconds_to_wait(an_answer(429)) is None
    assert seconds_to_wait(an_answer(403, x_ratelimit_reset="99")) is None
    spent = {"x_ratelimit_remaining": "0"}
    theirs = 1_700_000_000
    reset = str(theirs + 90)
    dated = an_answer(403, x_ratelimit_reset=reset, date=formatdate(theirs, usegmt=True), **spent)
    assert seconds_to_wait(dated) == 90
    undated = an_answer(403, x_ratelimit_reset=str(int(time.time()) + 90), **spent)
    assert 88 < (seconds_to_wait(undated) or 0) <= 90
    wrong = an_answer(403, x_ratelimit_reset="999999999999", **spent)
    assert seconds_to_wait(wrong) == LONGEST_WAIT_SECONDS
    assert seconds_to_wait(an_answer(429, retry_after="soon")) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Refused),
        (403, Refused),
        (404, Untellable),
        (410, Untellable),
        (422, Untellable),
        (451, Untellable),
        (400, Untellable),
        (408, Errored),
        (302, Errored),
        (500, Errored),
        (504, Errored),
    ],
)
def test_each_refusal_says_who_must_act(status: int, kind: type[Errored]) -> None:
    error = status_error(an_answer(status, "<html>"), "acme/site")
    assert type(error) is kind
    assert error.retryable is (kind is not Untellable)


def test_githubs_words_are_one_short_line() -> None:
    body = '{"message": "Validation Failed", "errors": [{"field": "x", "code": "y"}, "z\\nz", 1]}'
    assert an_answer(422, body).words == "Validation Failed; x: y; z z; 1"
    assert an_answer(502, "<html>").words == ""
    assert an_answer(500, '["a"]').words == ""
    assert len(an_answer(500, '{"message": "' + "x" * 999 + '"}').words) == 300


def test_a_description_is_cut_and_has_only_what_github_takes() -> None:
    assert fitting("Failed: a\n\n\tb\x1b[31mred") == "Failed: a b [31mred"
    assert fitting("🚀\ud83d!") == "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}!"
    assert fitting("é" * 140) == "é" * 140
    assert fitting("é" * 141) == "é" * 139 + "…"
