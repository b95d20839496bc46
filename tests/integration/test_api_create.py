"""Asking for a deployment over the API, without a push."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.deployment import ID, Stage, Status, Trigger
from tests.builders import claimed, commit, finished, queued
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, is_problem

DEPLOYMENTS = "/api/v1/deployments"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def asked(door: FrontDoor, body: Any, *, key: str = "") -> Any:
    """The answer to the wish for a deployment."""
    headers = {"Idempotency-Key": key} if key else {}
    return await door.client.post(DEPLOYMENTS, json=body, headers=headers)


async def test_of_a_repository_that_was_never_seen_it_makes_the_project(door: FrontDoor) -> None:
    answer = await asked(door, {"repository": "acme/site"})
    assert answer.status_code == 202
    record = answer.json()
    assert ID.fullmatch(record["id"])
    assert answer.headers["location"] == f"{DEPLOYMENTS}/{record['id']}"
    assert (record["project"], record["repository"]) == ("site", "acme/site")
    assert (record["ref"], record["commit"], record["trigger"]) == ("HEAD", "", "manual")
    assert (await door.ledger.view.queue()).fetch == [record["id"]]


async def test_without_a_ref_it_is_of_the_production_branch(door: FrontDoor) -> None:
    await door.built("A", default_branch="trunk", branch="trunk")
    for body in ({"project": "site"}, {"project": "acme/site"}, {"repository": "ACME/Site"}):
        record = (await asked(door, body)).json()
        assert (record["project"], record["ref"]) == ("site", "refs/heads/trunk")
        assert record["production"]


@pytest.mark.parametrize(
    ("ref", "whole"),
    [
        ("main", "refs/heads/main"),
        ("a/b", "refs/heads/a/b"),
        ("refs/heads/main", "refs/heads/main"),
        ("refs/tags/v1", "refs/tags/v1"),
        ("-x", "refs/heads/-x"),
        ("--output=x", "refs/heads/--output=x"),
        ("😀/é", "refs/heads/😀/é"),
        ("$(reboot)", "refs/heads/$(reboot)"),
        ("a" * 39, "refs/heads/" + "a" * 39),
    ],
)
async def test_a_refs_short_name_is_a_branch(door: FrontDoor, ref: str, whole: str) -> None:
    record = (await asked(door, {"repository": "acme/site", "ref": ref})).json()
    assert (record["ref"], record["commit"]) == (whole, "")


async def test_a_sha_is_the_commit_itself(door: FrontDoor) -> None:
    sha = commit("A")
    record = (await asked(door, {"repository": "acme/site", "ref": sha})).json()
    assert (record["ref"], record["commit"]) == (sha, sha)
    assert (record["production"], record["urls"]["branch"]) == (False, None)


@pytest.mark.parametrize(
    "ref",
    [
        "a b", "a..b", "a@{1}", "a//b", "a.lock", "a.lock/b", "a/.b", "a.", "a/", "a~1", "a^",
        "a:b", "a?", "a*", "a[b", "a\\b", "a\0", "a\n", "refs/heads/", "x" * 901,
    ],
)  # fmt: skip
async def test_what_git_takes_for_no_ref_is_refused(door: FrontDoor, ref: str) -> None:
    answer = await asked(door, {"repository": "acme/site", "ref": ref})
    assert is_problem(answer, 400, "ref_invalid")
    assert await door.ledger.view.projects() == []


@pytest.mark.parametrize(
    "repository", ["acme", "/site", "acme/", "acme/..", "a/b/c", "https://x/y", "a b/c", "é/x"]
)
async def test_what_is_no_owner_and_name_is_refused(door: FrontDoor, repository: str) -> None:
    answer = await asked(door, {"repository": repository})
    assert is_problem(answer, 400, "repository_invalid")


async def test_a_project_that_is_not_there_is_404(door: FrontDoor) -> None:
    assert is_problem(await asked(door, {"project": "x"}), 404, "project_not_found")


async def test_what_the_settings_do_not_name_is_403(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as door:
        old = await door.built("A")
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path, repos=("x/*",)) as door:
        for body in ({"repository": "acme/site"}, {"project": "site"}):
            assert is_problem(await asked(door, body), 403, "repository_not_allowed")
        answer = await door.client.post(f"{DEPLOYMENTS}/{old.id}/redeploy")
        assert is_problem(answer, 403, "repository_not_allowed")
        assert await door.count() == 1


async def test_the_same_key_is_the_same_deployment(door: FrontDoor) -> None:
    body = {"repository": "acme/site", "ref": "main"}
    first = (await asked(door, body, key="once")).json()["id"]
    again = await asked(door, body, key="once")
    assert (again.status_code, again.json()["id"]) == (202, first)
    others = {(await asked(door, body, key=key)).json()["id"] for key in ("twice", "", "")}
    assert len(others | {first}) == 4
    answer = await asked(door, body, key="k" * 256)
    assert is_problem(answer, 400, "idempotency_key_invalid")


async def test_a_manual_one_supersedes_nothing_and_rings_high(door: FrontDoor) -> None:
    pushed = await queued(door.ledger, await door.pushed("A", branch="topic"))
    id_ = (await asked(door, {"project": "site", "ref": "topic"})).json()["id"]
    held = await claimed(door.ledger, id_, Stage.FETCH)
    assert held.trigger is Trigger.MANUAL
    await door.ledger.claims.advance(held, Status.QUEUED, commit=commit("A"))
    assert (await door.ledger.view.queue()).high == [id_]
    assert (await finished(door.ledger, pushed.id)).status is Status.READY


async def test_a_key_that_came_with_another_request_is_refused(door: FrontDoor) -> None:
    first = await asked(door, {"repository": "acme/site"}, key="k")
    assert first.status_code == 202
    again = await asked(door, {"repository": "acme/site"}, key="k")
    assert again.json()["id"] == first.json()["id"]
    other = await asked(door, {"repository": "acme/other"}, key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_few_digits_name_a_commit_that_was_deployed_before(door: FrontDoor) -> None:
    built = await door.built("A")
    record = (await asked(door, {"project": "site", "ref": built.commit[:7]})).json()
    assert (record["commit"], record["ref"]) == (built.commit, built.commit)
    other = (await asked(door, {"project": "site", "ref": "0123abc"})).json()
    assert (other["commit"], other["ref"]) == ("", "refs/heads/0123abc")
