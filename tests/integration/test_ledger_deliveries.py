"""What the ledger keeps of each delivery, for how long, and how little of those it refused."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bot.core import keys
from bot.core.deployment import Ignored
from bot.core.ledger import Ledger, Payload, Refusal, open_ledger
from bot.embedded import start_valkey
from tests.builders import ZERO, a_push, a_removal, commit
from tests.front import until
from tests.ledgers import redis_of

MONTH = 30 * 86_400
PACKED = Payload(size=5000, form=True, packed=b"\x00\xffpacked\r\n")


def named(ledger: Ledger, name: str) -> str:
    return keys.named(ledger.connection.prefix, name)


def ignored(guid: str, *, reason: str = "only pushes are deployed", **more: Any) -> Ignored:
    return Ignored(guid=guid, event="star", repository="acme/site", reason=reason, **more)


async def noted(ledger: Ledger, guid: str, *, packed: bytes = b"packed") -> None:
    await ledger.records.note(ignored(guid), Payload(size=len(packed), packed=packed))


class TestNoted:
    """One delivery: all of it in one call, for thirty days."""

    async def test_a_push_is_kept_with_what_it_brought_and_led_to(self, ledger: Ledger) -> None:
        push = a_push("B", before="A", guid="g-1")
        answer = await ledger.records.record(push, PACKED)
        found = await ledger.view.delivery("g-1")
        assert found is not None
        assert (found.event, found.repository, found.project) == ("push", "acme/site", "site")
        assert (found.ref, found.before, found.after) == (
            "refs/heads/main", commit("A"), commit("B"),
        )  # fmt: skip
        assert (found.outcome, found.rule) == ("recorded", "a new push of a branch")
        assert (found.deployment, found.answer) == (answer.deployment, 202)
        assert (found.size, found.form) == (5000, True)
        assert abs(found.at / 1000 - time.time()) < 60
        assert await ledger.view.payload("g-1") == PACKED.packed
        assert await ledger.view.has_payload("g-1")

    async def test_a_deletion_and_what_led_to_nothing_are_kept_too(self, ledger: Ledger) -> None:
        await ledger.records.record(a_push("A", branch="t", at=1))
        removal = a_removal("t", before="A", at=2)
        await ledger.records.remove(removal, PACKED)
        found = await ledger.view.delivery(removal.guid)
        assert found is not None
        assert (found.outcome, found.project, found.answer) == ("removed", "site", 200)
        assert (found.before, found.after, found.deployment) == (commit("A"), ZERO, "")
        await ledger.records.note(ignored("g-2", ref="refs/tags/v1", after=commit("A")), PACKED)
        found = await ledger.view.delivery("g-2")
        assert found is not None
        assert (found.event, found.outcome, found.project) == ("star", "ignored", "site")
        assert (found.ref, found.after) == ("refs/tags/v1", commit("A"))
        assert await ledger.view.payload("g-2") == PACKED.packed

    async def test_of_a_repository_without_a_project_it_names_none(self, ledger: Ledger) -> None:
        await noted(ledger, "g")
        found = await ledger.view.delivery("g")
        assert found is not None
        assert (found.project, found.deployment, found.answer) == ("", "", 200)

    async def test_without_a_payload_none_is_kept(self, ledger: Ledger) -> None:
        await ledger.records.record(a_push("A", guid="g"), Payload(size=25_000_000))
        found = await ledger.view.delivery("g")
        assert found is not None
        assert found.size == 25_000_000
        assert await ledger.view.payload("g") is None
        assert not await ledger.view.has_payload("g")
        assert not await redis_of(ledger).exists(named(ledger, "payloads"))

    async def test_it_is_kept_for_thirty_days(self, ledger: Ledger) -> None:
        await ledger.records.record(a_push("A", guid="g"), PACKED)
        for name in ("delivery:g", "payload:g"):
            ttl = await redis_of(ledger).ttl(named(ledger, name))
            assert MONTH - 60 < ttl <= MONTH, name

    async def test_it_takes_no_call_more_than_recording_does(self, ledger: Ledger) -> None:
        await ledger.records.record(a_push("A"), PACKED)
        redis = redis_of(ledger)
        before = await redis.info("commandstats")
        await ledger.records.record(a_push("B", before="A"), PACKED)
        after = await redis.info("commandstats")
        calls = {
            name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"]
            for name in ("cmdstat_evalsha", "cmdstat_eval")
            if name in after
        }
        assert calls == {name: int(name == "cmdstat_evalsha") for name in calls}

    async def test_the_first_word_stays_unless_it_was_nothing(self, ledger: Ledger) -> None:
        await ledger.records.note(ignored("g", reason="not allowed"), PACKED)
        answer = await ledger.records.record(a_push("A", guid="g", body="b"), PACKED)
        assert answer.outcome == "recorded"
        await ledger.records.note(ignored("g", reason="not allowed"), PACKED)
        assert (await ledger.records.record(a_push("A", guid="g", body="b"))).outcome == "repeated"
        found = await ledger.view.delivery("g")
        assert found is not None
        assert (found.outcome, found.deployment) == ("recorded", answer.deployment)
        assert await redis_of(ledger).zcard(named(ledger, "deliveries")) == 1

    async def test_a_deletion_that_was_ignored_once_is_noted_when_it_is_made(
        self, ledger: Ledger
    ) -> None:
        removal = a_removal("t", before="A", at=2)
        await ledger.records.note(ignored(removal.guid))
        await ledger.records.record(a_push("A", branch="t", at=1))
        await ledger.records.remove(removal)
        found = await ledger.view.delivery(removal.guid)
        assert found is not None
        assert found.outcome == "removed"


class TestListed:
    """Deliveries are listed newest first, and lists and payloads stay of bounded size."""

    async def test_pages_hold_each_once_and_filters_may_be_combined(self, ledger: Ledger) -> None:
        for number in range(7):
            await ledger.records.record(a_push("A", guid=f"g{number}", branch=f"b{number}"))
        await ledger.records.record(
            a_push("A", guid="other", repository="acme/blog", repository_id=8)
        )
        await noted(ledger, "star")
        seen: list[str] = []
        cursor = ""
        while True:
            page, cursor = await ledger.view.deliveries(cursor=cursor, limit=4)
            seen += [each.guid for each in page]
            if not cursor:
                break
        assert seen == ["star", "other", *(f"g{number}" for number in range(6, -1, -1))]

        async def guids(**asked: Any) -> list[str]:
            return [each.guid for each in (await ledger.view.deliveries(**asked))[0]]

        assert await guids(project="blog") == ["other"]
        assert await guids(repository="ACME/Blog") == ["other"]
        assert await guids(outcome="ignored") == ["star"]
        assert await guids(project="site", outcome="ignored") == ["star"]
        assert await guids(project="blog", outcome="ignored") == []
        assert len(await guids(project="site", repository="acme/site")) == 8

    async def test_what_is_older_than_thirty_days_falls_out_with_its_payload(
        self, ledger: Ledger
    ) -> None:
        await noted(ledger, "old")
        await noted(ledger, "young")
        redis, now = redis_of(ledger), time.time() * 1000
        ages = {"old": now - MONTH * 1000 - 5000, "young": now - MONTH * 1000 + 60_000}
        await redis.zadd(named(ledger, "deliveries"), ages)
        await noted(ledger, "new")
        assert await redis.zrange(named(ledger, "deliveries"), 0, -1) == ["young", "new"]
        assert await ledger.view.payload("old") is None
        assert await ledger.view.payload("young") == b"packed"
        assert await redis.zrange(named(ledger, "payloads"), 0, -1) == ["young", "new"]

    async def test_at_most_a_hundred_thousand_are_listed(self, ledger: Ledger) -> None:
        redis, index = redis_of(ledger), named(ledger, "deliveries")
        now = time.time() * 1000
        many = {f"g{number:06}": now - 200_000 + number for number in range(100_010)}
        await redis.zadd(index, many)
        await noted(ledger, "g000000")
        # Never more than a few at once: an answer waits for it.
        assert await redis.zcard(index) == 100_000
        assert await redis.zrange(index, 0, 0) == ["g000011"]
        await noted(ledger, "new")
        assert await redis.zcard(index) == 100_000
        assert [each.guid for each in (await ledger.view.deliveries())[0]] == ["new", "g000000"]

    async def test_of_a_great_surplus_each_call_takes_a_little(self, ledger: Ledger) -> None:
        redis, index = redis_of(ledger), named(ledger, "deliveries")
        long_ago = {f"g{number}": number + 1 for number in range(50)}
        await redis.zadd(index, long_ago)
        for number, left in enumerate((31, 12, 3)):
            await noted(ledger, f"n{number}")
            assert await redis.zcard(index) == left

    async def test_payloads_past_128_megabytes_push_the_oldest_out(self, ledger: Ledger) -> None:
        redis, index = redis_of(ledger), named(ledger, "payloads")
        for name in ("first", "second", "third"):
            await noted(ledger, name, packed=b"x" * 1000)
        assert await redis.zrange(index, 0, -1, withscores=True) == [
            ("first", 1000), ("second", 2000), ("third", 3000),
        ]  # fmt: skip
        most = 128 * 1024 * 1024
        await redis.zadd(index, {"third": most + 500})
        await noted(ledger, "fourth", packed=b"x" * 1000)
        assert await redis.zrange(index, 0, -1) == ["second", "third", "fourth"]
        assert await ledger.view.payload("first") is None
        assert await ledger.view.delivery("first") is not None
        assert await ledger.view.payload("second") == b"x" * 1000


class TestRefused:
    """Of those that nobody signed there are counts, and a ring of the newest."""

    @staticmethod
    def a_refusal(number: int = 0, **more: Any) -> Refusal:
        told: dict[str, Any] = {
            "peer": "192.0.2.1",
            "code": "signature_invalid",
            "guid": f"g{number}",
        }
        return Refusal(**(told | more))

    async def test_they_are_counted_by_code_and_the_newest_noted(self, ledger: Ledger) -> None:
        assert await ledger.refusals.read() == ({}, [])
        ledger.refusals.note(self.a_refusal(1, event="push", repository="acme/site"))
        ledger.refusals.note(self.a_refusal(2))
        ledger.refusals.note(self.a_refusal(3, code="payload_malformed"))
        await ledger.refusals.aclose()
        counts, newest = await ledger.refusals.read()
        assert counts == {"signature_invalid": 2, "payload_malformed": 1}
        assert [each.guid for each in newest] == ["g3", "g2", "g1"]
        assert (newest[2].event, newest[2].repository) == ("push", "acme/site")
        assert all(abs(each.at / 1000 - time.time()) < 60 for each in newest)

    async def test_they_last_thirty_days(self, ledger: Ledger) -> None:
        redis = redis_of(ledger)
        ledger.refusals.note(self.a_refusal())
        await ledger.refusals.aclose()
        (today,) = [name async for name in redis.scan_iter(f"{named(ledger, 'refused-counts:')}*")]
        for name in (today, named(ledger, "refused")):
            assert MONTH - 60 < await redis.ttl(name) <= MONTH
        day = int(today.rpartition(":")[2])
        for back in (1, 29, 30, 31):
            await redis.hset(f"{named(ledger, 'refused-counts:')}{day - back}", "old", 1)
        counts, _ = await ledger.refusals.read()
        assert counts == {"signature_invalid": 1, "old": 2}

    async def test_a_flood_is_counted_and_a_few_of_it_noted(self, ledger: Ledger) -> None:
        began = time.perf_counter()
        for number in range(10_000):
            ledger.refusals.note(self.a_refusal(number))
        assert time.perf_counter() - began < 2
        await ledger.refusals.aclose()
        counts, newest = await ledger.refusals.read()
        assert counts == {"signature_invalid": 10_000}
        assert len(newest) == 20

    async def test_the_ring_holds_two_hundred(self, ledger: Ledger) -> None:
        for number in range(0, 240, 20):
            for each in range(20):
                ledger.refusals.note(self.a_refusal(number + each))
            await ledger.refusals.aclose()
        _, newest = await ledger.refusals.read()
        assert [each.guid for each in newest] == [f"g{number}" for number in range(239, 39, -1)]

    async def test_what_strangers_wrote_is_cut_short_and_printable(self, ledger: Ledger) -> None:
        odd = "\x1b]0;x\x07\u202e\udcff\x00é😀" + "x" * 10_000
        ledger.refusals.note(self.a_refusal(peer=odd, event=odd, guid=odd, repository=odd))
        await ledger.refusals.aclose()
        _, (found,) = await ledger.refusals.read()
        for text in (found.peer, found.event, found.guid, found.repository):
            assert text.startswith("?]0;x??????x")
            assert text.isascii()
            assert text.isprintable()
            assert len(text) <= 140

    async def test_one_is_written_at_once_and_those_after_it_together(self, ledger: Ledger) -> None:
        async def noted_there() -> bool:
            return len((await ledger.refusals.read())[1]) > 0

        ledger.refusals.note(self.a_refusal(1))
        await until(noted_there, seconds=1)
        for number in range(2, 30):
            ledger.refusals.note(self.a_refusal(number))

        async def all_counted() -> bool:
            return (await ledger.refusals.read())[0] == {"signature_invalid": 29}

        await until(all_counted, seconds=5)
        assert [each.guid for each in (await ledger.refusals.read())[1]] == [
            f"g{number}" for number in range(21, 0, -1)
        ]

    async def test_while_redis_is_away_nothing_waits_for_it_and_the_counts_are_kept(
        self, tmp_path: Path
    ) -> None:
        server = await start_valkey(tmp_path / "own", password="own", port=0)
        ledger = open_ledger(server.environ["PUSHLANE_REDIS_URL"])
        try:
            await server.stop()
            began = time.perf_counter()
            for number in range(100):
                ledger.refusals.note(self.a_refusal(number))
                await asyncio.sleep(0)
            assert time.perf_counter() - began < 0.5
            server = await server.start()

            async def counted() -> bool:
                return (await ledger.refusals.read())[0] == {"signature_invalid": 100}

            await until(counted, seconds=10)
        finally:
            await ledger.aclose()
            await server.stop()
