"""The collector when something fails, is lost, or is done by somebody else at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core import release
from bot.core.deployment import Stage, Status, deployment_label
from bot.core.errors import Errored, Rejected
from tests.builders import a_push, claimed
from tests.collecting import SHARED, FaultyBucket, Press, a_press, page
from tests.conftest import S3
from tests.keeping import flush
from tests.ledgers import redis_of


@pytest.fixture
async def press(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Press]:
    async with a_press(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


@pytest.fixture
async def faulty(seaweedfs: S3, prefix: str) -> AsyncIterator[FaultyBucket]:
    made = FaultyBucket(seaweedfs, prefix)
    yield made
    await made.aclose()


def key(press: Press, name: str) -> str:
    return f"{press.ledger.connection.prefix}{{build-queue}}:{name}"


async def test_deleting_that_fails_in_the_middle_goes_on_next_time(
    press: Press, faulty: FaultyBucket
) -> None:
    releases = await press.pushed(*"abcdef")
    collector = press.collector(bucket=faulty)
    await collector.collect(dry_run=False)
    deleted: list[str] = []

    def third(verb: str, name: str) -> bool:
        if verb == "delete":
            deleted.append(name)
        return len(deleted) == 3

    faulty.breaks = third
    tally = await collector.collect(dry_run=False)
    assert "a fault of the test" in tally.stopped
    assert not tally.complete
    assert len(await press.names("releases")) == 4
    # Manifests go first: no release is there whose packs are not.
    for name in await press.names("releases"):
        assert set(release.packs_of(await press.bucket.get(name))) <= await press.names("packs")
    faulty.breaks = lambda _verb, _name: False
    tally = await collector.collect(dry_run=False)
    assert tally.complete
    assert await press.names("releases") == {releases[-1].release}
    assert await press.condemned() == set()
    await press.shows("site", "f")


async def test_killed_between_a_deletion_and_its_note_another_process_goes_on(
    press: Press, faulty: FaultyBucket
) -> None:
    releases = await press.pushed(*"abcd")
    await press.collector().collect(dry_run=False)
    reached = asyncio.Event()

    async def hang(_verb: str, _name: str) -> None:
        reached.set()
        await asyncio.Event().wait()

    faulty.after = hang
    dying = asyncio.create_task(press.collector(bucket=faulty).collect(dry_run=False))
    await reached.wait()
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    assert len(await press.names("releases")) == 3
    assert len(await press.condemned() & {each.release for each in releases}) == 3

    with pytest.raises(Rejected) as caught:
        await press.collector().collect(dry_run=False)
    assert (caught.value.code, caught.value.http_status) == ("collecting", 409)
    await redis_of(press.ledger).delete(key(press, "collector"))  # its lease has passed
    tally = await press.collector().collect(dry_run=False)
    assert tally.deleted["releases"].count == 2
    assert await press.names("releases") == {releases[-1].release}
    assert await press.condemned() == set()


async def test_who_has_lost_the_right_to_collect_does_nothing_more(
    press: Press, faulty: FaultyBucket
) -> None:
    await press.pushed(*"abcd")
    await press.collector().collect(dry_run=False)

    async def steal(_verb: str, _name: str) -> None:
        await redis_of(press.ledger).set(key(press, "collector"), "another")

    faulty.after = steal
    tally = await press.collector(bucket=faulty).collect(dry_run=False)
    assert tally.stopped == "another process collects now"
    assert len(await press.names("releases")) == 3
    assert await redis_of(press.ledger).get(key(press, "collector")) == "another"


async def test_a_bucket_that_is_away_stops_the_round_and_decides_nothing(
    press: Press, faulty: FaultyBucket
) -> None:
    await press.pushed("a", "b")
    before = set(await press.bucket.list(""))
    faulty.breaks = lambda verb, _name: verb == "pages"
    tally = await press.collector(bucket=faulty).collect(dry_run=False)
    assert "a fault of the test" in tally.stopped
    assert await press.condemned() == set()
    assert set(await press.bucket.list("")) == before
    assert len(await press.names("releases")) == 2
    assert (await press.collect()).deleted["releases"].count == 1


@pytest.mark.parametrize("how", ["missing", "broken", "newer"])
async def test_where_one_release_cannot_be_read_no_pack_is_touched(press: Press, how: str) -> None:
    releases = await press.pushed(*"abcd")
    packs = await press.names("packs")
    name = releases[-1].release
    if how == "missing":
        await press.bucket.delete(name)
    else:
        body = b"{" if how == "broken" else b'{"schema":99,"of":"another shape"}'
        await press.bucket.put(name, body, content_type="application/octet-stream")
    tally = await press.collect()
    assert await press.names("packs") == packs
    assert tally.unknown["packs"].count == len(packs)


async def test_a_ledger_that_is_another_takes_nothing_of_what_it_does_not_know(
    press: Press, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    releases = await press.pushed(*"abcd")
    await flush(press.ledger)
    # A process that has never seen the ledger of before.
    async with a_press(valkey, seaweedfs, prefix, tmp_path / "later") as later:
        await later.collect()
        assert await later.names("releases") == {each.release for each in releases}
        # The next push makes the project anew, and compares with nothing of before.
        anew = await later.pushed("e", "f")
        packs = await later.names("packs")
        tally = await later.collect()
        assert await later.names("releases") == {each.release for each in (*releases, anew[-1])}
        assert await later.names("packs") == packs
        assert tally.unknown["releases"].count == 4
        await later.shows("site", "f")


async def test_what_was_condemned_by_mistake_is_acquitted_however_long_it_is_due(
    press: Press,
) -> None:
    only = (await press.pushed("a"))[0]
    names = {*await press.names("packs"), only.release}
    await redis_of(press.ledger).zadd(key(press, "condemned"), dict.fromkeys(names, 1))
    await press.collector().collect(dry_run=False)
    assert not await press.condemned() & names
    await press.shows("site", "a")


async def test_a_release_that_names_a_condemned_pack_is_published_anew(press: Press) -> None:
    first = (await press.pushed("a"))[0]
    held = await press.held(a_push("b"))
    files: dict[str, str | bytes] = {"index.html": page("b"), "shared.css": SHARED}
    built, published = await press.published(held, files)
    packs = await press.packs_of(first)
    assert packs < set(published.manifest.packs)
    await redis_of(press.ledger).zadd(key(press, "condemned"), dict.fromkeys(packs, 1))
    ended = await press.accepted(held, built, published)
    assert ended.status is Status.READY
    assert await press.packs_of(ended) == {release.pack_name("7", held.id, held.claim)}
    await press.shows("site", "b")
    # And who compares with it afterwards compares with what is not condemned.
    third = (await press.pushed("c"))[0]
    assert not await press.packs_of(third) & packs


async def test_given_up_again_and_again_it_is_tried_later(press: Press) -> None:
    await press.pushed("a")
    held = await press.held(a_push("b"))
    built, published = await press.published(held, {"index.html": page("b")})
    own = release.pack_name("7", held.id, held.claim)
    await redis_of(press.ledger).zadd(key(press, "condemned"), {own: 1})
    with pytest.raises(Errored, match="given up again and again") as caught:
        await press.accepted(held, built, published)
    assert caught.value.retryable
    assert (await press.record(held.id)).status is Status.PUBLISHING
    await press.shows("site", "a")


async def test_an_abandoned_upload_is_ended_and_one_that_goes_on_is_not(press: Press) -> None:
    client, bucket = press.bucket._client, press.bucket

    def begin(name: str) -> None:
        client.create_multipart_upload(Bucket=bucket.name, Key=bucket.prefix + name)

    async def left() -> set[str]:
        kinds = ("packs/", "sources/", "other/")
        return {u.name for kind in kinds async for page_ in bucket.uploads(kind) for u in page_}

    for name in ("packs/7/x.pack", "sources/7/y.tar.zst", "other/z"):
        begin(name)
    assert (await press.collector(delay_seconds=3600).collect(dry_run=False)).uploads == 0
    assert len(await left()) == 3
    held = await press.held(a_push("a"))
    await asyncio.sleep(1.1)  # the bucket tells whole seconds
    begin("packs/7/running.pack")
    tally = await press.collector().collect(dry_run=True)
    assert tally.uploads == 2
    assert (await press.collector().collect(dry_run=False)).uploads == 2
    assert await left() == {"packs/7/running.pack", "other/z"}
    await press.ledger.claims.give_back(held)
    await asyncio.sleep(1.1)
    assert (await press.collector().collect(dry_run=False)).uploads == 1


async def test_a_source_that_a_new_deployment_needs_is_not_deleted_under_it(press: Press) -> None:
    first = (await press.pushed("a"))[0]
    await press.collector().collect(dry_run=False)
    assert first.source in await press.condemned()
    # It was found there before, by a claim that advances only now.
    answer = await press.ledger.records.record(a_push("b"))
    fetching = await claimed(press.ledger, answer.deployment, Stage.FETCH)
    await press.ledger.claims.advance(fetching, Status.QUEUED, source=first.source)
    await press.collector().collect(dry_run=False)
    assert await press.bucket.size(first.source) is not None
    assert first.source not in await press.condemned()


async def test_the_own_host_of_a_release_is_gone_from_the_moment_it_is_condemned(
    press: Press,
) -> None:
    first = (await press.pushed("a", "b"))[0]
    label = deployment_label(first.id, "site")
    assert (await press.hosting.get(label)).status_code == 200
    await press.collector(delay_seconds=3600).collect(dry_run=False)
    assert (await press.hosting.get(label)).status_code == 410
    assert first.release in await press.names("releases")
