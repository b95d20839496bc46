"""What an outage of GitHub ended goes on when it is back, once, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.catchup import rounds
from bot.core import keys
from bot.core.deployment import Deployment, Stage, Status, Trigger
from bot.core.ledger import Ending
from tests.builders import claimed
from tests.catchups import Watch, a_watch
from tests.conftest import S3
from tests.ledgers import redis_of


@pytest.fixture
async def watch(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Watch]:
    async with a_watch(valkey, seaweedfs, prefix, tmp_path) as found:
        yield found


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that keep GitHub from harm are of no use to a stand-in."""
    monkeypatch.setattr(rounds, "_BETWEEN_SECONDS", 0.05)
    monkeypatch.setattr(rounds, "_PAUSE_SECONDS", 0.0)


async def given_up(watch: Watch, id_: str, *, code: str = "github_unreachable") -> Deployment:
    """It ends after its last attempt."""
    ledger = watch.yard.door.ledger
    held = await claimed(ledger, id_, Stage.FETCH)
    ending = Ending(status=Status.ERRORED, error_code=code, error_message="away")
    return await ledger.claims.finish(held, ending)


async def a_round(watch: Watch) -> list[Deployment]:
    """A round of a process that has just begun; all deployments, oldest first."""
    watch.yard.github.hook.enabled = True
    name = keys.named(watch.yard.door.ledger.connection.prefix, "catch-up")
    await redis_of(watch.yard.door.ledger).delete(name)
    await watch.catch_up()._turn()
    return await watch.records()


@pytest.mark.parametrize("code", ["github_unreachable", "fetch_timeout"])
async def test_the_newest_push_of_a_branch_is_deployed_when_github_is_back(
    watch: Watch, code: str
) -> None:
    lost = await given_up(watch, await watch.told("First"), code=code)
    first, again = await a_round(watch)
    assert (first.id, again.redeploy_of) == (lost.id, lost.id)
    assert (again.trigger, again.ref, again.commit) == (Trigger.REDEPLOY, lost.ref, lost.commit)
    live = await watch.yard.live(again.id)
    alias = await watch.yard.door.ledger.aliases.get("site")
    assert alias
    assert alias.deployment == live.id


async def test_it_is_taken_up_once_whatever_becomes_of_it(watch: Watch) -> None:
    await given_up(watch, await watch.told("First"))
    _, again = await a_round(watch)
    assert len(await a_round(watch)) == 2
    await given_up(watch, again.id)
    assert len(await a_round(watch)) == 2


async def test_what_failed_for_another_reason_is_left_to_a_person(watch: Watch) -> None:
    await given_up(watch, await watch.told("First"), code="bucket_unreachable")
    assert len(await a_round(watch)) == 1


async def test_what_a_newer_push_has_overtaken_is_left(watch: Watch) -> None:
    await given_up(watch, await watch.told("First"))
    await watch.told("Second")
    assert len(await a_round(watch)) == 2


async def test_what_ended_long_ago_is_left(watch: Watch) -> None:
    lost = await given_up(watch, await watch.told("First"))
    ledger = watch.yard.door.ledger
    name = keys.deployment(ledger.connection.prefix, lost.id)
    await redis_of(ledger).hset(name, "ended_at", lost.ended_at - 43_300_000)
    assert len(await a_round(watch)) == 1


async def test_while_github_is_away_nothing_is_taken_up(watch: Watch) -> None:
    await given_up(watch, await watch.told("First"))
    watch.yard.github.faults.add("GET", "info/refs", status=503, times=None)
    assert len(await a_round(watch)) == 1
