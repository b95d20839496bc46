"""What a request's headers ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.gateway.asked import asked, encodings, names, part, wanted

TAG = b'"0123abcd"'


@pytest.mark.parametrize(
    ("accept", "best"),
    [
        (None, ["identity"]),
        (b"", ["identity"]),
        (b"gzip, deflate, br, zstd", ["zstd", "gzip", "identity"]),
        (b"gzip", ["gzip", "identity"]),
        (b"x-gzip", ["gzip", "identity"]),
        (b"GZIP;Q=0.5", ["gzip", "identity"]),
        (b"gzip;q=1.0, zstd;q=0.9", ["gzip", "zstd", "identity"]),
        (b"gzip ; q=0.3 , zstd;q=0.300", ["zstd", "gzip", "identity"]),
        (b"identity, gzip;q=0.5", ["identity", "gzip"]),
        (b"identity;q=0.5, gzip;q=0.2", ["identity", "gzip"]),
        (b"gzip;q=0", ["identity"]),
        (b"zstd;q=0, *", ["gzip", "identity"]),
        (b"*", ["zstd", "gzip", "identity"]),
        (b"*;q=0", ["identity"]),
        (b"identity;q=0, gzip", ["gzip", "identity"]),
        (b"br", ["identity"]),
        (b"gzip;q=2, zstd;q=x, deflate", ["identity"]),
        (b",,gzip,;,", ["gzip", "identity"]),
        (b"\xff, gzip", ["gzip", "identity"]),
        (b"gzip" + b" " * 500, ["identity"]),
    ],
)
def test_the_encoding_that_is_most_welcome_comes_first(
    accept: bytes | None, best: list[str]
) -> None:
    assert list(encodings(accept)) == best


@pytest.mark.parametrize(
    ("tags", "named", "strongly"),
    [
        (TAG, True, True),
        (b"W/" + TAG, True, False),
        (b'"a", ' + TAG, True, True),
        (b'"a",W/' + TAG + b',"b"', True, False),
        (b" * ", True, True),
        (b'"a, \\0123abcd"', False, False),
        (b"0123abcd", False, False),
        (b'"0123abcd-gzip"', False, False),
        (b"", False, False),
    ],
)
def test_a_list_of_tags_names_one(tags: bytes, *, named: bool, strongly: bool) -> None:
    assert names(tags, TAG) is named
    assert names(tags, TAG, strong=True) is strongly


@pytest.mark.parametrize(
    ("range_", "found"),
    [
        (b"bytes=0-9", (0, 10)),
        (b"bytes=90-", (90, 100)),
        (b"bytes=90-200", (90, 100)),
        (b"bytes=-10", (90, 100)),
        (b"bytes=-200", (0, 100)),
        (b"Bytes = 0 - 0", (0, 1)),
        (b"bytes=100-", (0, 0)),
        (b"bytes=-0", (0, 0)),
        (b"bytes=5-4", None),
        (b"bytes=0-9,20-29", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"lines=0-9", None),
        (b"bytes=1" + b"0" * 5000 + b"-", None),
        (b"", None),
    ],
)
def test_one_range_of_bytes_is_understood(range_: bytes, found: tuple[int, int] | None) -> None:
    assert part(range_, 100) == found


def test_no_part_of_nothing_can_be_had() -> None:
    assert part(b"bytes=0-", 0) == (0, 0)
    assert part(b"bytes=-5", 0) == (0, 0)


@given(st.binary(max_size=30), st.integers(0, 1000))
def test_a_range_lies_inside_whatever_is_asked(range_: bytes, size: int) -> None:
    found = part(b"bytes=" + range_, size)
    assert found is None or 0 <= found[0] <= found[1] <= size


def test_a_range_on_a_condition_holds_only_for_that_very_tag() -> None:
    range_ = {b"range": b"bytes=0-9"}
    assert wanted(range_, TAG, 100) == (0, 10)
    assert wanted({**range_, b"if-range": TAG}, TAG, 100) == (0, 10)
    for other in (b'"other"', b"W/" + TAG, b"Wed, 21 Oct 2026 07:28:00 GMT"):
        assert wanted({**range_, b"if-range": other}, TAG, 100) is None
    assert wanted({b"if-range": TAG}, TAG, 100) is None


def test_repeated_headers_are_one_list_but_the_last_host_counts() -> None:
    found = asked(
        [
            (b"host", b"a"),
            (b"accept-encoding", b"gzip"),
            (b"cookie", b"x"),
            (b"accept-encoding", b"zstd"),
            (b"host", b"b"),
        ]
    )
    assert found == {b"host": b"b", b"accept-encoding": b"gzip,zstd"}
