"""What the bucket is to hold of the ledger comes to it, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bot.core import keys, saved
from bot.core.bucket import Bucket
from bot.core.deployment import Status, branch_label, deployment_label
from bot.core.errors import Errored
from bot.core.ledger import Ledger, open_ledger
from bot.keeper.saving import save_due
from tests.builders import a_push, a_removal, built
from tests.conftest import S3
from tests.front import until
from tests.keeping import Kept, a_bucket, kept, unsaved
from tests.ledgers import redis_of
from tests.relay import relayed


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


async def fields_of(bucket: Bucket, what: str) -> dict[str, str]:
    """The newest of what was saved of a thing."""
    names = await bucket.list(saved.folder(what))
    newest = max(names, key=lambda name: (saved.of_name(name) or ("", 0))[1])
    return saved.decode(await bucket.get(newest)).fields


async def test_what_ends_and_what_moves_is_in_the_bucket_a_moment_later(own: Kept) -> None:
    ledger = own.ledger
    first = await built(ledger, await ledger.records.record(a_push("A")))
    failed = await built(
        ledger, await ledger.records.record(a_push("B", before="A")), status=Status.FAILED
    )
    waiting = await ledger.records.record(a_push("C", branch="topic"))
    await own.saved()
    assert (await fields_of(own.bucket, "project:site"))["default_branch"] == "main"
    production = await fields_of(own.bucket, "alias:site")
    assert (production["deployment"], production["release"]) == (first.id, first.release)
    branch = branch_label("main", "site")
    assert (await fields_of(own.bucket, f"alias:{branch}"))["deployment"] == first.id
    for record in (first, failed):
        fields = await fields_of(own.bucket, f"deployment:{record.id}")
        assert (fields["status"], fields["commit"]) == (record.status, record.commit)
    fields = await fields_of(own.bucket, f"deployment:{waiting.deployment}")
    assert fields["status"] == "received"
    names = await own.objects()
    # A deployment's own host follows from its record.
    assert not any(deployment_label(first.id, "site") in name for name in names)


async def test_an_end_is_saved_though_the_beginning_was(own: Kept) -> None:
    answer = await own.ledger.records.record(a_push("A"))
    await own.saved()
    assert (await fields_of(own.bucket, f"deployment:{answer.deployment}"))["status"] == "received"
    await built(own.ledger, answer)
    await own.saved()
    assert (await fields_of(own.bucket, f"deployment:{answer.deployment}"))["status"] == "ready"


async def test_each_move_is_an_object_of_its_own_by_its_seq(own: Kept) -> None:
    ledger = own.ledger
    seen = []
    for name in "ABC":
        await built(ledger, await ledger.records.record(a_push(name)))
        alias = await ledger.aliases.get("site")
        assert alias
        seen.append(alias.seq)
        await own.saved()
    move = await ledger.aliases.rollback("site")
    await own.saved()
    names = await own.bucket.list("aliases/site/")
    seqs = [int(name.rpartition("/")[2].removesuffix(".json")) for name in names]
    assert seqs[:3] == seen == sorted(seen)
    fields = await fields_of(own.bucket, "alias:site")
    assert (fields["deployment"], fields["pinned"]) == (move.deployment, "1")


async def test_a_deletion_and_a_rename_are_saved_too(own: Kept) -> None:
    ledger = own.ledger
    await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=1)))
    await ledger.records.remove(a_removal("topic", before="T", at=2))
    await ledger.records.record(a_push("A", repository="acme/renamed", at=3))
    await own.saved()
    tombstone = await fields_of(own.bucket, f"alias:{branch_label('topic', 'site')}")
    assert (tombstone["deployment"], tombstone["ref"]) == ("", "refs/heads/topic")
    assert (await fields_of(own.bucket, "project:site"))["repository"] == "acme/renamed"


async def test_a_push_alone_saves_nothing_of_its_project_anew(own: Kept) -> None:
    await own.ledger.records.record(a_push("A"))
    await own.saved()
    before = await own.bucket.list("projects/")
    await own.ledger.records.record(a_push("B", before="A"))
    assert "project:site" not in await unsaved(own.ledger)
    await own.saved()
    assert await own.bucket.list("projects/") == before


async def test_without_an_s3_everything_goes_on_and_is_saved_when_it_is_back(
    redis_url: str, seaweedfs: S3, prefix: str
) -> None:
    async with relayed(seaweedfs.endpoint_url) as (relay, through):
        bucket = a_bucket(seaweedfs, prefix, endpoint_url=through)
        async with kept(redis_url, prefix, bucket) as own:
            relay.cut()
            for name in "ABC":
                assert (
                    await built(own.ledger, await own.ledger.records.record(a_push(name)))
                ).status is Status.READY
            await asyncio.sleep(0)
            assert "alias:site" in await unsaved(own.ledger)
            relay.restore()
            await own.saved()
            assert len(await own.bucket.list("records/")) == 3
        await bucket.aclose()


class TestLeases:
    """Who saves at the same time as others, or dies in between."""

    @pytest.fixture
    async def ledger(self, redis_url: str, prefix: str) -> AsyncIterator[Ledger]:
        """Without a keeper."""
        found = open_ledger(redis_url, prefix=f"{prefix}:")
        yield found
        await found.aclose()

    async def test_what_changes_while_it_is_saved_stays_unsaved(
        self, ledger: Ledger, bucket: Bucket
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A")))
        due, _ = await ledger.saves.lease(seconds=30, limit=100)
        await built(ledger, await ledger.records.record(a_push("B", before="A")))
        await ledger.saves.note(saved=due)
        left = await unsaved(ledger)
        assert "alias:site" in left
        assert "project:site" not in left
        # Late as it is, the older one overwrites nothing.
        await save_due(ledger.saves, bucket)
        for thing in due:
            await bucket.put(thing.name, saved.encode(thing), content_type=saved.TYPE)
        alias = await ledger.aliases.get("site")
        assert alias
        assert (await fields_of(bucket, "alias:site"))["deployment"] == alias.deployment
        assert await unsaved(ledger) == set()

    async def test_nobody_else_gets_what_is_leased_and_anyone_when_the_lease_is_over(
        self, ledger: Ledger
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A")))
        due, _ = await ledger.saves.lease(seconds=0.2, limit=100)
        assert len(due) == 4
        nothing, wait = await ledger.saves.lease(seconds=30, limit=100)
        assert nothing == []
        assert 0 < wait <= 0.2

        async def again() -> bool:
            found, _ = await ledger.saves.lease(seconds=30, limit=100)
            return {each.what for each in found} == {each.what for each in due}

        await until(again)

    async def test_what_the_bucket_did_not_take_is_due_again(
        self, ledger: Ledger, seaweedfs: S3, prefix: str
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A")))
        nowhere = a_bucket(seaweedfs, prefix, endpoint_url="http://127.0.0.1:1")
        before = await unsaved(ledger)
        with pytest.raises(Errored, match="S3 cannot be reached"):
            await save_due(ledger.saves, nowhere)
        assert await unsaved(ledger) == before
        await nowhere.aclose()
        _, wait = await ledger.saves.lease(seconds=30, limit=100)
        assert 0 < wait <= 1

    async def test_a_thing_that_is_gone_is_forgotten(self, ledger: Ledger) -> None:
        gone = await built(
            ledger, await ledger.records.record(a_push("A")), status=Status.CANCELLED
        )
        await redis_of(ledger).delete(keys.deployment(ledger.connection.prefix, gone.id))
        due, _ = await ledger.saves.lease(seconds=30, limit=100)
        assert gone.id not in str(due)
        assert f"deployment:{gone.id}" not in await unsaved(ledger)

    async def test_several_savers_leave_nothing_unsaved(
        self, ledger: Ledger, bucket: Bucket
    ) -> None:
        ready = [
            await built(ledger, await ledger.records.record(a_push("A", branch=f"b{n}")))
            for n in range(30)
        ]

        async def save() -> None:
            while await save_due(ledger.saves, bucket) == 0:
                pass

        await asyncio.gather(*(save() for _ in range(3)))
        assert await unsaved(ledger) == set()
        names = await bucket.list("records/")
        assert {name.split("/")[1] for name in names} == {record.id for record in ready}
