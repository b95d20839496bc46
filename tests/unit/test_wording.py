"""Refs and sizes, as the command and the pages tell them."""

from __future__ import annotations

import pytest

from bot.wording import ref_in_words, size_in_words

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("refs/heads/feature/a b", "feature/a b"),
        ("refs/tags/v1.0", "v1.0"),
        ("refs/pull/7/head", "pull/7/head"),
        ("HEAD", "HEAD"),
        (SHA, SHA[:7]),
        (f"refs/heads/{SHA}", SHA),
        ("refs/heads/refs/tags/odd", "refs/tags/odd"),
        ("", ""),
    ],
)
def test_a_ref_is_called_as_a_person_calls_it(ref: str, words: str) -> None:
    assert ref_in_words(ref) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (12_345, "12 KB"),
        (3_400_000, "3.4 MB"),
        (1_234_500_000, "1,234.5 MB"),
    ],
)
def test_a_size_is_told_as_the_builds_log_tells_it(size: int, words: str) -> None:
    assert size_in_words(size) == words
