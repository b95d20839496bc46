"""Version ranges, and which Node.js they mean."""

from __future__ import annotations

import datetime as dt

import pytest

from worker.toolchain.versions import best_node, satisfies

DAY = dt.date(2026, 11, 24)
AVAILABLE = ["18.20.8", "20.9.0", "20.19.5", "22.3.0", "22.20.0", "23.1.0", "24.1.0", "25.2.0"]


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ((22, 3, 0), "22", True),
        ((22, 3, 0), "22.x", True),
        ((22, 3, 0), "v22.3.0", True),
        ((22, 3, 1), "22.3.0", False),
        ((22, 3, 0), ">=20", True),
        ((18, 1, 0), ">=20", False),
        ((20, 5, 0), ">= 18 < 21", True),
        ((21, 0, 0), ">=18 <21", False),
        ((22, 9, 0), "^20.17.0 || >=22.9.0", True),
        ((21, 9, 0), "^20.17.0 || >=22.9.0", False),
        ((1, 3, 9), "~1.3.2", True),
        ((1, 4, 0), "~1.3.2", False),
        ((0, 2, 4), "^0.2.3", True),
        ((0, 3, 0), "^0.2.3", False),
        ((20, 9, 9), "18 - 20", True),
        ((21, 0, 0), "18 - 20", False),
        ((5, 0, 0), "*", True),
        ((20, 0, 0), ">20", False),
        ((21, 0, 0), ">20", True),
        ((20, 9, 0), "<=20", True),
    ],
)
def test_a_range_includes_what_npm_says_it_does(
    version: tuple[int, int, int], wanted: str, expected: bool
) -> None:
    assert satisfies(version, wanted) is expected


@pytest.mark.parametrize(
    "text", ["banana", "22; rm -rf /", "--version", ">=", "22.three", "1" * 5000]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="range"):
        satisfies((1, 0, 0), text)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "24.1.0"),
        ("lts/*", "24.1.0"),
        ("lts/iron", "20.19.5"),
        ("22", "22.20.0"),
        ("v22.3.0", "22.3.0"),
        (">=20", "24.1.0"),
        ("23", "23.1.0"),
        ("node", "25.2.0"),
        ("99", None),
    ],
)
def test_the_newest_long_term_release_that_fits_is_chosen(
    wanted: str | None, expected: str | None
) -> None:
    assert best_node(AVAILABLE, wanted, DAY) == expected


def test_a_line_that_was_never_named_is_refused() -> None:
    with pytest.raises(ValueError, match="names no line"):
        best_node(AVAILABLE, "lts/nosuch", DAY)


@pytest.mark.parametrize(
    "wanted",
    [
        "9-evil/repo",
        "9-x@git+https://h/x",
        ">=9-../../x",
        "9 || 1-file:x",
        "^9-npm:other@1",
        "9.1.2-a b/c",
        "9.1.2+x/y",
        "* || evil/repo",
    ],
)
def test_a_range_that_npm_would_take_for_a_place_is_none(wanted: str) -> None:
    with pytest.raises(ValueError, match="no version range"):
        satisfies((9, 1, 2), wanted)
