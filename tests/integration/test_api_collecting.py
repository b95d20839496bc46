"""Making room over the API, and what becomes of a deployment whose release is not kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core import keys
from tests.builders import a_removal
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, is_problem
from tests.ledgers import redis_of

GC = "/api/v1/gc"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def forgotten(door: FrontDoor) -> str:
    """A deployment of a branch that was deleted a month ago."""
    old = await door.built("T", branch="topic", at=1)
    await door.ledger.records.remove(a_removal("topic", before="T", at=2))
    name = keys.deployment(door.ledger.connection.prefix, old.id)
    await redis_of(door.ledger).hincrby(name, "ended_at", -30 * 86_400_000)
    return old.id


async def test_a_dry_run_changes_nothing_and_a_round_gives_the_release_up(
    door: FrontDoor,
) -> None:
    id_ = await forgotten(door)
    answer = await door.client.post(f"{GC}?dry_run=1")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["dry_run"], told["complete"], told["stopped"]) == (True, True, "")
    assert told["projects"] == 1
    shares = ("kept", "condemned", "waiting", "deleted", "unknown")
    assert all(isinstance(told[word], dict) for word in shares)
    before = (await door.client.get(f"/api/v1/deployments/{id_}")).json()
    assert before["condemned_at"] is None
    assert before["url"] == before["urls"]["deployment"]

    answer = await door.client.post(GC)
    assert (answer.status_code, answer.json()["dry_run"]) == (200, False)
    after = (await door.client.get(f"/api/v1/deployments/{id_}")).json()
    assert after["condemned_at"] is not None
    assert (after["status"], after["url"]) == ("ready", after["urls"]["page"])
    refused = await door.client.post(f"/api/v1/deployments/{id_}/promote")
    assert is_problem(refused, 409, "release_gone")
    refused = await door.client.post("/api/v1/projects/site/rollback", json={"to": id_})
    assert is_problem(refused, 409, "release_gone")
    again = await door.client.post(f"/api/v1/deployments/{id_}/redeploy")
    assert again.status_code == 202


async def test_while_a_round_is_under_way_another_is_refused_and_a_dry_run_is_not(
    door: FrontDoor,
) -> None:
    assert await door.ledger.collection.take("another", when="now") == "all"
    assert is_problem(await door.client.post(GC), 409, "collecting")
    assert (await door.client.post(f"{GC}?dry_run=true")).status_code == 200
    await door.ledger.collection.ended("another", whole_seconds=None, pause_seconds=0)
    assert (await door.client.post(f"{GC}?dry_run=0")).json()["dry_run"] is False


async def test_what_is_neither_on_nor_off_is_refused(door: FrontDoor) -> None:
    assert is_problem(await door.client.post(f"{GC}?dry_run=maybe"), 400, "dry_run_invalid")
    assert (await door.client.get(GC)).status_code == 405
    headers = {"Authorization": ""}
    assert is_problem(await door.client.post(GC, headers=headers), 401, "token_missing")
