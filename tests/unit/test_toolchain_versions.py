"""Version ranges, and which Node.js they mean."""

from __future__ import annotations

import datetime as dt

import pytest

from worker.toolchain.versions import (
    best_node,
    maintained,
    nearest,
    nearest_node,
    newest,
    plain_python,
    satisfies,
)

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
        ("lts/krypton", "24.1.0"),
        ("lts/lithium", None),
    ],
)
def test_the_newest_long_term_release_that_fits_is_chosen(
    wanted: str | None, expected: str | None
) -> None:
    assert best_node(AVAILABLE, wanted, DAY) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("12", "18.20.8"),
        ("16.20.0", "18.20.8"),
        ("20.9.1", "20.19.5"),
        ("lts/gallium", "18.20.8"),
        ("21", "22.20.0"),
        ("999", None),
    ],
)
def test_what_is_missing_is_replaced_by_the_next_line_above_it(
    wanted: str, expected: str | None
) -> None:
    assert nearest_node(AVAILABLE, wanted) == expected


@pytest.mark.parametrize(
    ("major", "expected"), [(18, False), (20, False), (22, True), (23, False), (26, True)]
)
def test_a_long_term_line_gets_mends_until_its_third_april(major: int, expected: bool) -> None:
    assert maintained(major, DAY) is expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("3.11", "3.11"),
        ("3.11.4", "3.11"),
        ("python-3.9.7", "3.9"),
        ("==3.12.*", "3.12.*"),
        (">=3.9,<4", ">=3.9 <4"),
        (">=3.9, !=3.9.1", ">=3.9"),
        ("~=3.10", ">=3.10 3"),
        ("^3.10", "^3.10"),
        ("pypy3.9-7.3", ""),
        ("system", ""),
        ("", ""),
    ],
)
def test_python_is_asked_for_in_many_ways_and_by_its_minor(wanted: str, expected: str) -> None:
    assert plain_python(wanted) == expected


def test_the_newest_that_fits_or_the_nearest_above_is_chosen() -> None:
    offered = ["0.124.0", "0.130.1", "0.130.0", "1.0.0rc1"]
    assert newest(offered, "0.130") == "0.130.1"
    assert newest(offered, "") == "0.130.1"
    assert newest(offered, "0.111.3") is None
    assert nearest(offered, "0.111.3") == "0.124.0"
    assert nearest(offered, "2") is None


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
