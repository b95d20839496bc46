"""What a terminal would show, as text with a fixed set of classes."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.pages import ansi

CLASSES = {
    *(f"{ground}-{colour}" for ground in ("fg", "bg") for colour in ansi.COLOURS),
    *("bold", "dim", "italic", "underline", "inverse", "strike"),
}


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("plain", [("", "plain")]),
        ("", []),
        ("\x1b[31mred\x1b[0m not", [("fg-red", "red"), ("", " not")]),
        ("\x1b[1;4;92;41mall\x1b[m", [("fg-bright-green bg-red bold underline", "all")]),
        ("\x1b[1mbold\x1b[22mnot", [("bold", "bold"), ("", "not")]),
        ("\x1b[31;39m\x1b[41;49mboth back", [("", "both back")]),
        ("\x1b[32ma\x1b[32mb", [("fg-green", "ab")]),
        ("\x1b[38;5;9m256", [("fg-bright-red", "256")]),
        ("\x1b[48;5;21mcube", [("bg-blue", "cube")]),
        ("\x1b[38;5;244mgrey", [("fg-grey", "grey")]),
        ("\x1b[38;2;250;5;5mtrue\x1b[0m", [("fg-bright-red", "true")]),
        ("\x1b[38:2::250:5:5mcolons\x1b[0m", [("fg-bright-red", "colons")]),
        ("\x1b[4:3mcurly", [("underline", "curly")]),
        ("\x1b[38;2;1mcut", [("", "cut")]),
        ("\x1b[38;5;999;99999999999999999999munknown", [("", "unknown")]),
    ],
)
def test_colours_and_weights_become_classes(line: str, pieces: list[tuple[str, str]]) -> None:
    assert ansi.pieces(line) == pieces


@pytest.mark.parametrize(
    "line",
    [
        "\x1b[2K\x1b[1A\x1b[?25lhello",
        "hel\x1b]0;a title\x07lo",
        "\x1b]8;;https://evil.example\x1b\\hello\x1b]8;;\x1b\\",
        "\x1b]52;c;Y29weQ==\x07hello",
        "\x1bPq#0;2;0;0;0\x1b\\hello",
        "he\x1b(Bllo\x1b",
        "hell\x08\x00\x9b\x07o",
        "hello\x1b[38;5",
        "\u202eh\u2066ello\u2028",
    ],
)
def test_every_other_sequence_is_dropped(line: str) -> None:
    assert ansi.pieces(line) == [("", "hello")]
    assert ansi.plain(line) == "hello"


@pytest.mark.parametrize(
    ("line", "shown"),
    [("10%\r50%\r100%", "100%"), ("100%\r", "100%"), ("a\tb\r\n", "a\tb"), ("\r", "")],
)
def test_of_a_progress_bar_the_last_state_stays(line: str, shown: str) -> None:
    assert ansi.plain(line) == shown


def test_markup_escapes_what_the_line_spells() -> None:
    line = "\x1b[31m</span><script>alert(1)</script>\x1b[0m & \"'"
    assert ansi.markup(line) == (
        '<span class="fg-red">&lt;/span&gt;&lt;script&gt;alert(1)&lt;/script&gt;</span>'
        " &amp; &#34;&#39;"
    )


@given(st.text(alphabet=st.sampled_from("\x1b[]();:?0123456789mK<>&'\"\\ab \r\x07\x9b\u202e")))
def test_no_line_makes_a_class_or_a_tag_of_its_own(line: str) -> None:
    for classes, text in ansi.pieces(line):
        assert set(classes.split()) <= CLASSES
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e]", text)
    without_spans = re.sub(r'<span class="[a-z -]+">|</span>', "", ansi.markup(line))
    assert not re.search("[<>]", without_spans)
    assert "".join(text for _, text in ansi.pieces(line)) == ansi.plain(line)


@pytest.mark.parametrize(
    "line",
    [
        "\x1b[1mx\x1b[0m" * 50_000,
        "\x1b[" + "1;" * 200_000 + "m",
        "\x1b]" * 100_000 + "\x1bP" * 100_000 + "\x1b[" * 100_000,
    ],
)
def test_a_hostile_line_costs_little_and_stays_small(line: str) -> None:
    begun = time.monotonic()
    pieces = ansi.pieces(line)
    assert time.monotonic() - begun < 2
    assert len(pieces) <= ansi.MOST_PIECES + 1
