"""A deployment's log, whole, its end, and as it comes, from Redis and from the bucket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from bot import logs
from bot.core import release
from bot.core.deployment import Deployment, Status
from bot.core.errors import Errored
from bot.logs import Changed, Ended, Event, Followers, Line, Lines, following
from bot.logs import reading as kept
from tests.conftest import S3
from tests.pages import Reading, a_reading


@pytest.fixture
async def reading(valkey: str, seaweedfs: S3, prefix: str) -> AsyncIterator[Reading]:
    async with a_reading(valkey, seaweedfs, prefix) as found:
        yield found


async def record(reading: Reading, deployment: Deployment) -> Deployment:
    found = await reading.ledger.view.deployment(deployment.id)
    assert found is not None
    return found


async def lines_of(reading: Reading, deployment: Deployment, after: str = "") -> list[Line]:
    now = await record(reading, deployment)
    return [line async for line in logs.lines(reading.ledger, reading.bucket, now, after=after)]


async def texts_of(reading: Reading, deployment: Deployment, after: str = "") -> list[str]:
    return [line.text for line in await lines_of(reading, deployment, after)]


async def retried(reading: Reading) -> Deployment:
    """Ready after a build that was put back: three claims, each with a log of two lines."""
    found = await reading.fetched("A", "fetch 1", "fetch 2")
    held = await reading.claimed(found, "first 1", "first 2")
    await reading.ledger.claims.give_back(held)
    return await reading.ended(await reading.claimed(found, "second 1", "second 2"))


ALL = ["fetch 1", "fetch 2", "first 1", "first 2", "second 1", "second 2"]


async def test_the_lines_of_all_claims_come_in_order_under_ids_of_their_own(
    reading: Reading,
) -> None:
    found = await lines_of(reading, await retried(reading))
    assert [line.text for line in found] == ALL
    assert [line.id.partition("-")[0] for line in found] == ["0", "0", "1", "1", "2", "2"]
    assert all(re.fullmatch(r"[0-2]-\d+-\d+", line.id) for line in found)
    assert len({line.id for line in found}) == 6


@pytest.mark.parametrize("at", range(6))
async def test_what_follows_a_line_is_asked_for_by_its_id(reading: Reading, at: int) -> None:
    deployment = await retried(reading)
    found = await lines_of(reading, deployment)
    assert await texts_of(reading, deployment, found[at].id) == ALL[at + 1 :]


@pytest.mark.parametrize(
    "after",
    [
        *("x", "1", "0-", "0-1", "-1-1-1", "9-1-1", "9999-1-1", "0-1-1; DROP", "٣-1-1"),
        *(f"0-{'9' * 40}-0", "0-0-0", "3-1-1", "\n", "0-1-1\n", "0-1-1-1"),
    ],
)
async def test_an_id_that_is_none_of_this_log_counts_as_none(reading: Reading, after: str) -> None:
    assert await texts_of(reading, await retried(reading), after) == ALL


async def test_what_redis_has_forgotten_comes_from_the_bucket(reading: Reading) -> None:
    deployment = await retried(reading)
    await reading.forgotten(deployment)
    for claim, start in ((0, 0), (2, 4)):
        await reading.saved(deployment, claim, ALL[start:][:2])
    # The second claim's log was never saved: its worker was killed.
    found = await lines_of(reading, deployment)
    assert found == [
        Line("0-0-1", "fetch 1"),
        Line("0-0-2", "fetch 2"),
        Line("2-0-1", "second 1"),
        Line("2-0-2", "second 2"),
    ]
    assert await lines_of(reading, deployment, "0-0-1") == found[1:]
    assert await lines_of(reading, deployment, "2-0-1") == found[3:]
    assert await lines_of(reading, deployment, "2-0-2") == []


async def test_when_redis_forgets_between_two_readings_no_line_is_missed(reading: Reading) -> None:
    deployment = await retried(reading)
    last = (await lines_of(reading, deployment))[4]
    await reading.forgotten(deployment)
    await reading.saved(deployment, 2, ALL[4:])
    assert await texts_of(reading, deployment, last.id) == ALL[4:]


async def test_what_redis_forgets_while_it_is_read_goes_on_from_the_bucket(
    reading: Reading,
) -> None:
    texts = [f"line {n}" for n in range(2 * logs.PAGE + 500)]
    deployment = await reading.ended(await reading.building("A", *texts))
    await reading.saved(deployment, 1, texts)
    now = await record(reading, deployment)
    found: list[str] = []
    async for line in logs.lines(reading.ledger, reading.bucket, now):
        if not found:
            await reading.forgotten(deployment)
        found.append(line.text)
    assert found == texts


async def test_what_is_read_to_its_end_is_not_read_again_from_the_bucket(reading: Reading) -> None:
    deployment = await retried(reading)
    await reading.saved(deployment, 2, ["only in the bucket"])
    last = (await lines_of(reading, deployment))[-1]
    assert await lines_of(reading, deployment, last.id) == []


async def test_a_long_log_of_the_bucket_is_read_a_page_at_a_time(reading: Reading) -> None:
    deployment = await retried(reading)
    await reading.forgotten(deployment)
    await reading.saved(
        deployment, 2, ["the same line over and over, 61 characters of it, no more."] * 150_000
    )
    count = 0
    async for page in kept._kept(
        reading.bucket, release.log_name("7", deployment.id, deployment.claims[2])
    ):
        assert len(page) <= logs.PAGE
        count += len(page)
    assert count == 150_000


async def test_a_broken_log_is_said_to_be_broken(reading: Reading) -> None:
    deployment = await retried(reading)
    await reading.forgotten(deployment)
    name = release.log_name("7", deployment.id, deployment.claims[0])
    await reading.bucket.put(name, b"no zstd at all", content_type=release.PACK_TYPE)
    with pytest.raises(Errored) as raised:
        await lines_of(reading, deployment)
    assert raised.value.code == "log_broken"


async def tail_of(
    reading: Reading, deployment: Deployment, most: int, characters: int = 10_000
) -> tuple[int, list[str]]:
    now = await record(reading, deployment)
    found = await logs.tail(reading.ledger, reading.bucket, now, most=most, characters=characters)
    return found.first, [line.text for line in found.lines]


async def test_the_last_lines_keep_their_numbers(reading: Reading) -> None:
    deployment = await retried(reading)
    assert await tail_of(reading, deployment, 100) == (1, ALL)
    assert await tail_of(reading, deployment, 3) == (4, ALL[3:])
    assert await tail_of(reading, deployment, 100, characters=20) == (5, ALL[4:])
    assert await tail_of(reading, deployment, 100, characters=0) == (7, [])


async def test_the_last_lines_are_found_where_each_log_is(reading: Reading) -> None:
    deployment = await retried(reading)
    await reading.forgotten(deployment)
    await reading.saved(deployment, 1, [f"line {n}" for n in range(1, 2501)])
    assert await tail_of(reading, deployment, 2) == (2499, ["line 2499", "line 2500"])
    assert (await tail_of(reading, deployment, 2000, characters=10**6))[0] == 501


async def test_the_end_of_nothing_is_nothing(reading: Reading) -> None:
    answer = await reading.fetched("A")
    assert await tail_of(reading, answer, 10) == (1, [])


class Follower:
    """Follows in the background; its events are looked at as they come."""

    def __init__(self, reading: Reading, id_: str, after: str = "") -> None:
        self.events: list[Event] = []
        self.ended = asyncio.create_task(self._follow(reading, id_, after))

    async def _follow(self, reading: Reading, id_: str, after: str) -> None:
        followers = Followers(reading.ledger, reading.bucket)
        async for event in followers.follow(id_, after=after):
            self.events.append(event)

    @property
    def told(self) -> list[str]:
        """The events in short: a line's text, or the status."""
        names: list[str] = []
        for event in self.events:
            match event:
                case Lines(lines=lines):
                    names += [line.text for line in lines]
                case Changed(deployment=deployment):
                    names.append(
                        f"<{deployment.status}{' ' + deployment.stop if deployment.stop else ''}>"
                    )
                case Ended(deployment=deployment):
                    names.append(f"<ended {deployment.status}>")
                case None:
                    names.append("<beat>")
        return names

    async def hears(self, *told: str) -> None:
        """Waits until just this was told."""
        async with asyncio.timeout(10):
            while self.told != list(told) and not self.ended.done():
                await asyncio.sleep(0.01)
        assert self.told == list(told)


async def test_who_follows_hears_each_line_and_each_change_until_the_end(reading: Reading) -> None:
    found = await reading.fetched("A", "fetched")
    follower = Follower(reading, found.id)
    await follower.hears("<queued>", "fetched")
    held = await reading.claimed(found)
    await follower.hears("<queued>", "fetched", "<building>")
    await reading.ledger.logs.append(held, ["one", "two"])
    await follower.hears("<queued>", "fetched", "<building>", "one", "two")
    await reading.ledger.claims.give_back(held)
    held = await reading.claimed(found, "again")
    await reading.ended(held)
    await asyncio.wait_for(follower.ended, 10)
    told = [
        name for name in follower.told if name not in ("<queued>", "<building>", "<publishing>")
    ]
    assert told == ["fetched", "one", "two", "again", "<ended ready>"]


async def test_a_request_to_stop_is_heard(reading: Reading) -> None:
    held = await reading.building("A", "one")
    follower = Follower(reading, held.id)
    await follower.hears("<building>", "one")
    await reading.ledger.records.cancel(held.id)
    await follower.hears("<building>", "one", "<building cancelled>")
    await reading.ended(held, Status.FAILED)
    await follower.hears("<building>", "one", "<building cancelled>", "<ended cancelled>")


async def test_lines_come_though_nothing_is_announced(
    valkey: str, seaweedfs: S3, prefix: str
) -> None:
    async with a_reading(valkey, seaweedfs, prefix, hears=False) as reading:
        held = await reading.building("A", "one")
        follower = Follower(reading, held.id)
        await follower.hears("<building>", "one")
        await reading.ledger.logs.append(held, ["two"])
        await follower.hears("<building>", "one", "two")
        await reading.ended(held, Status.FAILED)
        await follower.hears("<building>", "one", "two", "<ended failed>")


async def test_of_one_that_has_ended_there_are_the_lines_and_the_end(reading: Reading) -> None:
    deployment = await retried(reading)
    follower = Follower(reading, deployment.id)
    await follower.hears(*ALL, "<ended ready>")
    last = (await lines_of(reading, deployment))[3].id
    await Follower(reading, deployment.id, after=last).hears(*ALL[4:], "<ended ready>")


async def test_of_one_that_is_not_there_there_is_nothing(reading: Reading) -> None:
    await asyncio.wait_for(Follower(reading, "d0000000000000000").ended, 5)


async def test_silence_is_broken_by_a_beat(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BEAT_SECONDS", 1.5)
    held = await reading.building("A")
    follower = Follower(reading, held.id)
    await follower.hears("<building>", "<beat>")
    await reading.ended(held, Status.FAILED)
    await asyncio.wait_for(follower.ended, 10)
    assert follower.told[-1] == "<ended failed>"


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (logs.sse("hello", id_="0-1-2"), b"data: hello\nid: 0-1-2\n\n"),
        (logs.sse("{}", event="status"), b"event: status\ndata: {}\n\n"),
        (logs.sse(""), b"data: \n\n"),
        (logs.sse("a\nb\r\nc\rd"), b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (logs.sse("a\n\nevent: end"), b"data: a\ndata: \ndata: event: end\n\n"),
        (logs.sse("a\x0b\u2028b\ud800"), b"data: a\x0b\xe2\x80\xa8b?\n\n"),
    ],
)
def test_no_text_leaves_its_event(event: bytes, encoded: bytes) -> None:
    assert event == encoded
