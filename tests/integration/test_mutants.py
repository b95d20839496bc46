"""With any rule of the protocol taken out, the test of that rule fails."""

from __future__ import annotations

import pytest

from tests.chaos.killing import Servers, killed
from tests.conftest import S3
from tests.failing.mutants import BrokenMutant, Mutant, apply, text_of
from tests.failing.rules import MUTANTS, named

SEEN_BY_A_TEST = [mutant for mutant in MUTANTS if mutant.by]
"""The other one takes a house and a crash: `scripts/chaos --mutants` does it too."""


@pytest.fixture(scope="module")
def servers(valkey: str, seaweedfs: S3) -> Servers:
    return Servers(valkey, seaweedfs)


@pytest.mark.parametrize("mutant", SEEN_BY_A_TEST, ids=[each.name for each in SEEN_BY_A_TEST])
async def test_a_mutant_is_seen(mutant: Mutant, servers: Servers) -> None:
    found = await killed(mutant, servers)
    assert found.words, f"{found.by} passes where {mutant.rule}"


def test_all_but_one_mutant_are_seen_by_a_test_of_the_ledger() -> None:
    assert [mutant.name for mutant in MUTANTS if not mutant.by] == ["sweep: call"]
    apply(named("sweep: call"))()
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) > 45


async def test_a_rule_that_no_longer_stands_where_it_stood_is_no_mutant(servers: Servers) -> None:
    gone = Mutant(
        "gone",
        "nothing",
        "finish",
        "a rule that was never there",
        "",
        by="ledger_claims::test_a_repeated_finish_of_the_same_claim_succeeds",
    )
    with pytest.raises(BrokenMutant, match="stands not once"):
        await killed(gone, servers)


async def test_a_script_that_does_not_run_is_no_mutant(servers: Servers) -> None:
    broken = Mutant(
        "broken",
        "nothing",
        "finish",
        "close(id, args.status, fields)",
        "close(",
        by="ledger_claims::test_a_repeated_finish_of_the_same_claim_succeeds",
    )
    with pytest.raises(BrokenMutant, match="refused"):
        await killed(broken, servers)


def test_a_mutant_changes_no_script_but_its_own() -> None:
    fence = named("fence: finish")
    assert text_of(fence, "advance") == text_of(named("sweep: call"), "advance")
    assert text_of(fence, "finish") != text_of(named("sweep: call"), "finish")
