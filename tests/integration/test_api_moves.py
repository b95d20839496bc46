"""What may be done to a deployment over the API: redeploy, cancel, promote, roll back, unpin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.deployment import Stage, Status, branch_label, deployment_label
from bot.core.ledger import Answer, Ending, Verdict
from tests.builders import built, claimed, commit, queued
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, is_problem

V1 = "/api/v1"
NOBODY = "d0123456789abcdef"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def told(door: FrontDoor, id_: str, verb: str, *, key: str = "", body: Any = None) -> Any:
    """The answer to a verb on a deployment, or on a project where `id_` is a slug."""
    where = "projects" if verb in ("rollback", "unpin") else "deployments"
    headers = {"Idempotency-Key": key} if key else {}
    more = {} if body is None else {"json": body}
    return await door.client.post(f"{V1}/{where}/{id_}/{verb}", headers=headers, **more)


async def shown(door: FrontDoor, label: str = "site") -> str:
    """The id of what a host shows; empty for nothing."""
    alias = await door.ledger.aliases.get(label)
    return alias.deployment if alias else ""


def moved(id_: str, previous: str, *, pinned: bool) -> dict[str, Any]:
    """The answer to a move of the site's production."""
    return {
        "alias": "site",
        "url": "http://site.localhost:8000",
        "deployment": id_,
        "previous": previous,
        "pinned": pinned,
    }


class TestRedeploy:
    """The same commit, built anew."""

    async def test_it_is_a_new_deployment_of_the_same_commit(self, door: FrontDoor) -> None:
        old = await door.built("A", message="Fix", branch="topic")
        answer = await told(door, old.id, "redeploy")
        assert answer.status_code == 202
        record = answer.json()
        assert answer.headers["location"] == f"{V1}/deployments/{record['id']}"
        assert record["id"] != old.id
        assert (record["trigger"], record["redeploy_of"]) == ("redeploy", old.id)
        assert (record["ref"], record["commit"]) == (old.ref, commit("A"))
        assert (record["message"], record["author"]) == ("Fix", "octocat")
        assert (record["status"], record["attempts"]) == ("received", {"fetch": 0, "build": 0})

    async def test_of_the_newest_it_goes_live_and_of_an_older_one_it_says_why_not(
        self, door: FrontDoor
    ) -> None:
        first = await door.built("A", at=1)
        second = await door.built("B", before="A", at=2)
        for old, live in ((second, True), (first, False)):
            id_ = (await told(door, old.id, "redeploy")).json()["id"]
            ready = await built(door.ledger, Answer(outcome="recorded", deployment=id_))
            assert await shown(door, deployment_label(id_, "site")) == id_
            assert (await shown(door) == id_) is live
            assert (await shown(door, branch_label("main", "site")) == id_) is live
            assert ready.reason == (
                ""
                if live
                else "built, not live: its branch has a newer commit; promote it to make it live"
            )

    async def test_with_the_same_key_it_is_the_same_one(self, door: FrontDoor) -> None:
        old = await door.built("A")
        other = await door.built("B", branch="topic")
        first = (await told(door, old.id, "redeploy", key="k")).json()["id"]
        assert (await told(door, old.id, "redeploy", key="k")).json()["id"] == first
        assert (await told(door, other.id, "redeploy", key="k")).json()["id"] != first
        assert (await told(door, old.id, "redeploy")).json()["id"] != first

    async def test_of_one_that_waits_it_is_one_more(self, door: FrontDoor) -> None:
        id_ = await door.push("A")
        answer = await told(door, id_, "redeploy")
        assert (answer.status_code, answer.json()["commit"]) == (202, commit("A"))
        assert (await door.record(id_)).status is Status.RECEIVED


class TestCancel:
    """Calling a deployment off."""

    async def test_one_that_waits_ends_at_once(self, door: FrontDoor) -> None:
        received = await door.push("A")
        fetched = await queued(door.ledger, await door.pushed("B", branch="topic"))
        for id_ in (received, fetched.id):
            found = await told(door, id_, "cancel")
            assert found.status_code == 202
            assert found.json()["outcome"] == "cancelled"
            record = found.json()["deployment"]
            assert (record["status"], record["reason"]) == ("cancelled", "on request")
            assert record["ended_at"]
        queue = await door.ledger.view.queue()
        assert queue.fetch + queue.high + queue.normal == []

    async def test_one_that_is_worked_on_is_asked_to_stop(self, door: FrontDoor) -> None:
        first = await queued(door.ledger, await door.pushed("A"))
        held = await claimed(door.ledger, first.id, Stage.BUILD)
        for _ in range(2):
            found = await told(door, held.id, "cancel")
            assert (found.status_code, found.json()["outcome"]) == (202, "stopping")
            assert found.json()["deployment"]["stop"] == "cancelled"
            assert found.json()["deployment"]["status"] == "building"
        assert await door.ledger.claims.extend(held) is Verdict.CANCELLED
        await door.ledger.claims.finish(held, Ending(status=Status.FAILED))
        again = await told(door, held.id, "cancel")
        assert (again.status_code, again.json()["outcome"]) == (202, "cancelled")

    @pytest.mark.parametrize("status", [Status.READY, Status.FAILED, Status.ERRORED])
    async def test_one_that_has_ended_cannot_be(self, door: FrontDoor, status: Status) -> None:
        ended = await door.built("A", status=status)
        answer = await told(door, ended.id, "cancel")
        assert is_problem(answer, 409, "already_ended")
        assert status.value in answer.json()["detail"]
        assert (await door.record(ended.id)).status is status


class TestPromote:
    """Production, pointed at a release by hand."""

    async def test_an_older_one_is_pinned_and_the_newest_unpins(self, door: FrontDoor) -> None:
        first = (await door.built("A", at=1)).id
        second = (await door.built("B", before="A", at=2)).id
        answer = await told(door, first, "promote")
        assert (answer.status_code, answer.json()) == (200, moved(first, second, pinned=True))
        assert await shown(door) == first
        third = await door.built("C", before="B", at=3)
        assert third.reason == "built, not live: production is pinned"
        assert await shown(door) == first
        answer = await told(door, third.id, "promote")
        assert answer.json() == moved(third.id, first, pinned=False)
        fourth = await door.built("D", before="C", at=4)
        assert await shown(door) == fourth.id

    async def test_a_preview_can_be_production(self, door: FrontDoor) -> None:
        main = (await door.built("A")).id
        preview = (await door.built("B", branch="topic")).id
        answer = await told(door, preview, "promote")
        assert answer.json() == moved(preview, main, pinned=True)

    async def test_what_has_no_release_cannot_be(self, door: FrontDoor) -> None:
        failed = await door.built("A", status=Status.FAILED)
        waits = await door.push("B", branch="topic")
        for id_ in (failed.id, waits):
            assert is_problem(await told(door, id_, "promote"), 409, "not_ready")
        assert await shown(door) == ""


class TestRollback:
    """Production, back to what it was."""

    async def test_it_goes_back_one_by_one_and_unpin_goes_on(self, door: FrontDoor) -> None:
        ids = [(await door.built(name, at=n)).id for n, name in enumerate("ABC")]
        answer = await told(door, "site", "rollback")
        assert (answer.status_code, answer.json()) == (200, moved(ids[1], ids[2], pinned=True))
        answer = await told(door, "site", "rollback")
        assert answer.json() == moved(ids[0], ids[1], pinned=True)
        answer = await told(door, "site", "rollback")
        assert is_problem(answer, 409, "nothing_to_roll_back_to")
        assert await shown(door) == ids[0]
        answer = await told(door, "site", "unpin")
        assert (answer.status_code, answer.json()) == (200, moved(ids[2], ids[0], pinned=False))
        assert await shown(door) == ids[2]

    async def test_it_goes_to_the_one_that_is_named(self, door: FrontDoor) -> None:
        ids = [(await door.built(name, at=n)).id for n, name in enumerate("ABC")]
        answer = await told(door, "site", "rollback", body={"to": ids[0]})
        assert answer.json() == moved(ids[0], ids[2], pinned=True)

    async def test_it_goes_to_no_other_projects_and_to_none_without_a_release(
        self, door: FrontDoor
    ) -> None:
        await door.built("A")
        other = await door.built("A", repository="other/blog", repository_id=8)
        failed = await door.built("B", status=Status.FAILED, branch="topic")
        for to, status, code in (
            (other.id, 404, "not_found"), (NOBODY, 404, "not_found"), (failed.id, 409, "not_ready"),
        ):  # fmt: skip
            assert is_problem(await told(door, "site", "rollback", body={"to": to}), status, code)

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"to": 5}', b'{"id": "x"}'])
    async def test_a_body_that_is_wrong_moves_nothing(self, door: FrontDoor, body: bytes) -> None:
        await door.built("A", at=1)
        newest = await door.built("B", at=2)
        answer = await door.client.post(f"{V1}/projects/site/rollback", content=body)
        assert is_problem(answer, 400, "body_malformed")
        assert await shown(door) == newest.id

    async def test_where_nothing_was_ever_live_there_is_nothing_to_go_to(
        self, door: FrontDoor
    ) -> None:
        await door.push("A")
        for verb in ("unpin", "rollback"):
            answer = await told(door, "site", verb)
            assert is_problem(answer, 409, "nothing_to_roll_back_to")


@pytest.mark.parametrize("verb", ["rollback", "unpin", "promote"])
async def test_with_the_same_key_a_move_is_made_once(door: FrontDoor, verb: str) -> None:
    ids = [(await door.built(name, at=n)).id for n, name in enumerate("ABC")]
    name = ids[0] if verb == "promote" else "site"
    answers = await asyncio.gather(*(told(door, name, verb, key="once") for _ in range(5)))
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].status_code == 200
    alias = await door.ledger.aliases.get("site")
    assert alias is not None
    assert alias.deployment == {"rollback": ids[1], "unpin": ids[2], "promote": ids[0]}[verb]
    seq = alias.seq
    again = await told(door, name, verb, key="once")
    assert again.text == answers[0].text
    alias = await door.ledger.aliases.get("site")
    assert alias is not None
    assert alias.seq == seq
