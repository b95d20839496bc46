"""Logs that many follow at once: read once for all, whole for each, and no place for too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import pytest

from bot.core.deployment import Status
from bot.core.ledger import BuildLogs, LogLine
from bot.logs import Ended, Followers, Lines, Places
from tests.conftest import S3
from tests.front import served
from tests.pages import Reading, a_reading


@pytest.fixture
async def reading(valkey: str, seaweedfs: S3, prefix: str) -> AsyncIterator[Reading]:
    async with a_reading(valkey, seaweedfs, prefix) as found:
        yield found


class Follower:
    """Follows in the background, as fast as it is let."""

    def __init__(self, followers: Followers, id_: str, after: str = "") -> None:
        self.texts: list[str] = []
        self.first = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.ended = asyncio.create_task(self._follow(followers, id_, after))

    async def _follow(self, followers: Followers, id_: str, after: str) -> None:
        async for event in followers.follow(id_, after=after):
            self.first.set()
            if isinstance(event, Lines):
                self.texts += [line.text for line in event.lines]
            await self.goes_on.wait()
        assert isinstance(event, Ended)

    async def has(self, texts: list[str]) -> None:
        async with asyncio.timeout(20):
            while len(self.texts) < len(texts) and not self.ended.done():
                await asyncio.sleep(0.01)
        assert self.texts == texts


async def test_a_log_is_read_once_for_all_who_follow_it(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await reading.building("A")
    followers = Followers(reading.ledger, reading.bucket)
    many = [Follower(followers, held.id) for _ in range(50)]
    said = ["all have come so far"]
    await reading.ledger.logs.append(held, said)
    for each in many:
        await each.has(said)
    reads = 0
    read = BuildLogs.read

    async def counted(self: BuildLogs, *of: str, **how: object) -> list[LogLine]:
        nonlocal reads
        reads += 1
        return await read(self, *of, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(BuildLogs, "read", counted)
    for number in range(20):
        said.append(f"line {number}")
        await reading.ledger.logs.append(held, said[-1:])
        for each in many:
            await each.has(said)
    assert 20 <= reads < 80, "of 50 followers, each of 20 lines"
    assert followers.of(held.id) == 50
    await reading.ended(held, Status.FAILED)
    await asyncio.wait_for(asyncio.gather(*(each.ended for each in many)), 20)
    assert followers.of(held.id) == 0


async def test_whenever_one_joins_it_hears_each_line_once(reading: Reading) -> None:
    followers = Followers(reading.ledger, reading.bucket)
    held = await reading.building("A")
    said: list[str] = []
    joined: list[Follower] = []
    for number in range(40):
        joined.append(Follower(followers, held.id))
        said += [f"line {number}.{part}" for part in range(5)]
        await reading.ledger.logs.append(held, said[-5:-2])
        joined.append(Follower(followers, held.id))
        await reading.ledger.logs.append(held, said[-2:])
        if number == 20:
            await reading.ledger.claims.give_back(held)
            held = await reading.claimed(held)
    await reading.ended(held, Status.FAILED)
    joined.append(Follower(followers, held.id))
    for each in joined:
        await asyncio.wait_for(each.ended, 20)
        assert each.texts == said


async def test_who_knows_part_of_it_hears_the_rest(reading: Reading) -> None:
    followers = Followers(reading.ledger, reading.bucket)
    held = await reading.building("A")
    first = Follower(followers, held.id)
    await first.first.wait()
    texts = [f"line {number}" for number in range(9)]
    await reading.ledger.logs.append(held, texts)
    await first.has(texts)
    known = await reading.ledger.logs.read(held.id, held.claim)
    index = len(held.claims) - 1
    rest = [Follower(followers, held.id, f"{index}-{line.id}") for line in known]
    nonsense = [Follower(followers, held.id, after) for after in ("x", "9-1-1", "")]
    await reading.ledger.logs.append(held, ["the last"])
    for number, each in enumerate(rest):
        await each.has([*texts[number + 1 :], "the last"])
    for each in nonsense:
        await each.has([*texts, "the last"])
    await reading.ended(held, Status.FAILED)
    await asyncio.wait_for(asyncio.gather(*(each.ended for each in (first, *rest, *nonsense))), 20)


async def test_who_is_slow_keeps_nobody_waiting_and_misses_nothing(reading: Reading) -> None:
    followers = Followers(reading.ledger, reading.bucket)
    held = await reading.building("A")
    slow, fast = Follower(followers, held.id), Follower(followers, held.id)
    slow.goes_on.clear()
    await asyncio.gather(slow.first.wait(), fast.first.wait())
    texts = []
    for number in range(60):
        texts += [f"{number}.{part} " + "x" * 200 for part in range(100)]
        await reading.ledger.logs.append(held, texts[-100:])
    await fast.has(texts)
    assert slow.texts == []
    slow.goes_on.set()
    await slow.has(texts)
    await reading.ended(held, Status.FAILED)
    await asyncio.wait_for(asyncio.gather(slow.ended, fast.ended), 20)


@asynccontextmanager
async def following(url: str, id_: str, **headers: str) -> AsyncIterator[httpx2.Response]:
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=60) as client,
        client.stream("GET", f"{url}/deployments/{id_}/events", headers=headers) as answer,
    ):
        yield answer


class TestPlaces:
    """So many strangers at a time; who is too many is told to come again."""

    async def test_who_is_too_many_comes_again_and_who_signed_in_is_let_in(
        self, valkey: str, seaweedfs: S3, prefix: str
    ) -> None:
        places = Places(strangers_of_one=2, strangers=3, following=5)
        async with a_reading(valkey, seaweedfs, prefix, places=places) as reading:
            one = await reading.building("A")
            other = await reading.building("B", branch="other", repository_id=8, repository="b/c")
            async with served(reading.app) as url, AsyncExitStack() as stack:

                async def status(id_: str, **headers: str) -> int:
                    found = await stack.enter_async_context(following(url, id_, **headers))
                    return found.status_code

                first = following(url, one.id)
                assert (await first.__aenter__()).status_code == 200
                assert await status(one.id) == 200
                async with following(url, one.id) as refused:
                    assert refused.status_code == 503
                    assert refused.headers["retry-after"] == "5"
                    assert "Too many read logs here" in (await refused.aread()).decode()
                assert await status(other.id) == 200
                assert await status(other.id) == 503
                cookie = {"cookie": reading.cookie()}
                assert await status(one.id, **cookie) == 200
                assert await status(other.id, **cookie) == 200
                assert await status(other.id, **cookie) == 503
                await first.__aexit__(None, None, None)
                async with asyncio.timeout(10):
                    while await status(one.id) != 200:
                        await asyncio.sleep(0.05)
                await reading.ended(one, Status.FAILED)
                await reading.ended(other, Status.FAILED)

    async def test_a_whole_log_is_read_by_so_many_strangers_at_a_time(
        self, valkey: str, seaweedfs: S3, prefix: str
    ) -> None:
        async with a_reading(valkey, seaweedfs, prefix, places=Places(whole=1)) as reading:
            held = await reading.building("A")
            for _ in range(16):
                await reading.ledger.logs.append(held, ["x" * 50_000] * 20)
            path = f"/deployments/{held.id}/log.txt"
            async with (
                served(reading.app) as url,
                httpx2.AsyncClient(trust_env=False, timeout=60) as client,
            ):
                async with client.stream("GET", url + path) as first:
                    assert first.status_code == 200
                    refused = await client.get(url + path)
                    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
                    known = await client.get(url + path, headers={"cookie": reading.cookie()})
                    assert len(known.content) > 16_000_000
                async with asyncio.timeout(10):
                    while (await client.get(url + path)).status_code != 200:
                        await asyncio.sleep(0.05)
