"""What the catch-up found by git alone: GitHub's time of it is not known, yet nothing goes back."""

from __future__ import annotations

import time

import pytest

from bot.core.deployment import Deployment, Push, Removal
from bot.core.ledger import Compared, Ledger
from tests.builders import START, a_push, a_removal, built, commit
from tests.ledgers import alias_of

REF = "refs/heads/main"


async def _known(ledger: Ledger) -> Compared:
    known = (await ledger.rounds.heads("site")).known[REF]
    return Compared(project="site", known=known.entry)


async def found(ledger: Ledger, after: str, *, before: str) -> Deployment:
    """Built, though no delivery has told of it and the API told no time."""
    push = Push(
        guid="",
        body_sha256="",
        repository="acme/site",
        repository_id=7,
        private=False,
        default_branch="main",
        ref=REF,
        before=commit(before),
        after=commit(after),
        pushed_at=0,
    )
    return await built(ledger, await ledger.records.record(push, compared=await _known(ledger)))


async def found_gone(ledger: Ledger, *, before: str) -> None:
    """The branch is not there any more, and no delivery has told of that."""
    removal = Removal(
        guid="",
        body_sha256="",
        repository="acme/site",
        repository_id=7,
        ref=REF,
        before=commit(before),
        pushed_at=0,
    )
    answer = await ledger.records.remove(removal, compared=await _known(ledger))
    assert answer.outcome == "removed"


@pytest.fixture
async def live(ledger: Ledger) -> Deployment:
    """C, which was found; the pushes of B and B2 between A and it were missed as well."""
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    return await found(ledger, "C", before="A")


@pytest.mark.parametrize("order", [("B", "B2"), ("B2", "B")])
async def test_what_was_passed_over_is_late(
    ledger: Ledger, live: Deployment, order: tuple[str, str]
) -> None:
    pushes = {"B": a_push("B", before="A", at=2), "B2": a_push("B2", before="B", at=3)}
    for name in order:
        assert (await ledger.records.record(pushes[name])).outcome == "superseded"
    own = await ledger.records.record(a_push("C", before="B2", at=4))
    assert (own.outcome, own.deployment) == ("repeated", live.id)
    assert await alias_of(ledger, "site") == live.id


async def test_what_follows_is_newer(ledger: Ledger, live: Deployment) -> None:
    newer = await built(ledger, await ledger.records.record(a_push("D", before="C", at=5)))
    assert await alias_of(ledger, "site") == newer.id


async def test_what_was_pushed_after_the_look_is_newer(ledger: Ledger, live: Deployment) -> None:
    after = int(time.time()) - START + 60
    newer = await built(ledger, await ledger.records.record(a_push("E", before="D", at=after)))
    assert await alias_of(ledger, "site") == newer.id


async def test_a_deletion_that_was_passed_over_is_late(ledger: Ledger, live: Deployment) -> None:
    late = await ledger.records.remove(a_removal("main", before="B2", at=4))
    assert late.outcome == "late"
    again = await ledger.records.record(a_push("C", before="0" * 40, at=5))
    assert (again.outcome, again.deployment) == ("repeated", live.id)


async def test_of_a_branch_that_was_found_gone_nothing_from_before_comes_back(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    await found_gone(ledger, before="A")
    assert (await ledger.records.record(a_push("B", before="A", at=2))).outcome == "superseded"
    assert (await ledger.records.remove(a_removal("main", before="B", at=3))).outcome == "repeated"
