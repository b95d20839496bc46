"""A Redis that lost everything gets it back from the bucket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import asdict

from bot.core import keys, saved
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Stage, Status, branch_label, deployment_label
from bot.core.errors import Errored, Rejected
from bot.core.ledger import Ledger, Request, open_ledger
from bot.core.saved import Saved
from tests.builders import a_push, a_removal, built, claimed, commit, finished, queued
from tests.conftest import S3
from tests.front import until
from tests.keeping import Kept, a_bucket, flush, kept, shown, unsaved
from tests.ledgers import alias_of, redis_of
from tests.relay import relayed

DAY = 86_400_000


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


async def refused(ledger: Ledger) -> None:
    """Fails unless nothing can be recorded or read."""
    for asked in (
        ledger.records.record(a_push("Z")),
        ledger.records.request(Request(project="site")),
        ledger.aliases.get("site"),
        ledger.view.projects(),
    ):
        with pytest.raises(Errored) as raised:
            await asked
        assert raised.value.code == "ledger_replaced"


async def lost_and_restored(own: Kept) -> None:
    """Flushes the ledger when all is saved, and waits until it is back."""
    await own.saved()
    await flush(own.ledger)
    with pytest.raises(Errored):
        await own.ledger.records.record(a_push("unheard"))
    await own.whole()


class TestFlushed:
    """Redis is emptied under running processes."""

    async def test_the_catch_up_knows_what_was_told_of_each_branch(self, own: Kept) -> None:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("A")))
        await built(ledger, await ledger.records.record(a_push("T", branch="gone", at=1)))
        await ledger.records.remove(a_removal("gone", before="T", at=2))
        await ledger.rounds.look("site", noted={"refs/heads/older": commit("O")})

        async def told() -> dict[str, tuple[str, int]]:
            known = (await ledger.rounds.heads("site")).known
            return {ref: (head.commit, head.seq) for ref, head in known.items()}

        before = await told()
        await lost_and_restored(own)
        assert await told() == before
        # A branch that was there before us is not taken for a push that was missed, and one that
        # comes now is.
        assert before["refs/heads/older"] == (commit("O"), 0)
        project = await ledger.view.project("site")
        assert project
        assert project.looked_at > 0

    async def test_where_no_look_was_saved_the_next_one_is_the_first(self, own: Kept) -> None:
        await built(own.ledger, await own.ledger.records.record(a_push("A")))
        await lost_and_restored(own)
        project = await own.ledger.view.project("site")
        assert project
        assert project.looked_at == 0

    async def test_everything_that_was_live_or_had_ended_is_back(self, own: Kept) -> None:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("A")))
        await built(ledger, await ledger.records.record(a_push("B", before="A")))
        for status in (Status.FAILED, Status.ERRORED, Status.CANCELLED):
            push = a_push(status, branch=status)
            await built(ledger, await ledger.records.record(push), status=status, reason="so")
        await built(ledger, await ledger.records.record(a_push("T", branch="gone", at=1)))
        await ledger.records.remove(a_removal("gone", before="T", at=2))
        other = a_push("O", repository="acme/other", repository_id=9, default_branch="trunk")
        await built(ledger, await ledger.records.record(other))
        await ledger.aliases.rollback("site")
        before = await shown(ledger)
        await lost_and_restored(own)
        after = await shown(ledger)
        assert after.projects == before.projects
        assert after.aliases == before.aliases
        known = {each.id: each for each in after.deployments}
        for record in before.deployments:
            # What it is to be told of changes its version.
            assert known[record.id].version >= record.version
            assert {**_fields(known[record.id]), "version": 0} == {**_fields(record), "version": 0}
        assert len(known) == len(before.deployments)
        assert (await ledger.view.queue()).dead == 1
        assert await unsaved(ledger) == set()

    async def test_moves_go_on_as_if_nothing_had_been(self, own: Kept) -> None:
        ledger = own.ledger
        first = await built(ledger, await ledger.records.record(a_push("A", at=1)))
        second = await built(ledger, await ledger.records.record(a_push("B", before="A", at=2)))
        seen = await ledger.aliases.get("site")
        assert seen
        await lost_and_restored(own)
        move = await ledger.aliases.rollback("site")
        assert (move.deployment, move.previous) == (first.id, second.id)
        assert (await ledger.aliases.unpin("site")).deployment == second.id
        again = await ledger.records.record(a_push("B", before="A", at=2))
        assert (again.outcome, again.deployment) == ("repeated", second.id)
        late = await ledger.records.record(a_push("Y", before="X", at=1))
        assert late.outcome == "superseded"
        third = await built(ledger, await ledger.records.record(a_push("C", before="B", at=3)))
        alias = await ledger.aliases.get("site")
        assert alias
        assert alias.deployment == third.id
        assert alias.seq > seen.seq

    async def test_numbers_go_on_above_those_that_were_never_saved(self, own: Kept) -> None:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("A")))
        await own.saved()
        pending = await ledger.records.record(a_push("B", before="A"))
        record = await ledger.view.deployment(pending.deployment)
        assert record
        await flush(ledger)
        await own.whole_after_refusal()
        anew = await ledger.records.record(a_push("B", before="A"))
        assert anew.outcome == "recorded", "it had not ended, so it is not restored"
        found = await ledger.view.deployment(anew.deployment)
        assert found
        assert found.seq > record.seq

    async def test_nothing_is_recorded_or_read_before_it_is_back(
        self, redis_url: str, seaweedfs: S3, prefix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with relayed(seaweedfs.endpoint_url) as (relay, through):
            bucket = a_bucket(seaweedfs, prefix, endpoint_url=through)
            async with kept(redis_url, prefix, bucket) as own:
                live = await built(own.ledger, await own.ledger.records.record(a_push("A")))
                await own.saved()
                relay.cut()
                await flush(own.ledger)
                with pytest.raises(Errored):
                    await own.ledger.claims.sweep()

                async def waits() -> bool:
                    return "S3 cannot be reached" in own.keeper.state

                await until(waits)
                await refused(own.ledger)
                assert own.keeper.state.startswith("restoring: ")
                relay.restore()
                await own.whole()
                assert await alias_of(own.ledger, "site") == live.id
            await bucket.aclose()
        said = [record.getMessage() for record in caplog.records]
        assert "the ledger in Redis is empty, or older than it was: looking in the bucket" in said
        assert "restored from the bucket" in said

    async def test_a_claim_is_lost_with_its_ledger(self, own: Kept) -> None:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("A")))
        held = await queued(ledger, await ledger.records.record(a_push("B", before="A")))
        held = await claimed(ledger, held.id, Stage.BUILD)
        await lost_and_restored(own)
        assert await ledger.claims.extend(held) == "lost"
        assert not await ledger.logs.append(held, ["a line"])

    async def test_a_branch_that_was_deleted_is_made_again_at_the_same_commit(
        self, own: Kept
    ) -> None:
        ledger = own.ledger
        await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=1)))
        await ledger.records.remove(a_removal("topic", before="T", at=2))
        await lost_and_restored(own)
        assert await alias_of(ledger, branch_label("topic", "site")) == ""
        anew = await ledger.records.record(a_push("T", branch="topic", at=3))
        assert anew.outcome == "recorded"
        ready = await built(ledger, anew)
        assert await alias_of(ledger, branch_label("topic", "site")) == ready.id

    async def test_what_a_person_deployed_is_its_branchs_newest_again(self, own: Kept) -> None:
        ledger = own.ledger
        answer = await ledger.records.request(Request(repository="acme/site"))
        held = await claimed(ledger, answer.deployment, Stage.FETCH)
        moved = await ledger.claims.advance(
            held, Status.QUEUED, commit=commit("A"), ref="refs/heads/main", default_branch="main"
        )
        ready = await finished(ledger, moved.id)
        await lost_and_restored(own)
        assert [each.slug for each in await ledger.view.projects()] == ["site"]
        same = await ledger.records.record(a_push("A"))
        assert (same.outcome, same.deployment) == ("repeated", ready.id)
        assert await alias_of(ledger, deployment_label(ready.id, "site")) == ready.id

    async def test_github_is_told_again_of_what_ended_a_moment_ago(self, own: Kept) -> None:
        ledger = own.ledger
        ready = await built(ledger, await ledger.records.record(a_push("A")))
        await lost_and_restored(own)
        report, _ = await ledger.reports.lease(seconds=30)
        assert report
        assert (report.deployment.id, report.deployment.status) == (ready.id, Status.READY)
        assert report.told_of == ready.id, "its beginning was told already"

    async def test_every_key_has_a_ttl_as_it_had(self, own: Kept) -> None:
        ledger = own.ledger
        for name in "AB":
            push = a_push(name, before="A")
            await built(ledger, await ledger.records.record(push), status=Status.FAILED)
        await own.saved()
        redis, prefix = redis_of(ledger), ledger.connection.prefix
        base = keys.base(prefix)
        names = [name async for name in redis.scan_iter(f"{base}deployment:*")]
        before = {name: await redis.ttl(name) for name in names}
        await lost_and_restored(own)
        after = {name: await redis.ttl(name) for name in names}
        assert min(before.values()) == -1, "the newest of its branch is kept for ever"
        for name, ttl in before.items():
            assert abs(after[name] - ttl) < 60


class TestStarting:
    """A bot that starts, and finds this or that."""

    async def test_a_new_installation_is_open_at_once(self, own: Kept) -> None:
        assert (await own.ledger.records.record(a_push("A"))).outcome == "recorded"
        state = await own.keeper.progress()
        assert state.epoch
        assert state.last is None

    async def test_an_empty_redis_and_a_full_bucket_are_brought_together(
        self, redis_url: str, prefix: str, bucket: Bucket
    ) -> None:
        async with kept(redis_url, prefix, bucket) as own:
            ready = await built(own.ledger, await own.ledger.records.record(a_push("A")))
            await own.saved()
        bare = open_ledger(redis_url, prefix=f"{prefix}:")
        await flush(bare)
        await bare.aclose()
        async with kept(redis_url, prefix, bucket) as own:
            assert await alias_of(own.ledger, "site") == ready.id
            state = await own.keeper.progress()
            assert state.last
            assert (state.last.projects, state.last.aliases, state.last.deployments) == (1, 2, 1)
            assert (await own.keeper.restore(force=False)).last == state.last

    async def test_without_an_epoch_every_verb_is_refused(
        self, redis_url: str, prefix: str
    ) -> None:
        ledger = open_ledger(redis_url, prefix=f"{prefix}:", least_epoch=1)
        with pytest.raises(Errored, match="restored from the bucket first"):
            await ledger.records.record(a_push("A"))
        await refused(ledger)
        await ledger.aclose()

    async def test_two_bots_that_begin_at_once_restore_the_same_once(
        self, redis_url: str, prefix: str, bucket: Bucket
    ) -> None:
        async with kept(redis_url, prefix, bucket) as first, kept(redis_url, prefix, bucket) as two:
            ids = [
                (await built(first.ledger, await first.ledger.records.record(push))).id
                for push in (a_push(f"{n}", branch=f"b{n}") for n in range(60))
            ]
            await first.saved()
            before = await shown(first.ledger)
            await flush(first.ledger)
            for each in (first, two):
                with pytest.raises(Errored):
                    await each.ledger.claims.sweep()
            await asyncio.gather(first.whole(), two.whole())
            assert (await shown(two.ledger)).aliases == before.aliases
            found, _ = await two.ledger.view.deployments(limit=100)
            assert {record.id for record in found} == set(ids)
            state = await two.keeper.progress()
            assert state.last
            assert state.last.deployments == 60

    async def test_what_was_saved_by_a_newer_version_is_refused_in_one_line(
        self, redis_url: str, prefix: str, bucket: Bucket, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = saved.encode(Saved(schema=2, what="alias:site", version=5, fields={}))
        await bucket.put("aliases/site/5.json", body, content_type=saved.TYPE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2), kept(redis_url, prefix, bucket):
                pass
        warned = [each for each in caplog.records if each.levelno == logging.WARNING]
        assert any("schema 2" in str(each.__dict__.get("error")) for each in warned)
        assert not any("\n" in each.getMessage() for each in warned)

    async def test_a_broken_object_keeps_nothing_else_from_coming_back(
        self, redis_url: str, prefix: str, bucket: Bucket
    ) -> None:
        async with kept(redis_url, prefix, bucket) as own:
            ready = await built(own.ledger, await own.ledger.records.record(a_push("A")))
            await own.saved()
            await bucket.put("aliases/site/9999999999999.json", b"{", content_type=saved.TYPE)
            await bucket.put("aliases/strange.txt", b"", content_type=saved.TYPE)
            await flush(own.ledger)
            await own.whole_after_refusal()
            branch = branch_label("main", "site")
            assert await alias_of(own.ledger, branch) == ready.id

    async def test_what_is_kept_no_longer_does_not_come_back(
        self, redis_url: str, prefix: str, bucket: Bucket
    ) -> None:
        async with kept(redis_url, prefix, bucket) as own:
            ledger = own.ledger
            old, newest = [
                await built(ledger, await ledger.records.record(push), status=Status.FAILED)
                for push in (a_push("A", at=10), a_push("B", before="A", at=11))
            ]
            await own.saved()
            for record in (old, newest):
                (name,) = await bucket.list(f"records/{record.id}/")
                thing = saved.decode(await bucket.get(name))
                thing.fields["ended_at"] = str(record.ended_at - 31 * DAY)
                await bucket.put(name, saved.encode(thing), content_type=saved.TYPE)
            await flush(ledger)
            await own.whole_after_refusal()
            found, _ = await ledger.view.deployments(limit=10)
            assert [record.id for record in found] == [newest.id]
            # It is the newest of its branch, so a late push is known as such.
            late = await ledger.records.record(a_push("Y", at=9))
            assert late.outcome == "superseded"


class TestAsked:
    """A person asks for it."""

    async def test_a_ledger_that_is_in_use_is_left_alone_unless_told_otherwise(
        self, own: Kept
    ) -> None:
        ledger = own.ledger
        record = await built(ledger, await ledger.records.record(a_push("A")))
        await own.saved()
        found = await own.keeper.restore(force=False)
        assert (found.going_on, found.last) == (None, None), "nothing is lacking"
        prefix = ledger.connection.prefix
        await redis_of(ledger).delete(keys.deployment(prefix, record.id))
        with pytest.raises(Rejected, match=r"lacks 1 of the things .* --force") as raised:
            await own.keeper.restore(force=False)
        assert (raised.value.code, raised.value.http_status) == ("ledger_not_empty", 409)

    async def test_told_otherwise_it_brings_what_is_missing_and_nothing_that_is_older(
        self, own: Kept
    ) -> None:
        ledger = own.ledger
        first = await built(ledger, await ledger.records.record(a_push("A")))
        other = await built(ledger, await ledger.records.record(a_push("O", branch="other")))
        await own.saved()
        # The bucket is behind from here on.
        second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
        flight = await queued(ledger, await ledger.records.record(a_push("C", before="B")))
        label, prefix = branch_label("other", "site"), ledger.connection.prefix
        await redis_of(ledger).delete(keys.alias(prefix, label), keys.deployment(prefix, other.id))
        assert (await own.keeper.restore(force=True)).going_on
        found = await own.restored()
        assert (found.projects, found.aliases, found.deployments) == (0, 1, 1)
        assert await alias_of(ledger, label) == other.id
        assert await alias_of(ledger, "site") == second.id
        assert (await finished(ledger, flight.id)).status is Status.READY
        assert await alias_of(ledger, "site") == flight.id
        move = await ledger.aliases.rollback("site", to=first.id)
        assert move.deployment == first.id


async def test_a_first_start_alarms_nobody(
    redis_url: str, prefix: str, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    async with kept(redis_url, prefix, bucket) as own:
        await own.whole()
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_what_is_older_than_what_is_here_is_not_merged(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    older, _ = await ledger.saves.lease(seconds=30, limit=100)
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert await ledger.restores.merge(older) == {"known": len(older)}
    assert await alias_of(ledger, "site") == second.id


def _fields(record: Deployment) -> dict[str, object]:
    return asdict(record)
