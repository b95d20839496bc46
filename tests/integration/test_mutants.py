"""With any rule of the protocol taken out, the quick part of the suite fails."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.chaos.killing import killed, quick_tests, unkilled
from tests.failing.mutants import MUTANTS, Mutant, named, text_of


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
async def test_a_mutant_is_seen(mutant: Mutant, valkey: str) -> None:
    found = await killed(mutant, valkey)
    assert found.by, f"no test fails where {mutant.rule}"


async def test_without_a_mutant_the_same_tests_pass(valkey: str) -> None:
    assert await unkilled(valkey) == []


def test_the_quick_tests_are_those_of_the_ledger() -> None:
    names = Counter(name for name, _ in quick_tests())
    assert len(names) > 45
    assert names["test_what_is_delivered_again_after_a_newer_push_is_still_the_old_push"] == 2


def test_a_rule_that_no_longer_stands_where_it_stood_is_no_mutant() -> None:
    gone = Mutant("gone", "nothing", "finish", "a rule that was never there", "")
    with pytest.raises(AssertionError, match="stands not once"):
        text_of(gone, "finish")


def test_a_mutant_changes_no_script_but_its_own() -> None:
    fence = named("fence: finish")
    assert text_of(fence, "advance") == text_of(named("sweep: call"), "advance")
    assert text_of(fence, "finish") != text_of(named("sweep: call"), "finish")
