"""What the collector takes and what it leaves, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core import keys, release
from bot.core.deployment import Stage, Status, branch_label, deployment_label
from bot.core.errors import Rejected
from bot.core.ledger import Ending
from tests.builders import a_push, a_removal, claimed
from tests.collecting import Press, a_press, page
from tests.conftest import S3
from tests.ledgers import redis_of


@pytest.fixture
async def press(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Press]:
    async with a_press(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_what_is_beyond_the_retention_goes_and_every_site_that_is_kept_is_served(
    press: Press,
) -> None:
    main = await press.pushed(*(f"main {n}" for n in range(8)))
    topic = await press.pushed(*(f"topic {n}" for n in range(4)), branch="topic")
    kept = {each.release for each in (*main[-3:], *topic[-2:])}
    tally = await press.collect(production=3, branch=2)
    assert await press.names("releases") == kept
    assert {kind: share.count for kind, share in tally.deleted.items()} == {
        "releases": 7,
        "packs": 6,
        "sources": 12,
        "logs": 7,
    }
    # What the first of all brought is still named by the last.
    named = {name for each in (*main[-3:], *topic[-2:]) for name in await press.packs_of(each)}
    assert await press.names("packs") == named
    assert release.pack_name("7", main[0].id, main[0].claims[-1]) in named
    assert await press.condemned() == set()

    await press.shows("site", "main 7")
    await press.shows(branch_label("topic", "site"), "topic 3")
    for number, each in [*enumerate(main)][-3:]:
        await press.shows(deployment_label(each.id, "site"), f"main {number}")
    for each in (*main[:-3], *topic[:-2]):
        answer = await press.hosting.get(deployment_label(each.id, "site"))
        assert answer.status_code == 410
        assert (await press.record(each.id)).condemned_at > 0


async def test_a_site_that_no_cache_knows_is_served_whole_too(
    press: Press, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    await press.pushed("one", "two", "three")
    await press.collect()
    async with a_press(valkey, seaweedfs, prefix, tmp_path / "other") as other:
        await other.shows("site", "three")


async def test_it_is_condemned_first_and_deleted_only_when_its_time_has_come(press: Press) -> None:
    first, _ = await press.pushed("one", "two")
    collector = press.collector(delay_seconds=3600)
    for _ in range(2):
        tally = await collector.collect(dry_run=False)
        assert tally.deleted == {}
        assert first.release in await press.names("releases")
    assert tally.condemned == {}
    assert tally.waiting["releases"].count == 1
    assert first.release in await press.condemned()


async def test_a_dry_run_names_what_would_go_and_changes_nothing(press: Press) -> None:
    first, second = await press.pushed("one", "two")
    redis = redis_of(press.ledger)

    async def everything() -> tuple[set[str], set[str]]:
        keys = {key async for key in redis.scan_iter(f"{press.ledger.connection.prefix}*")}
        return keys, set(await press.bucket.list(""))

    before = await everything()
    tally = await press.collector().collect(dry_run=True)
    assert await everything() == before
    assert tally.dry_run
    assert tally.condemned["releases"].names == [first.release]
    assert tally.condemned["releases"].bytes == await press.bucket.size(first.release)
    assert tally.kept["releases"].count == 1
    assert tally.deleted == {}
    await press.shows(deployment_label(first.id, "site"), "one")

    await press.collector().collect(dry_run=False)
    before = await everything()
    tally = await press.collector().collect(dry_run=True)
    assert await everything() == before
    assert tally.deleted["releases"].names == [first.release]
    assert second.release in before[1]


async def test_what_a_pinned_production_shows_stays_until_it_is_let_go(press: Press) -> None:
    first, second, third = await press.pushed("one", "two", "three")
    await press.ledger.aliases.promote(first.id)
    await press.collect()
    assert await press.names("releases") == {first.release, third.release}
    await press.shows("site", "one")
    await press.ledger.aliases.unpin("site")
    await press.collect()
    assert await press.names("releases") == {third.release}
    await press.shows("site", "three")
    assert (await press.record(second.id)).condemned_at > 0


async def test_nobody_brings_back_what_is_condemned(press: Press) -> None:
    first, second, third = await press.pushed("one", "two", "three")
    await press.collector(production=2).collect(dry_run=False)
    for move in (
        press.ledger.aliases.promote(first.id),
        press.ledger.aliases.rollback("site", to=first.id),
    ):
        with pytest.raises(Rejected, match="no longer kept") as caught:
            await move
        assert (caught.value.code, caught.value.http_status) == ("release_gone", 409)
    assert (await press.ledger.aliases.rollback("site")).deployment == second.id
    with pytest.raises(Rejected, match="no earlier release"):
        await press.ledger.aliases.rollback("site")
    assert (await press.ledger.aliases.unpin("site")).deployment == third.id


async def test_of_a_deleted_branch_nothing_is_kept_but_what_production_shows(press: Press) -> None:
    await press.pushed("main")
    topic = await press.pushed("one", "two", branch="topic")
    await press.ledger.aliases.promote(topic[0].id)
    await press.ledger.records.remove(a_removal("topic", before="two", at=10_000_000))
    await press.collect(branch=5)
    assert topic[0].release in await press.names("releases")
    assert topic[1].release not in await press.names("releases")
    await press.shows("site", "one")
    label = branch_label("topic", "site")
    assert (await press.hosting.get(label)).status_code == 404
    redis, name = redis_of(press.ledger), f"alias:{label}"
    left = await redis.ttl(f"{press.ledger.connection.prefix}{{build-queue}}:{name}")
    assert 29 * 86_400 < left <= 30 * 86_400


async def test_what_a_fenced_claim_left_goes_and_what_a_running_one_wrote_stays(
    press: Press,
) -> None:
    fenced = await press.held(a_push("A"))
    _, first = await press.published(fenced, {"index.html": page("fenced")})
    await press.ledger.claims.give_back(fenced)
    running = await claimed(press.ledger, fenced.id, Stage.BUILD)
    built, second = await press.published(running, {"index.html": page("running")})
    assert await press.names("releases") == {first.release, second.release}
    await press.collect()
    # Nothing is deleted while a claim is at work that began before it was due.
    assert await press.names("releases") == {first.release, second.release}
    assert await press.condemned() == {first.release, *first.manifest.packs}
    await press.accepted(running, built, second)
    await press.collect()
    assert await press.names("releases") == {second.release}
    assert await press.names("packs") == set(second.manifest.packs)
    assert len(await press.names("logs")) == 2
    assert (await press.hosting.get("site")).text == page("running")


async def test_a_failed_one_leaves_nothing_but_its_record(press: Press) -> None:
    held = await press.held(a_push("A"))
    await press.published(held, {"index.html": page("failed")})
    await press.ledger.claims.finish(held, Ending(status=Status.FAILED))
    await press.collect(days=1)
    assert (await press.names("releases"), await press.names("packs")) == (set(), set())
    assert len(await press.names("logs")) == len(await press.names("sources")) == 1
    await press.collect()
    assert await press.bucket.list("") == []
    assert (await press.record(held.id)).status is Status.FAILED


async def test_a_pack_whose_deployment_is_forgotten_goes_with_the_last_that_names_it(
    press: Press,
) -> None:
    first, *_ = await press.pushed("one", "two")
    pack = release.pack_name("7", first.id, first.claims[-1])
    await press.collect()
    await redis_of(press.ledger).delete(
        f"{press.ledger.connection.prefix}{{build-queue}}:deployment:{first.id}"
    )
    tally = await press.collect()
    assert pack in await press.names("packs")
    assert (await press.ledger.view.deployments(project="site"))[0][0].commit
    await press.publish({"index.html": "nothing of before"}, a_push("three"))
    tally = await press.collect()
    assert pack not in await press.names("packs")
    assert tally.unknown == {}


async def test_a_round_that_comes_by_itself_condemns_once_a_day_and_deletes_when_it_is_time(
    press: Press,
) -> None:
    _, second = await press.pushed("one", "two")
    collector, redis = press.collector(), redis_of(press.ledger)
    collected = keys.named(press.ledger.connection.prefix, "collected")
    assert await collector.collect_when_due() is None
    await redis.hset(collected, "whole_at", 1)
    tally = await collector.collect_when_due()
    assert tally is not None
    assert (tally.condemned["releases"].count, tally.deleted) == (1, {})
    assert await collector.collect_when_due() is None

    third = (await press.pushed("three"))[0]
    await redis.hset(collected, "next_at", 1)
    tally = await collector.collect_when_due()
    assert tally is not None
    assert (tally.condemned, tally.deleted["releases"].count) == ({}, 1)
    assert await press.names("releases") == {second.release, third.release}
    assert (await press.record(second.id)).condemned_at == 0
    assert await press.condemned() == set()


async def test_a_bucket_of_many_pages_is_looked_at_whole(press: Press) -> None:
    held = await press.held(a_push("A"))
    await press.ledger.claims.finish(held, Ending(status=Status.FAILED))
    names = [release.log_name("7", held.id, f"{number:016x}") for number in range(1005)]
    for at in range(0, len(names), 67):
        puts = (press.bucket.put(name, b"", content_type="x/y") for name in names[at : at + 67])
        await asyncio.gather(*puts)
    tally = await press.collector().collect(dry_run=True)
    assert tally.condemned["logs"].count == 1005
    assert tally.condemned["logs"].names == names[:100]


async def test_every_key_has_a_ttl_or_stands_on_the_list_of_permanent_ones(press: Press) -> None:
    await press.pushed("one", "two")
    await press.pushed("topic", branch="topic")
    await press.ledger.records.remove(a_removal("topic", before="topic", at=10_000_000))
    await press.collector().collect(dry_run=False)
    redis, prefix = redis_of(press.ledger), press.ledger.connection.prefix
    async for name in redis.scan_iter(f"{prefix}*"):
        plain = name.removeprefix(keys.base(prefix)).removeprefix(prefix)
        kept = plain.startswith("deployment:") and not await redis.hget(name, "condemned_at")
        assert plain.startswith(keys.PERMANENT) or kept or await redis.ttl(name) > 0, name
