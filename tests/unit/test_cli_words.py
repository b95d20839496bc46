"""What the command writes, word by word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.cli.credentials import checked_token, checked_url, is_loopback
from bot.cli.failures import Unreachable, exit_code, wrong
from bot.cli.names import target
from bot.cli.output import age, log_line, plain, seconds_in_words, title
from bot.core.errors import Errored, PushlaneError, Rejected, SettingInvalid


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_keeps_a_control_character(text: str) -> None:
    for shown in (plain(text), title(text), log_line(text, colour=False)):
        assert all(each.isprintable() or each in " \t" for each in shown if ord(each) < 0xA0)
        assert not set(shown) & set("\x1b\x9b\u2028\u202e\u2066\n\r")
        shown.encode("utf-8")


@given(st.text(alphabet="\x1b[m;0159Ki "))
def test_colours_alone_reach_a_terminal_and_are_ended(text: str) -> None:
    shown = log_line(text, colour=True)
    parts = shown.split("\x1b")
    assert all(part.startswith("[") and "m" in part for part in parts[1:])
    assert len(parts) == 1 or shown.endswith("\x1b[0m")


def test_what_is_printable_stays_as_it_is() -> None:
    for text in ("Grüße, 世界 – ok…", r"C:\x1b", "a  b"):
        assert plain(text) == text
    assert log_line("a\tb", colour=False) == "a\tb"
    assert plain("a\tb\nc") == r"a\tb\nc"


def test_a_title_is_the_first_line_cut() -> None:
    assert title("\n\nOne\nTwo") == "One"
    assert title("x" * 300) == "x" * 199 + "…"
    assert title("") == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.0, "0.00 s"),
        (0.044, "0.04 s"),
        (5.66, "5.7 s"),
        (59.99, "60.0 s"),
        (125.4, "2 min 5 s"),
        (3_600.0, "60 min 0 s"),
    ],
)
def test_seconds_are_told_as_finely_as_they_matter(seconds: float | None, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_ages_are_told_in_one_unit() -> None:
    now = datetime.now(UTC)
    for back, words in (
        (12, "12 s"),
        (180, "3 min"),
        (7_200, "2 h"),
        (172_800, "2 d"),
        (-60, "0 s"),
    ):
        assert age((now - timedelta(seconds=back)).isoformat()) == words
    assert [age(each) for each in (None, "", "yesterday")] == ["-", "-", "-"]


@pytest.mark.parametrize("text", ["acme/site", "octo_corp/a.b-c_d", "site", "0-site"])
def test_a_target_without_a_ref_is_a_repository_or_a_project(text: str) -> None:
    assert list(target(text).values()) == [text]


def test_a_ref_may_hold_slashes_and_at_signs() -> None:
    assert target("acme/site@a@b/c")["ref"] == "a@b/c"
    for text in ("", "@main", "acme/", "/site", "acme/site@", "acme/site/x", "--json", "Acme"):
        with pytest.raises(Rejected):
            target(text)


def test_urls_are_kept_in_one_form_and_odd_ones_refused() -> None:
    assert checked_url("https://deploy.example.com/base/") == "https://deploy.example.com/base"
    for text in (
        "", "deploy.example.com", "ftp://a", "https://", "http://[", "https://user:x@a", "http://a?b",
        "http://a:b", "http://a:99999",
    ):  # fmt: skip
        with pytest.raises(SettingInvalid):
            checked_url(text)
    near = ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", "http://a.localhost")
    assert all(map(is_loopback, near))
    assert not is_loopback("http://localhost.example.com")


def test_a_token_that_cannot_stand_in_a_header_is_refused_unshown() -> None:
    assert checked_token(" abc\n") == "abc"
    for text in ("", " ", "a b", "a\r\nX: y", "töken"):
        with pytest.raises(SettingInvalid) as refused:
            checked_token(text)
        assert not text.strip() or text not in str(refused.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wrong("x"), 2),
        (SettingInvalid("A", "x"), 2),
        (Unreachable("x"), 3),
        (Errored("x", code="y"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: PushlaneError, code: int) -> None:
    assert exit_code(error).value == code
