"""Rounds of the catch-up: one at a time, bounded, and never stopped by one project's trouble."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.catchup import rounds
from bot.core import keys
from tests.catchups import Watch, a_watch, following
from tests.conftest import S3
from tests.front import until
from tests.ledgers import redis_of
from tests.relay import relayed

HEADS = "info/refs$"


@pytest.fixture
async def watch(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Watch]:
    async with a_watch(valkey, seaweedfs, prefix, tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that keep GitHub from harm are of no use to a stand-in."""
    monkeypatch.setattr(rounds, "_BETWEEN_SECONDS", 0.05)
    monkeypatch.setattr(rounds, "_PAUSE_SECONDS", 0.0)


async def has(watch: Watch, records: int) -> None:
    """Waits until there are so many deployments."""

    async def there() -> bool:
        return len(await watch.records()) == records

    await until(there)


async def done(watch: Watch) -> float:
    """Waits until a round is done; the seconds until the next is due."""
    wait = 0.0

    async def over() -> bool:
        nonlocal wait
        found = await redis_of(watch.yard.door.ledger).hgetall(
            keys.named(watch.yard.door.ledger.connection.prefix, "catch-up")
        )
        wait = float(found.get("due_at", 0)) / 1000 - time.time()
        return bool(found) and not found["holder"]

    await until(over)
    return wait


async def of_others(watch: Watch, count: int) -> list[str]:
    """So many more repositories, of each of which one push was delivered."""
    names = [f"acme/other-{number}" for number in range(count)]
    for name in names:
        watch.yard.github.create_repository(name)
        number = watch.yard.github.repository(name).id
        await watch.yard.door.push("A", repository=name, repository_id=number)
    return names


async def test_a_round_begins_at_the_start_and_then_when_one_is_wished(watch: Watch) -> None:
    await watch.live()
    await watch.untold("Missed")
    catch_up = watch.catch_up()
    async with following(catch_up):
        await has(watch, 2)
        assert 590 < await done(watch) <= 600
        await watch.untold("Missed too")
        catch_up.soon()
        await has(watch, 3)


async def test_of_several_processes_one_asks(watch: Watch) -> None:
    await watch.live()
    await watch.untold("Missed")
    asked = watch.yard.github.faults.add("GET", HEADS, times=None)
    several = [watch.catch_up() for _ in range(4)]
    waits = sorted(await asyncio.gather(*(each._turn() for each in several)))
    assert waits[0] == 0
    assert 0 < waits[1] <= waits[3] <= rounds.LEASE_SECONDS
    waits = await asyncio.gather(*(each._turn() for each in several))
    assert min(waits) > rounds.LEASE_SECONDS
    # One look that finds something, and one to be sure.
    assert asked.hits == 2
    assert len(await watch.records()) == 2


async def test_a_ledger_without_a_project_has_nothing_to_catch_up_with(watch: Watch) -> None:
    await watch.untold("Old")
    await watch.untold("Older", branch="older")
    everything = watch.yard.github.faults.add("*", "", times=None)
    async with following(watch.catch_up()):
        await done(watch)
    assert everything.hits == 0
    assert await watch.records() == []


async def test_what_was_only_ever_asked_for_by_hand_is_not_followed(watch: Watch) -> None:
    await watch.untold("First")
    await watch.yard.live(await watch.yard.ask())
    await watch.untold("Second")
    async with following(watch.catch_up()):
        await done(watch)
    assert len(await watch.records()) == 1


async def test_a_repository_that_may_not_deploy_any_more_is_left_alone(watch: Watch) -> None:
    await watch.live()
    await watch.untold("Missed")
    door = replace(watch.yard.door, settings=replace(watch.yard.door.settings, repos=("other/*",)))
    strict = replace(watch, yard=replace(watch.yard, door=door))
    async with following(strict.catch_up()):
        await done(watch)
    assert len(await watch.records()) == 1


async def test_a_repository_that_is_gone_stops_no_other_and_is_said_once(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    await watch.live()
    [gone] = await of_others(watch, 1)
    asked = watch.yard.github.faults.add("GET", f"^/{gone}.git/{HEADS}", 404, times=None)
    missed = await watch.untold("Missed")
    catch_up = watch.catch_up()
    async with following(catch_up):
        await has(watch, 3)
        await done(watch)
        assert (await watch.newest()).commit == missed
        await watch.untold("Missed too")
        catch_up.soon()
        await has(watch, 4)
    said = [each for each in caplog.records if "cannot be looked at" in each.message]
    assert [each.levelno for each in said] == [logging.WARNING]
    # It rests meanwhile.
    assert asked.hits == 1


async def test_a_github_that_is_away_is_not_asked_for_project_after_project(
    watch: Watch,
) -> None:
    await of_others(watch, 12)
    asked = watch.yard.github.faults.add("GET", HEADS, 500, times=None)
    async with following(watch.catch_up()):
        assert await done(watch) <= 60
    assert asked.hits <= 4


async def test_two_projects_are_looked_at_at_once_and_no_more(watch: Watch) -> None:
    await of_others(watch, 5)
    asked = watch.yard.github.faults.add("GET", HEADS, hang=True, times=None)
    async with following(watch.catch_up()):

        async def both() -> bool:
            return asked.hits == 2

        await until(both)
        # A push goes past them.
        watch.yard.github.faults.clear()
        await watch.live()
        assert asked.hits == 2
        assert len([line for line in watch.yard.gits() if " ls-remote " in line]) == 2

    async def ended() -> bool:
        return not watch.yard.gits()

    await until(ended)


async def test_after_redis_was_away_what_it_could_not_take_is_caught_up_with(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with relayed(valkey) as (relay, url), a_watch(url, seaweedfs, prefix, tmp_path) as watch:
        await watch.live()
        async with following(watch.catch_up()):
            await done(watch)
            relay.cut()
            watch.yard.tree.commit("Refused")
            await asyncio.to_thread(watch.yard.tree.push)
            await watch.yard.github.settled()
            refused = watch.yard.github.deliveries[-1]
            assert refused.status_code == 503
            relay.restore()
            await has(watch, 2)
            assert (await watch.newest()).commit == watch.yard.tree.head()

            async def told() -> bool:
                delivery = await watch.yard.door.ledger.view.delivery(refused.guid)
                return delivery is not None

            # And GitHub was asked to deliver once more what had failed.
            await until(told)
            delivery = await watch.yard.door.delivery(refused.guid)
            assert delivery.deployment == (await watch.newest()).id
            assert len(await watch.records()) == 2
