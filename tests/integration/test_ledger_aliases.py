"""What a host shows: moved forward by pushes, and as they like by people."""

from __future__ import annotations

import pytest

from bot.core.deployment import Status, Trigger, branch_label, deployment_label
from bot.core.errors import Rejected
from bot.core.ledger import Ledger, Request
from tests.builders import a_push, a_removal, built, commit, finished, queued
from tests.ledgers import alias_of, status_of


async def test_a_deleted_branch_loses_its_alias_and_production_never_does(ledger: Ledger) -> None:
    main = await built(ledger, await ledger.records.record(a_push("A", at=1)))
    topic = await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=2)))
    pending = await ledger.records.record(a_push("U", before="T", branch="topic", at=3))
    removed = await ledger.records.remove(a_removal("topic", before="U", at=4))
    assert removed.outcome == "removed"
    assert await alias_of(ledger, branch_label("topic", "site")) == ""
    assert await status_of(ledger, pending.deployment) is Status.CANCELLED
    assert await alias_of(ledger, deployment_label(topic.id, "site")) == topic.id
    await ledger.records.remove(a_removal("main", before="A", at=5))
    assert await alias_of(ledger, "site") == main.id


async def test_a_late_deletion_does_not_take_a_branch_down_that_was_made_again(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="t", at=1)))
    again = await ledger.records.record(a_push("A", branch="t", at=6))
    assert again.outcome == "repeated"
    anew = await built(ledger, await ledger.records.record(a_push("B", branch="t", at=7)))
    late = await ledger.records.remove(a_removal("t", before="A", at=5))
    assert late.outcome == "late"
    assert await alias_of(ledger, branch_label("t", "site")) == anew.id


async def test_a_rollback_pins_and_a_push_after_it_says_so_until_unpinned(ledger: Ledger) -> None:
    first = await built(ledger, await ledger.records.record(a_push("A")))
    with pytest.raises(Rejected, match="no earlier release"):
        await ledger.aliases.rollback("site")
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    move = await ledger.aliases.rollback("site", idempotency_key="once")
    assert move == await ledger.aliases.rollback("site", idempotency_key="once")
    assert (move.deployment, move.previous, move.pinned) == (first.id, second.id, True)
    before = await ledger.aliases.get("site")
    third = await built(ledger, await ledger.records.record(a_push("C", before="B")))
    assert third.reason == "built, not live: production is pinned"
    assert await alias_of(ledger, "site") == first.id
    unpinned = await ledger.aliases.unpin("site")
    assert (unpinned.deployment, unpinned.pinned) == (third.id, False)
    now = await ledger.view.deployment(third.id)
    assert now
    assert now.reason == ""
    after = await ledger.aliases.get("site")
    assert before is not None
    assert after is not None
    assert after.seq > before.seq
    fourth = await built(ledger, await ledger.records.record(a_push("D", before="C")))
    assert await alias_of(ledger, "site") == fourth.id


async def test_an_older_deployment_that_ends_after_a_newer_one_does_not_take_its_place(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    asked = Request(project="site", ref="refs/heads/main", commit=commit("A"))
    older = await queued(ledger, await ledger.records.request(asked))
    newer = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    ended = await finished(ledger, older.id)
    assert (ended.status, ended.reason) == (
        Status.READY,
        "built, not live: a newer deployment is live",
    )
    assert await alias_of(ledger, "site") == newer.id
    assert await alias_of(ledger, branch_label("main", "site")) == newer.id
    assert await alias_of(ledger, deployment_label(older.id, "site")) == older.id


async def test_a_build_in_flight_over_an_unpin_still_goes_live(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    await built(ledger, await ledger.records.record(a_push("B", before="A")))
    flight = await queued(ledger, await ledger.records.record(a_push("C", before="B")))
    await ledger.aliases.rollback("site")
    await ledger.aliases.unpin("site")
    assert (await finished(ledger, flight.id)).reason == ""
    assert await alias_of(ledger, "site") == flight.id


async def test_promoting_pins_an_old_release_and_promoting_the_newest_unpins(
    ledger: Ledger,
) -> None:
    first = await built(ledger, await ledger.records.record(a_push("A")))
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert (await ledger.aliases.promote(first.id)).pinned
    assert not (await ledger.aliases.promote(second.id)).pinned
    failed = await built(
        ledger, await ledger.records.record(a_push("C", before="B")), status=Status.FAILED
    )
    with pytest.raises(Rejected, match="no release"):
        await ledger.aliases.promote(failed.id)
    with pytest.raises(Rejected, match="no such"):
        await ledger.aliases.promote("d0000000000000000")


async def test_a_redeploy_of_an_old_commit_moves_its_own_host_only(ledger: Ledger) -> None:
    old = await built(ledger, await ledger.records.record(a_push("A")))
    new = await built(ledger, await ledger.records.record(a_push("B", before="A")))

    async def redeploy(id_: str, name: str) -> str:
        answer = await ledger.records.request(
            Request(
                project="site",
                ref="refs/heads/main",
                commit=commit(name),
                trigger=Trigger.REDEPLOY,
                redeploy_of=id_,
            )
        )
        return (await built(ledger, answer)).id

    anew = await redeploy(old.id, "A")
    assert await alias_of(ledger, "site") == new.id
    assert await alias_of(ledger, deployment_label(anew, "site")) == anew
    newest = await redeploy(new.id, "B")
    assert await alias_of(ledger, "site") == newest
