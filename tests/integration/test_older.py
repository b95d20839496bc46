"""A Redis that comes back older than it was: nothing goes live twice, nothing backwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from bot.core import keys
from bot.core.bucket import Bucket
from bot.core.deployment import Stage, Status, branch_label
from bot.core.errors import Errored
from bot.core.ledger import Ending, open_ledger
from tests.builders import a_push, a_removal, built, claimed, finished, queued
from tests.keeping import Kept, copied, kept, put_back, shown
from tests.ledgers import alias_of, redis_of, status_of


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[Any]:
    """A client that decodes nothing: for copies of keys."""
    client: Any = Redis.from_url(redis_url)
    yield client
    await client.aclose()


async def test_it_is_noticed_before_anything_is_recorded_or_shown(own: Kept, raw: Any) -> None:
    ledger = own.ledger
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    older = await copied(ledger, raw)
    second = await built(ledger, await ledger.records.record(a_push("B", before="A", at=2)))
    await own.saved()
    await put_back(ledger, older, raw)
    with pytest.raises(Errored) as raised:
        await ledger.records.record(a_push("C", before="B", at=3))
    assert raised.value.code == "ledger_replaced"
    await own.whole()
    assert await alias_of(ledger, "site") == second.id
    third = await ledger.records.record(a_push("C", before="B", at=3))
    assert third.outcome == "recorded"


async def test_a_site_is_never_shown_as_it_was_before(own: Kept, raw: Any) -> None:
    ledger = own.ledger
    await built(ledger, await ledger.records.record(a_push("A")))
    older = await copied(ledger, raw)
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    await own.saved()
    await put_back(ledger, older, raw)
    for _ in range(50):
        with suppress(Errored):
            assert await alias_of(ledger, "site") == second.id
    await own.whole()
    assert await alias_of(ledger, "site") == second.id


async def test_what_had_ended_is_not_done_again(own: Kept, raw: Any) -> None:
    ledger = own.ledger
    waiting = await queued(ledger, await ledger.records.record(a_push("A")))
    building = await queued(ledger, await ledger.records.record(a_push("B", branch="other")))
    building = await claimed(ledger, building.id, Stage.BUILD)
    older = await copied(ledger, raw)
    await finished(ledger, waiting.id)
    held = await ledger.claims.advance(building, Status.PUBLISHING)
    await ledger.claims.finish(held, Ending(status=Status.READY, release="releases/7/b.json"))
    before = await shown(ledger)
    await own.saved()
    await put_back(ledger, older, raw)
    await own.whole_after_refusal()
    after = await shown(ledger)
    assert after.aliases == before.aliases
    for id_ in (waiting.id, building.id):
        assert await status_of(ledger, id_) is Status.READY
        assert (await ledger.claims.claim(id_, Stage.BUILD)).deployment is None
    assert await ledger.claims.extend(building) == "lost"
    queue = await ledger.view.queue()
    assert (queue.waiting, queue.active, queue.fetch, queue.high, queue.normal) == (
        0, [], [], [], [],
    )  # fmt: skip
    for name in ("rung", "project-waiting:site", "ref-open:site:refs/heads/main"):
        assert not await redis_of(ledger).exists(keys.named(ledger.connection.prefix, name)), name


async def test_what_was_under_way_goes_on_where_it_is_known_still(own: Kept, raw: Any) -> None:
    ledger = own.ledger
    held = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, held.id, Stage.BUILD)
    older = await copied(ledger, raw)
    await ledger.records.record(a_push("B", branch="other"))
    await put_back(ledger, older, raw)
    with pytest.raises(Errored):
        await ledger.claims.extend(held)
    await own.whole()
    assert await ledger.claims.extend(held) == "go"
    held = await ledger.claims.advance(held, Status.PUBLISHING)


async def test_a_rollback_and_a_deletion_hold(own: Kept, raw: Any) -> None:
    ledger = own.ledger
    first = await built(ledger, await ledger.records.record(a_push("A", at=1)))
    await built(ledger, await ledger.records.record(a_push("B", before="A", at=2)))
    await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=3)))
    older = await copied(ledger, raw)
    await ledger.aliases.rollback("site")
    await ledger.records.remove(a_removal("topic", before="T", at=4))
    await own.saved()
    await put_back(ledger, older, raw)
    await own.whole_after_refusal()
    pushed = await built(ledger, await ledger.records.record(a_push("C", before="B", at=5)))
    assert pushed.reason == "built, not live: production is pinned"
    assert await alias_of(ledger, "site") == first.id
    assert await alias_of(ledger, branch_label("topic", "site")) == ""
    late = await ledger.records.record(a_push("T", branch="topic", at=3))
    assert late.outcome == "superseded"


async def test_whoever_records_in_it_before_any_keeper_looks_goes_on_above_what_was_saved(
    redis_url: str, prefix: str, bucket: Bucket, raw: Any
) -> None:
    async with kept(redis_url, prefix, bucket) as own:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("A", at=1)))
        older = await copied(ledger, raw)
        lost = await built(ledger, await ledger.records.record(a_push("B", before="A", at=2)))
        seen = await ledger.aliases.get("site")
        assert seen
        await own.saved()
    fresh = open_ledger(redis_url, prefix=f"{prefix}:", least_epoch=1)
    await put_back(fresh, older, raw)
    newer = await built(fresh, await fresh.records.record(a_push("C", before="B", at=3)))
    async with kept(redis_url, prefix, bucket) as own:
        await own.restored()
        await own.saved()
    alias = await fresh.aliases.get("site")
    assert alias
    assert alias.deployment == newer.id, "the newest push is live, not the newest saved"
    assert alias.seq > seen.seq
    assert await status_of(fresh, lost.id) is Status.READY
    await fresh.aclose()


async def test_a_process_that_starts_later_restores_what_an_older_redis_lacks(
    redis_url: str, prefix: str, bucket: Bucket, raw: Any
) -> None:
    async with kept(redis_url, prefix, bucket) as own:
        await built(own.ledger, await own.ledger.records.record(a_push("A")))
        older = await copied(own.ledger, raw)
        second = await built(own.ledger, await own.ledger.records.record(a_push("B", before="A")))
        await own.saved()
    bare = open_ledger(redis_url, prefix=f"{prefix}:")
    await put_back(bare, older, raw)
    await bare.aclose()
    async with kept(redis_url, prefix, bucket) as own:
        assert (await own.restored()).deployments == 1
        assert await alias_of(own.ledger, "site") == second.id
