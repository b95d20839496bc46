"""What GitHub could not deliver, or never sent, goes live all the same, by nobody's hand."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from bot.core import keys
from bot.core.ledger import Head, open_ledger
from bot.embedded import start_valkey
from tests.acceptance.house import PAGE, House, Record, a_house, branch_host, until
from tests.conftest import S3
from tests.ledgers import redis_of
from tests.standin import StandIn, Worktree


async def started(house: House) -> None:
    """Starts the bot and a worker."""
    house.start_bot()
    house.start_worker()
    await house.until_ready()


async def stopped(house: House, *, hard: bool = True) -> None:
    """Ends the bot, and waits for that."""
    assert house.bot
    if hard:
        house.bot.kill()
    else:
        house.bot.terminate()
    await asyncio.to_thread(house.bot.wait, 10)


async def restarted(house: House) -> None:
    house.start_bot()
    await house.until_ready()


async def live(house: House, worktree: Worktree, words: str, *, branch: str = "main") -> Record:
    """Pushes a page and waits until it is live; the record."""
    sha = await house.push(worktree, {"index.html": PAGE.format(words)}, branch=branch)
    record = await house.ready(sha)
    await house.shows(branch_host(record), words)
    return record


async def known(house: House, sha: str, *, seconds: float = 20) -> Record:
    """Waits until there is a deployment of the commit."""

    async def there() -> bool:
        return any(each["commit"] == sha for each in await house.deployments())

    await until(there, seconds=seconds, why=lambda: house.log("bot")[-3000:])
    return await house.of(sha)


async def grown_old(house: House, record: Record) -> None:
    """Lets a branch's newest delivery be of long ago: no server of GitHub's can lag any more."""
    prefix = house.environ["PUSHLANE_REDIS_PREFIX"]
    ledger = open_ledger(house.environ["PUSHLANE_REDIS_URL"], prefix=prefix)
    name, ref = keys.named(prefix, f"heads:{record['project']}"), record["ref"]
    head = Head.of(await redis_of(ledger).hget(name, ref))
    await redis_of(ledger).hset(name, ref, f"{head.commit} {head.seq} {head.at - 3_600_000}")
    await ledger.aclose()


@pytest.mark.parametrize("hard", [True, False])
async def test_a_push_made_while_the_bot_was_down_goes_live_after_its_start(
    own_house: House, name: str, hard: bool
) -> None:
    house = own_house
    await started(house)
    worktree = house.repository(name)
    first = await live(house, worktree, "before")
    await stopped(house, hard=hard)
    passed_over = await house.push(worktree, {"index.html": PAGE.format("between")})
    missed = await house.push(worktree, {"index.html": PAGE.format("missed")})
    fresh = await house.push(worktree, {"index.html": PAGE.format("fresh")}, branch="fresh")
    assert {each.status_code for each in house.github.deliveries[-3:]} == {502}

    await restarted(house)
    record = await known(house, missed)
    assert (await house.ready(record["id"]))["delivery"] == ""
    await house.shows(first["project"], "missed")
    await house.shows(branch_host(await house.ready((await known(house, fresh))["id"])), "fresh")
    assert await house.states(missed, last="success")
    assert "Caught up" in await house.build_log(record["id"])
    shas = [each["commit"] for each in await house.deployments(project=first["project"])]
    assert sorted(shas) == sorted([first["commit"], missed, fresh])
    assert passed_over not in shas


async def test_a_branch_deleted_while_the_bot_was_down_loses_its_host(
    own_house: House, name: str
) -> None:
    house = own_house
    await started(house)
    worktree = house.repository(name)
    main = await live(house, worktree, "main")
    topic = await live(house, worktree, "topic", branch="topic")
    await stopped(house)
    await asyncio.to_thread(worktree.delete_branch, "topic")
    await house.github.settled()
    await grown_old(house, topic)
    await restarted(house)

    async def gone() -> bool:
        return (await house.get(branch_host(topic))).status_code in (404, 410)

    await until(gone, why=lambda: house.log("bot")[-3000:])
    await house.shows(main["project"], "main")


async def test_a_push_that_github_never_sends_goes_live_within_a_round(
    own_house: House, name: str
) -> None:
    house = own_house
    house.environ["PUSHLANE_CATCH_UP_SECONDS"] = "1"
    await started(house)
    worktree = house.repository(name)
    first = await live(house, worktree, "told")
    house.github.hook.enabled = False
    untold = await house.push(worktree, {"index.html": PAGE.format("untold")})
    await house.ready((await known(house, untold))["id"])
    await house.shows(first["project"], "untold")
    # And the next that is told again goes on from there.
    house.github.hook.enabled = True
    await live(house, worktree, "told again")


async def test_a_delivery_that_comes_after_the_catch_up_leads_to_the_same_deployment(
    own_house: House, name: str
) -> None:
    house = own_house
    house.environ["PUSHLANE_CATCH_UP_SECONDS"] = "1"
    await started(house)
    worktree = house.repository(name)
    first = await live(house, worktree, "first")
    house.github.hook.hold = True
    older = await house.push(worktree, {"index.html": PAGE.format("older")})
    first_found = await known(house, older)
    newer = await house.push(worktree, {"index.html": PAGE.format("newer")})
    record = await house.ready((await known(house, newer))["id"])
    for late in await house.github.release("reversed"):
        assert late.status_code == 202, late.response_body
    newest, oldest = house.github.deliveries[-2:]
    assert newest.answer["deployment"] == record["id"]
    assert oldest.answer["deployment"] == first_found["id"]
    assert (await house.record(record["id"]))["delivery"] == newest.guid
    assert len(await house.deployments(project=first["project"])) == 3
    await house.shows(first["project"], "newer")


async def test_a_first_start_builds_nothing_of_what_is_there_already(
    own_house: House, name: str
) -> None:
    house = own_house
    house.environ["PUSHLANE_CATCH_UP_SECONDS"] = "1"
    house.github.hook.enabled = False
    worktree = house.repository(name)
    for branch in ("main", "old", "older"):
        await house.push(worktree, {"index.html": PAGE.format(branch)}, branch=branch)
    asked = house.github.faults.add("GET", "info/refs$", times=None)
    await started(house)
    assert await house.deployments() == []
    house.github.hook.enabled = True
    record = await live(house, worktree, "first")

    async def looked() -> bool:
        return asked.hits > 6

    # The fetch, its first look, and then one look after the other.
    await until(looked, why=lambda: house.log("bot"))
    assert [each["id"] for each in await house.deployments()] == [record["id"]]


async def test_what_was_refused_while_redis_was_down_is_deployed_once_when_it_is_back(
    tmp_path: Path, seaweedfs: S3, prefix: str, name: str
) -> None:
    password = secrets.token_hex(8)
    server = await start_valkey(tmp_path / "valkey", password=password, port=0)
    url = server.environ["PUSHLANE_REDIS_URL"]
    async with StandIn(tmp_path / "github") as github:
        house = a_house(tmp_path, redis_url=url, s3=seaweedfs, prefix=prefix, github=github)
        house.environ["PUSHLANE_GITHUB_TOKEN"] = github.access.allow(
            scopes=["repo", "admin:repo_hook"]
        )
        try:
            await started(house)
            worktree = house.repository(name)
            first = await live(house, worktree, "before")
            await server.stop()
            refused = await house.push(worktree, {"index.html": PAGE.format("refused")})
            delivery = github.deliveries[-1]
            assert delivery.status_code == 503

            server = await start_valkey(tmp_path / "valkey", password=password, port=0)
            assert server.environ["PUSHLANE_REDIS_URL"] == url
            record = await house.ready((await known(house, refused, seconds=40))["id"])
            await house.shows(first["project"], "refused")

            async def told() -> bool:
                answer = await house.call("GET", f"/api/v1/deliveries/{delivery.guid}")
                return answer.is_success and answer.json()["deployment"] == record["id"]

            # GitHub was asked to deliver it once more, so that its GUID has an answer too.
            await until(told, why=lambda: house.log("bot")[-3000:])
            assert len(await house.deployments(project=first["project"])) == 2
        finally:
            await asyncio.to_thread(house.close)
            await server.stop()
