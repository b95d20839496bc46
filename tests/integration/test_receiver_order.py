"""Deliveries late, doubled and out of order: what a branch shows in the end is what it holds."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.deployment import Stage, Status, branch_label
from tests.builders import ZERO
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload

TOPIC = branch_label("topic", "site")


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def shown(door: FrontDoor, label: str = "site") -> str:
    """The id of what a host shows; empty for nothing."""
    alias = await door.ledger.aliases.get(label)
    return alias.deployment if alias else ""


async def removed(
    door: FrontDoor, *, before: str, at: int, guid: str = "", sender: str = "octocat"
) -> dict[str, Any]:
    """Delivers the deletion of the branch `topic`; the answer."""
    payload = a_payload(ZERO, before=before, branch="topic", at=at, sender=sender)
    answer = await door.send(payload, guid=guid)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_pushed_back_and_forth_each_push_is_deployed(door: FrontDoor) -> None:
    await door.built("A", at=1)
    await door.built("B", before="A", at=2)
    await door.built("A", before="B", at=3)
    last = await door.built("B", before="A", at=4)
    assert await door.count() == 4
    assert await shown(door) == last.id


@pytest.mark.parametrize("seconds", [(1, 2, 3, 4), (1, 1, 1, 1)])
async def test_a_push_that_comes_late_is_recorded_as_superseded_and_goes_nowhere(
    door: FrontDoor, seconds: tuple[int, ...]
) -> None:
    chain = list(zip("ABCD", (ZERO, "A", "B", "C"), seconds, strict=True))
    newest = await door.push("D", before="C", at=seconds[3])
    for name, before, at in reversed(chain[:3]):
        answer = await door.send(a_payload(name, before=before, at=at), guid=f"guid-{name}")
        assert answer.status_code == 202
        late = await door.record(answer.json()["deployment"])
        assert late.status is Status.SUPERSEDED
        assert late.reason == "a newer push of this branch came first"
        noted = await door.delivery(f"guid-{name}")
        assert (noted.outcome, noted.deployment) == ("superseded", late.id)
        assert noted.rule == "a newer push of this branch came first"
    assert (await door.ledger.view.queue()).fetch == [newest]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
async def test_in_whatever_order_three_pushes_come_the_newest_is_what_is_left(
    door: FrontDoor, order: tuple[int, ...]
) -> None:
    pushes = [("A", ZERO, 1), ("B", "A", 2), ("C", "B", 3)]
    ids = {}
    for number in order:
        name, before, at = pushes[number]
        ids[name] = await door.push(name, before=before, at=at)
    held = await door.ledger.claims.claim(ids["C"], Stage.FETCH)
    assert held.deployment is not None
    assert held.deployment.id == ids["C"]
    await door.ledger.claims.advance(held.deployment, Status.QUEUED)
    statuses = {name: (await door.record(id_)).status for name, id_ in ids.items()}
    assert statuses == {
        "A": Status.SUPERSEDED, "B": Status.SUPERSEDED, "C": Status.QUEUED,
    }  # fmt: skip


async def test_a_forced_push_back_to_an_older_commit_deploys_that(door: FrontDoor) -> None:
    first = await door.built("A", at=1)
    await door.built("B", before="A", at=2)
    back = await door.built("A", before="B", forced=True, at=3)
    assert back.id != first.id
    assert await shown(door) == back.id


async def test_the_newest_commit_told_once_more_is_the_deployment_that_there_is(
    door: FrontDoor,
) -> None:
    first = await door.push("A", at=1)
    answer = await door.send(a_payload("A", before="Z", at=5), guid="again")
    assert answer.json()["deployment"] == first
    noted = await door.delivery("again")
    assert (noted.outcome, noted.deployment) == ("repeated", first)
    assert noted.rule == "its commit is the newest of this branch already"


class TestDeletions:
    """A branch that is deleted, in time, late, twice, and made again."""

    async def test_it_takes_the_branch_down_and_says_so(self, door: FrontDoor) -> None:
        built = await door.built("A", branch="topic", at=1)
        waiting = await door.push("B", before="A", branch="topic", at=2)
        assert await shown(door, TOPIC) == built.id
        answer = await removed(door, before="B", at=3, guid="g")
        assert answer == {
            "ignored": "the branch was deleted: its alias is gone, and what was being built for "
            "it stops",
            "removed": "topic",
        }
        assert await shown(door, TOPIC) == ""
        stopped = await door.record(waiting)
        assert stopped.status is Status.CANCELLED
        assert stopped.reason == "its branch was deleted"
        noted = await door.delivery("g")
        assert (noted.outcome, noted.rule) == ("removed", "the branch was deleted")
        assert (noted.event, noted.ref) == ("push", "refs/heads/topic")

    async def test_twice_it_is_the_same_one_and_noted_under_each_guid(
        self, door: FrontDoor
    ) -> None:
        await door.built("A", branch="topic", at=1)
        await removed(door, before="A", at=2, guid="g1")
        for guid in ("g1", "g2"):
            answer = await removed(door, before="A", at=2, guid=guid)
            assert answer == {"ignored": "this deletion was delivered before"}
        assert (await door.delivery("g1")).outcome == "removed"
        noted = await door.delivery("g2")
        assert (noted.outcome, noted.rule) == (
            "repeated", "this very body was delivered before",
        )  # fmt: skip

    async def test_of_a_repository_without_a_project_it_is_nothing(self, door: FrontDoor) -> None:
        answer = await removed(door, before="A", at=1, guid="g")
        assert answer == {
            "ignored": "a branch was deleted of a repository that has no project here"
        }
        assert (await door.delivery("g")).outcome == "ignored"
        assert await door.ledger.view.projects() == []

    @pytest.mark.parametrize("commit", ["A", "B"])
    @pytest.mark.parametrize("second", [0, 1])
    async def test_made_again_the_branch_is_deployed_again(
        self, door: FrontDoor, commit: str, second: int
    ) -> None:
        await door.built("A", branch="topic", at=1)
        await removed(door, before="A", at=1 + second)
        again = await door.built(commit, branch="topic", at=1 + 2 * second, base_ref="x")
        assert await shown(door, TOPIC) == again.id

    @pytest.mark.parametrize("commit", ["A", "B"])
    @pytest.mark.parametrize("second", [0, 1])
    async def test_later_than_what_made_the_branch_again_it_takes_nothing_down(
        self, door: FrontDoor, commit: str, second: int
    ) -> None:
        old = await door.built("A", before="Z", branch="topic", at=1)
        payload = a_payload(commit, branch="topic", at=2 + second)
        again = (await door.send(payload)).json()["deployment"]
        assert (again == old.id) is (commit == "A")
        answer = await removed(door, before="A", at=2, guid="late")
        assert answer == {"ignored": "the branch was pushed again after this deletion"}
        assert (await door.delivery("late")).outcome == "late"
        assert await shown(door, TOPIC) == old.id
        assert (await door.record(again)).status is not Status.CANCELLED
        answer = await removed(door, before=commit, at=2 + second, sender="ada")
        assert answer["removed"] == "topic"
        assert await shown(door, TOPIC) == ""

    async def test_what_was_pushed_before_it_and_comes_after_it_stays_down(
        self, door: FrontDoor
    ) -> None:
        await door.built("A", branch="topic", at=1)
        await removed(door, before="B", at=2)
        for at in (1, 2):
            late = await door.push("B", before="A", branch="topic", at=at, base_ref=str(at))
            assert (await door.record(late)).status is Status.SUPERSEDED
        assert await shown(door, TOPIC) == ""

    async def test_production_is_never_taken_down(self, door: FrontDoor) -> None:
        built = await door.built("A", at=1)
        await door.send(a_payload(ZERO, before="A", at=2))
        assert await shown(door) == built.id
        assert await shown(door, branch_label("main", "site")) == ""
