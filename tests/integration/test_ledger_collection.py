"""What the ledger lets the collector do, on both servers."""

from __future__ import annotations

import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status, branch_label, deployment_label
from bot.core.errors import Errored, Rejected
from bot.core.ledger import Ending, Ledger, Trace
from tests.builders import a_push, a_removal, built, claimed, queued
from tests.ledgers import alias_of, redis_of

LEASE = "the-lease"


def key(ledger: Ledger, name: str) -> str:
    return keys.named(ledger.connection.prefix, name)


async def taken(ledger: Ledger) -> str:
    assert await ledger.collection.take(LEASE, when="now") == "all"
    return LEASE


async def trace_of(ledger: Ledger, id_: str) -> Trace:
    return (await ledger.collection.census("site")).traces[id_]


async def given_up(ledger: Ledger, id_: str, *, keep: int = 1) -> str:
    trace = await trace_of(ledger, id_)
    return await ledger.collection.condemn_release(LEASE, "site", trace, keep=keep)


async def test_a_release_is_given_up_only_when_no_alias_names_it_and_production_can_spare_it(
    ledger: Ledger,
) -> None:
    await taken(ledger)
    first = await built(ledger, await ledger.records.record(a_push("A")))
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    topic = await built(ledger, await ledger.records.record(a_push("T", branch="topic")))
    assert await given_up(ledger, second.id) == "named"
    assert await given_up(ledger, topic.id) == "named"
    assert await given_up(ledger, first.id, keep=2) == "kept"
    await ledger.aliases.rollback("site")
    assert await given_up(ledger, first.id) == "named"
    await ledger.aliases.unpin("site")
    assert await given_up(ledger, first.id) == "condemned"
    assert await given_up(ledger, first.id) == "gone"
    failed = await built(
        ledger, await ledger.records.record(a_push("C", before="B")), status=Status.FAILED
    )
    assert await given_up(ledger, failed.id) == "gone"


async def test_what_is_given_up_leaves_production_and_its_own_host_and_later_the_ledger(
    ledger: Ledger,
) -> None:
    await taken(ledger)
    first = await built(ledger, await ledger.records.record(a_push("A")))
    await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert await given_up(ledger, first.id) == "condemned"
    assert first.id not in (await ledger.collection.census("site")).history
    own = deployment_label(first.id, "site")
    alias = await ledger.aliases.get(own)
    assert alias is not None
    assert (alias.deployment, alias.release) == (first.id, "")
    record = await ledger.view.deployment(first.id)
    assert record is not None
    assert (record.status, record.condemned_at > 0) == (Status.READY, True)
    for name in (f"alias:{own}", f"deployment:{first.id}"):
        assert 0 < await redis_of(ledger).ttl(key(ledger, name)) <= 30 * 86_400


async def test_the_record_of_a_refs_newest_stays_and_goes_when_another_is_its_newest(
    ledger: Ledger,
) -> None:
    await taken(ledger)
    await built(ledger, await ledger.records.record(a_push("A")))
    tag = await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=50)))
    # As if a retention of nothing had met a branch whose alias is gone.
    await redis_of(ledger).delete(key(ledger, f"alias:{branch_label('topic', 'site')}"))
    assert await given_up(ledger, tag.id) == "condemned"
    name = key(ledger, f"deployment:{tag.id}")
    assert await redis_of(ledger).ttl(name) == -1
    assert await ledger.collection.trim(LEASE, "site", [tag.id]) == 0
    assert await redis_of(ledger).ttl(name) == -1
    await ledger.records.remove(a_removal("topic", before="T", at=10_000_000))
    assert await ledger.collection.trim(LEASE, "site", [tag.id]) == 0
    assert await redis_of(ledger).ttl(name) > 0


async def test_ids_without_a_record_are_taken_out_of_the_indexes(ledger: Ledger) -> None:
    await taken(ledger)
    first = await built(ledger, await ledger.records.record(a_push("A")))
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    await redis_of(ledger).delete(key(ledger, f"deployment:{first.id}"))
    census = await ledger.collection.census("site")
    assert census.missing == (first.id,)
    assert await ledger.collection.trim(LEASE, "site", [first.id, second.id]) == 1
    for index in ("deployments", "deployments:site", "history:site"):
        assert await redis_of(ledger).zrange(key(ledger, index), 0, -1) == [second.id]


async def test_a_census_reads_every_deployment_once_however_many_there_are(
    ledger: Ledger,
) -> None:
    ids = [
        (await ledger.records.record(a_push(f"c{n}", branch=f"b{n}"))).deployment
        for n in range(230)
    ]
    census = await ledger.collection.census("site")
    assert [*census.traces] == ids[::-1]
    assert {trace.status for trace in census.traces.values()} == {Status.RECEIVED}


async def test_one_process_collects_at_a_time_until_its_lease_has_passed(ledger: Ledger) -> None:
    take = ledger.collection.take
    assert await take("one", when="now") == "all"
    assert await take("two", when="now") == "busy"
    assert await take("two", when="on") == "lost"
    assert await take("one", when="on") == "all"
    await redis_of(ledger).delete(key(ledger, "collector"))
    # Somebody else may have collected meanwhile.
    assert await take("one", when="on") == "lost"
    assert await take("two", when="now") == "all"
    await ledger.collection.ended("one", whole_seconds=1, pause_seconds=1)
    assert await take("three", when="now") == "busy"
    await ledger.collection.ended("two", whole_seconds=None, pause_seconds=0)
    assert await take("three", when="now") == "all"


async def test_a_round_comes_by_itself_once_a_day_and_when_the_condemned_are_due(
    ledger: Ledger,
) -> None:
    take, redis, collected = ledger.collection.take, redis_of(ledger), key(ledger, "collected")
    assert await take("a", when="due") == "later"  # the ledger has only begun
    await redis.hset(collected, "whole_at", 1)
    assert await take("a", when="due") == "all"
    await ledger.collection.ended("a", whole_seconds=86_400, pause_seconds=3600)
    assert await take("b", when="due") == "later"
    await redis.hset(collected, "next_at", 1)
    assert await take("b", when="due") == "later"
    await redis.zadd(key(ledger, "condemned"), {"packs/7/x": 1})
    assert await take("b", when="due") == "due"
    assert await take("c", when="due") == "busy"
    # One that stopped in the middle comes again after the pause.
    await redis.hset(collected, "whole_at", 1)
    await ledger.collection.ended("b", whole_seconds=None, pause_seconds=3600)
    assert await take("c", when="due") == "later"
    await redis.hset(collected, "next_at", 1)
    assert await take("c", when="due") == "all"


async def test_condemned_keeps_its_first_time_and_is_due_in_its_order(ledger: Ledger) -> None:
    collection = ledger.collection
    await taken(ledger)
    await collection.condemn(LEASE, ["a", "b"], delay_ms=0)
    await collection.condemn(LEASE, ["b", "c"], delay_ms=3_600_000)
    found = await collection.condemned(["a", "b", "c", "d"])
    assert found.keys() == {"a", "b", "c"}
    assert found["a"] == found["b"] < found["c"]
    assert [*await collection.due(limit=10)] == ["a", "b"]
    assert [*await collection.due(limit=1)] == ["a"]
    await collection.acquit(LEASE, ["a", "c", "never"])
    assert (await collection.condemned(["a", "b", "c"])).keys() == {"b"}
    many = [f"packs/7/{n}" for n in range(1201)]
    await collection.condemn(LEASE, many, delay_ms=0)
    assert len(await collection.condemned(many)) == 1201


async def test_no_release_goes_live_that_names_what_is_condemned(ledger: Ledger) -> None:
    await taken(ledger)
    held = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, held.id, Stage.BUILD)
    held = await ledger.claims.advance(held, Status.PUBLISHING)
    await ledger.collection.condemn(LEASE, ["packs/7/old.pack"], delay_ms=3_600_000)
    release = f"releases/7/{held.id}-{held.claim}.json"
    named = Ending(
        status=Status.READY, release=release, packs=("packs/7/new.pack", "packs/7/old.pack")
    )
    with pytest.raises(Errored) as caught:
        await ledger.claims.finish(held, named)
    assert caught.value.code == "pack_condemned"
    assert await alias_of(ledger, "site") == "none"
    anew = Ending(status=Status.READY, release=release, packs=("packs/7/new.pack",))
    assert (await ledger.claims.finish(held, anew)).status is Status.READY
    assert await alias_of(ledger, "site") == held.id


async def test_nobody_can_bring_back_what_is_given_up(ledger: Ledger) -> None:
    await taken(ledger)
    first = await built(ledger, await ledger.records.record(a_push("A")))
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert await given_up(ledger, first.id) == "condemned"
    with pytest.raises(Rejected) as caught:
        await ledger.aliases.promote(first.id)
    assert caught.value.code == "release_gone"
    with pytest.raises(Rejected) as caught:
        await ledger.aliases.rollback("site", to=first.id)
    assert caught.value.code == "release_gone"
    assert await alias_of(ledger, "site") == second.id


async def test_who_has_lost_its_lease_condemns_nothing(ledger: Ledger) -> None:
    await taken(ledger)
    await redis_of(ledger).set(key(ledger, "collector"), "the-next-one")
    with pytest.raises(Errored) as caught:
        await ledger.collection.condemn(LEASE, ["packs/7/x.pack"], delay_ms=0)
    assert caught.value.code == "collector_lost"
    assert await ledger.collection.condemned(["packs/7/x.pack"]) == {}
