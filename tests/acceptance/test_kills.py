"""kill -9 of each process in the middle of its work: each push still goes live, once."""

from __future__ import annotations

import asyncio
import secrets
import signal
from pathlib import Path

from bot.embedded import start_valkey
from tests.acceptance.house import PAGE, House, a_house, until
from tests.conftest import S3
from tests.standin import StandIn

SLOW = (
    '[build]\ncommand = "echo begun; sleep {seconds}; mkdir out; cp index.html out"\n'
    'output = "out"\n'
)


async def begun(house: House, sha: str) -> str:
    """Waits until the commit's build has begun; answers the deployment's id."""
    id_ = ""

    async def building() -> bool:
        nonlocal id_
        found = [each for each in await house.deployments() if each["commit"] == sha]
        id_ = found[0]["id"] if found else ""
        return bool(id_) and "begun" in (await house.build_log(id_)).splitlines()

    await until(building, why=lambda: house.log("worker")[-3000:])
    return id_


async def test_a_worker_killed_in_a_build_is_replaced_and_the_push_goes_live_once(
    own_house: House, name: str
) -> None:
    house = own_house
    house.start_bot()
    first = house.start_worker()
    await house.until_ready()
    worktree = house.repository(name)
    files = {"index.html": PAGE.format("survivor"), "pushlane.toml": SLOW.format(seconds=2)}
    sha = await house.push(worktree, files)
    id_ = await begun(house, sha)
    first.kill()
    first.wait()
    house.start_worker()
    record = await house.ready(id_)
    assert record["attempts"]["build"] == 2
    await house.shows(record["project"], "survivor")
    assert await house.states(sha, last="success")
    assert len(await house.deployments(project=record["project"])) == 1


async def test_a_worker_frozen_past_its_lease_is_fenced_when_it_wakes(
    own_house: House, name: str
) -> None:
    house = own_house
    house.environ["PUSHLANE_LEASE_SECONDS"] = "2"
    house.start_bot()
    frozen = house.start_worker()
    await house.until_ready()
    worktree = house.repository(name)
    toml = '[build]\ncommand = "echo begun; sleep 1; mkdir out; date +%N > out/index.html"\n'
    sha = await house.push(worktree, {"pushlane.toml": toml + 'output = "out"\n'})
    id_ = await begun(house, sha)
    frozen.send_signal(signal.SIGSTOP)
    house.start_worker()
    record = await house.ready(id_)
    shown = (await house.get(record["project"])).text
    frozen.send_signal(signal.SIGCONT)

    async def noticed() -> bool:
        return "reason=lost" in house.log("worker")

    await until(noticed, why=lambda: house.log("worker"))
    again = await house.record(id_)
    assert (again["status"], again["ended_at"]) == ("ready", record["ended_at"])
    assert (await house.get(record["project"])).text == shown


async def test_a_bot_killed_in_a_fetch_is_replaced_and_the_push_goes_live_once(
    own_house: House, name: str
) -> None:
    house = own_house
    house.start_bot()
    house.start_worker()
    await house.until_ready()
    fault = house.github.faults.add("POST", r"git-upload-pack$", hang=True)
    sha = await house.push(house.repository(name), {"index.html": PAGE.format("refetched")})

    async def fetching() -> bool:
        return fault.hits > 0

    await until(fetching)
    assert house.bot
    house.bot.kill()
    house.bot.wait()
    house.start_bot()
    await house.until_ready()
    record = await house.ready(sha)
    assert record["attempts"]["fetch"] == 2
    await house.shows(record["project"], "refetched")
    assert len(await house.deployments(project=record["project"])) == 1


async def test_a_redis_killed_in_a_build_keeps_what_was_acknowledged_and_nobody_notices(
    tmp_path: Path, seaweedfs: S3, prefix: str, name: str
) -> None:
    password = secrets.token_hex(8)

    async def redis_() -> tuple[str, object]:
        server = await start_valkey(tmp_path / "valkey", password=password, port=0)
        return server.environ["PUSHLANE_REDIS_URL"], server

    url, server = await redis_()
    async with StandIn(tmp_path / "github") as github:
        house = a_house(tmp_path, redis_url=url, s3=seaweedfs, prefix=prefix, github=github)
        try:
            house.start_bot()
            house.start_worker()
            await house.until_ready()
            worktree = house.repository(name)
            files = {"index.html": PAGE.format("kept"), "pushlane.toml": SLOW.format(seconds=3)}
            sha = await house.push(worktree, files)
            id_ = await begun(house, sha)
            server.process.kill()  # type: ignore[attr-defined]
            await server.process.wait()  # type: ignore[attr-defined]

            delivery = await github.send_push(name)
            assert delivery.status_code == 503
            assert delivery.duration < 2.5

            again, server = await redis_()
            assert again == url
            record = await house.ready(id_)
            await house.shows(record["project"], "kept")
            redelivered = await github.redeliver(delivery.guid)
            assert redelivered.status_code == 202
            assert redelivered.answer["deployment"] == id_
            assert len(await house.deployments(project=record["project"])) == 1
        finally:
            await asyncio.to_thread(house.close)
            await server.stop()  # type: ignore[attr-defined]


async def test_a_worker_told_to_end_gives_its_build_back_and_no_attempt_is_lost(
    own_house: House, name: str
) -> None:
    house = own_house
    house.environ["PUSHLANE_STOP_GRACE_SECONDS"] = "0"
    house.start_bot()
    first = house.start_worker()
    await house.until_ready()
    files = {"index.html": PAGE.format("handed on"), "pushlane.toml": SLOW.format(seconds=2)}
    id_ = await begun(house, await house.push(house.repository(name), files))
    first.terminate()
    await asyncio.to_thread(first.wait, 10)
    assert first.returncode == 0, house.log("worker")
    house.start_worker()
    record = await house.ready(id_)
    assert record["attempts"]["build"] == 1


async def test_a_bot_told_to_end_ends_with_exit_code_zero(own_house: House) -> None:
    own_house.start_bot()
    await own_house.until_ready()
    assert own_house.bot
    own_house.bot.terminate()
    assert await asyncio.to_thread(own_house.bot.wait, 10) == 0, own_house.log("bot")
