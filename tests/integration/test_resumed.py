"""What had not ended when the ledger was lost goes on when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Stage, Status, Trigger, branch_label
from bot.core.errors import Errored, Stopped
from bot.core.ledger import Ending, Request
from tests.builders import a_push, a_removal, built, claimed, finished, queued
from tests.keeping import Kept, flush, kept
from tests.ledgers import alias_of


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


async def lost_and_restored(own: Kept) -> None:
    """Flushes the ledger when all is saved, and waits until it is back."""
    await own.saved()
    await flush(own.ledger)
    with pytest.raises(Errored):
        await own.ledger.claims.sweep()
    await own.whole()


async def record(own: Kept, id_: str) -> Deployment:
    found = await own.ledger.view.deployment(id_)
    assert found
    return found


async def brought(own: Kept, id_: str) -> Deployment:
    """Fetched, built and ended as if it were new."""
    held = await claimed(own.ledger, id_, Stage.FETCH)
    await own.ledger.claims.advance(held, Status.QUEUED, source="sources/7/x.tar.zst")
    return await finished(own.ledger, id_)


@pytest.mark.parametrize("status", ["received", "fetching", "queued", "building", "publishing"])
async def test_a_push_that_was_acknowledged_begins_anew_whatever_its_state(
    own: Kept, status: str
) -> None:
    """The first of its repository, and of its branch: nothing else knows of it."""
    ledger = own.ledger
    answer = await ledger.records.record(a_push("A"))
    held = None
    if status != "received":
        held = await claimed(ledger, answer.deployment, Stage.FETCH)
    if status in ("queued", "building", "publishing"):
        assert held
        await ledger.claims.advance(held, Status.QUEUED, source="sources/7/x.tar.zst")
    if status in ("building", "publishing"):
        held = await claimed(ledger, answer.deployment, Stage.BUILD)
    if status == "publishing":
        assert held
        held = await ledger.claims.advance(held, Status.PUBLISHING)
    assert (await record(own, answer.deployment)).status == status
    await lost_and_restored(own)

    back = await record(own, answer.deployment)
    assert (back.status, back.fetch_attempts, back.build_attempts) == (Status.RECEIVED, 0, 0)
    assert (back.claim, back.source) == ("", "")
    assert (await ledger.view.queue()).fetch == [back.id]
    if held:
        with pytest.raises(Stopped, match="lost"):
            await ledger.claims.finish(held, Ending(status=Status.READY, release="r"))
    assert (await brought(own, back.id)).status is Status.READY
    assert await alias_of(ledger, "site") == back.id


async def test_what_a_person_asked_for_goes_on_too(own: Kept) -> None:
    asked = await own.ledger.records.request(Request(repository="acme/site"))
    await lost_and_restored(own)
    back = await record(own, asked.deployment)
    assert (back.status, back.trigger, back.ref) == (Status.RECEIVED, Trigger.MANUAL, "HEAD")
    assert (await own.ledger.view.queue()).fetch == [back.id]


async def test_one_that_was_asked_to_stop_does_not_go_on(own: Kept) -> None:
    held = await queued(own.ledger, await own.ledger.records.record(a_push("A")))
    await claimed(own.ledger, held.id, Stage.BUILD)
    assert await own.ledger.records.cancel(held.id, reason="on request") == "stopping"
    await lost_and_restored(own)
    back = await record(own, held.id)
    assert (back.status, back.reason) == (Status.CANCELLED, "on request")
    assert (await own.ledger.view.queue()).waiting == 0


async def test_one_that_a_newer_push_had_overtaken_does_not_go_on(own: Kept) -> None:
    older = await queued(own.ledger, await own.ledger.records.record(a_push("A")))
    await claimed(own.ledger, older.id, Stage.BUILD)
    newer = await own.ledger.records.record(a_push("B", before="A"))
    await queued(own.ledger, newer)
    await own.ledger.records.cancel(newer.deployment)
    await lost_and_restored(own)
    assert (await record(own, older.id)).status is Status.SUPERSEDED


async def test_one_whose_branch_was_deleted_does_not_go_on(own: Kept) -> None:
    asked = await own.ledger.records.record(a_push("T", branch="topic", at=1))
    held = await queued(own.ledger, asked)
    await claimed(own.ledger, held.id, Stage.BUILD)
    await own.saved()
    await own.ledger.records.remove(a_removal("topic", before="T", at=2))
    await lost_and_restored(own)
    assert (await record(own, held.id)).status is Status.CANCELLED
    assert await alias_of(own.ledger, branch_label("topic", "site")) == ""


async def test_a_newer_push_that_had_not_ended_goes_live_over_an_older_that_had(own: Kept) -> None:
    first = await built(own.ledger, await own.ledger.records.record(a_push("A")))
    answer = await own.ledger.records.record(a_push("B", before="A"))
    await lost_and_restored(own)
    assert await alias_of(own.ledger, "site") == first.id
    again = await own.ledger.records.record(a_push("B", before="A"))
    assert (again.outcome, again.deployment) == ("repeated", answer.deployment)
    await brought(own, answer.deployment)
    assert await alias_of(own.ledger, "site") == answer.deployment


async def test_restoring_again_changes_nothing(own: Kept) -> None:
    answer = await own.ledger.records.record(a_push("A"))
    await lost_and_restored(own)
    held = await claimed(own.ledger, answer.deployment, Stage.FETCH)
    assert (await own.keeper.restore(force=True)).going_on
    await own.restored()
    assert (await record(own, answer.deployment)).claim == held.claim
