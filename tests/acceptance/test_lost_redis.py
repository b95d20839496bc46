"""Redis is flushed, replaced, comes back older, or is killed: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from bot.embedded import Server, start_valkey
from tests.acceptance.house import PAGE, House, a_house, branch_host, own_label, until
from tests.acceptance.test_kills import SLOW, begun
from tests.acceptance.test_moves import as_json
from tests.chaos.durable import kill_redis
from tests.conftest import S3
from tests.standin import StandIn


@dataclass(slots=True)
class Lodging:
    """A house whose Redis is its own, and may be lost."""

    house: House
    directory: Path
    server: Server

    async def redis(self, *words: str) -> Any:
        """One command to the Redis."""
        client: Any = Redis.from_url(self.server.environ["PUSHLANE_REDIS_URL"])
        try:
            return await client.execute_command(*words)
        finally:
            await client.aclose()

    async def saved(self) -> None:
        """Waits until the bucket holds what it is to hold."""
        name = f"{self.house.environ['PUSHLANE_REDIS_PREFIX']}{{build-queue}}:unsaved"

        async def none_left() -> bool:
            return bool(await self.redis("ZCARD", name) == 0)

        await until(none_left)

    async def kill(self) -> None:
        """Ends the Redis at once."""
        assert self.server.process
        self.server.process.kill()
        await self.server.process.wait()

    async def start(self) -> None:
        """Starts it on what lies in its directory."""
        self.server = await start_valkey(self.directory, password="own", port=0)


@pytest.fixture
async def lodging(tmp_path: Path, seaweedfs: S3, prefix: str) -> AsyncIterator[Lodging]:
    directory = tmp_path / "valkey"
    server = await start_valkey(directory, password="own", port=0)
    async with StandIn(tmp_path / "github") as github:
        house = a_house(
            tmp_path,
            redis_url=server.environ["PUSHLANE_REDIS_URL"],
            s3=seaweedfs,
            prefix=prefix,
            github=github,
        )
        made = Lodging(house, directory, server)
        try:
            house.start_bot()
            house.start_worker()
            await house.until_ready()
            yield made
        finally:
            await asyncio.to_thread(house.close)
            await made.server.stop()


async def watched(house: House, sites: dict[str, str]) -> None:
    """Fails when a site shows anything but its words; goes on until it is cancelled."""
    while True:
        for label, words in sites.items():
            answer = await house.get(label)
            assert answer.status_code == 200, (label, answer.status_code, answer.text)
            assert words in answer.text, (label, answer.text)
        await asyncio.sleep(0.02)


async def test_flushall_in_the_middle_of_the_day_costs_no_site_no_record_and_no_push(
    lodging: Lodging, name: str
) -> None:
    house = lodging.house
    worktree, other = house.repository(name), house.repository(f"{name}-other")
    first = await house.ready(await house.push(worktree, {"index.html": PAGE.format("one")}))
    second = await house.ready(await house.push(worktree, {"index.html": PAGE.format("two")}))
    beside = await house.ready(await house.push(other, {"index.html": PAGE.format("beside")}))
    topic = await house.ready(
        await house.push(worktree, {"index.html": PAGE.format("topic")}, branch="topic")
    )
    await house.call("POST", f"/api/v1/projects/{beside['project']}/rollback")
    before = {each["id"]: each for each in await house.deployments()}
    projects = (await house.call("GET", "/api/v1/projects")).json()
    sites = {
        second["project"]: "two",
        beside["project"]: "beside",
        own_label(first): "one",
        own_label(topic): "topic",
    }
    for label, words in sites.items():
        await house.shows(label, words)
    await lodging.saved()
    slow = {"index.html": PAGE.format("slow"), "pushlane.toml": SLOW.format(seconds=3)}
    under_way = await house.push(other, slow, branch="never-seen-before")
    await begun(house, under_way)
    await lodging.saved()

    watching = asyncio.create_task(watched(house, sites))
    await lodging.redis("FLUSHALL")
    found = await as_json(house, "restore")
    assert (found["state"], found["projects"], found["deployments"]) == ("restored", 2, 5)
    after = {each["id"]: each for each in await house.deployments()}
    assert {id_: after[id_] for id_ in before} == before
    assert (await house.call("GET", "/api/v1/projects")).json() == projects
    ready = (await house.call("GET", "/readyz")).json()
    assert (ready["ready"], ready["ledger"]) == (True, "whole")
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching

    resumed = await house.ready(under_way)
    await house.shows(branch_host(resumed), "slow")
    third = await house.ready(await house.push(worktree, {"index.html": PAGE.format("three")}))
    await house.shows(third["project"], "three")
    faster = {"index.html": PAGE.format("faster"), "pushlane.toml": None}
    last = await house.ready(await house.push(other, faster))
    await house.shows(last["project"], "faster")
    moved = await as_json(house, "rollback", third["project"])
    assert moved["deployment"] == second["id"]
    await house.shows(third["project"], "two")
    said = house.log("bot")
    assert "restoring from the bucket" in said
    assert "restored from the bucket" in said
    assert "Traceback" not in said + house.log("worker")


async def test_a_redis_that_comes_back_from_an_old_copy_moves_nothing_backwards(
    lodging: Lodging, name: str, tmp_path: Path
) -> None:
    house = lodging.house
    worktree = house.repository(name)
    first = await house.ready(await house.push(worktree, {"index.html": PAGE.format("old")}))
    await house.shows(first["project"], "old")
    await lodging.saved()
    await lodging.kill()
    await asyncio.to_thread(shutil.copytree, lodging.directory, tmp_path / "copy")
    await lodging.start()

    second = await house.ready(await house.push(worktree, {"index.html": PAGE.format("new")}))
    await house.shows(first["project"], "new")
    await lodging.saved()
    await lodging.kill()
    await asyncio.to_thread(shutil.rmtree, lodging.directory)
    await asyncio.to_thread(shutil.copytree, tmp_path / "copy", lodging.directory)
    watching = asyncio.create_task(watched(house, {first["project"]: "new"}))
    await lodging.start()

    async def back() -> bool:
        answer = await house.call("GET", f"/api/v1/deployments/{second['id']}")
        return answer.is_success and (await house.call("GET", "/readyz")).is_success

    await until(back, why=lambda: house.log("bot")[-3000:])
    assert await house.record(second["id"]) == second
    project = (await house.call("GET", f"/api/v1/projects/{first['project']}")).json()
    assert project["live"] == second["id"]
    await asyncio.sleep(0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    third = await house.ready(await house.push(worktree, {"index.html": PAGE.format("newest")}))
    await house.shows(third["project"], "newest")


async def test_a_bot_that_starts_on_an_empty_redis_and_a_full_bucket_restores_by_itself(
    lodging: Lodging, name: str
) -> None:
    house = lodging.house
    record = await house.ready(
        await house.push(house.repository(name), {"index.html": PAGE.format("kept")})
    )
    await lodging.saved()
    assert house.bot
    house.bot.terminate()
    await asyncio.to_thread(house.bot.wait, 15)
    await lodging.kill()
    await asyncio.to_thread(shutil.rmtree, lodging.directory / "appendonlydir")
    await lodging.start()
    house.start_bot()
    await house.until_ready()
    await house.shows(record["project"], "kept")
    assert await house.record(record["id"]) == record


async def test_redis_killed_again_and_again_under_load_loses_nothing_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    figures = await kill_redis(10, tmp_path)
    assert figures.lost == []
    assert figures.acknowledged >= 500
    assert figures.refused > 0, "no kill met anything"
