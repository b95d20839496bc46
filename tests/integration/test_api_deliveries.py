"""What the API shows of deliveries, let in or not, and what it does when one is taken up again."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status
from bot.core.ledger import Ending
from tests.builders import ZERO, claimed, commit, finished, queued
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload, is_problem
from tests.ledgers import redis_of

DELIVERIES = "/api/v1/deliveries"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def got(door: FrontDoor, path: str = "") -> Any:
    """The JSON of what is there below /deliveries."""
    answer = await door.client.get(DELIVERIES + path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def why(door: FrontDoor, guid: str) -> tuple[str | None, str]:
    """The deployment's status, and the answer in words."""
    found = await got(door, f"/{guid}")
    return found["status"], found["why"]


async def redelivered(door: FrontDoor, guid: str) -> tuple[int, dict[str, Any]]:
    answer = await door.client.post(f"{DELIVERIES}/{guid}/redeliver")
    return answer.status_code, answer.json()


def incompressible(size: int) -> dict[str, Any]:
    """A push that no compression makes much smaller."""
    return a_payload("A") | {"padding": secrets.token_hex(size)}


class TestShown:
    """One delivery: all that is known of it, and what has become of it."""

    async def test_it_tells_what_it_led_to_and_by_which_rule(self, door: FrontDoor) -> None:
        body = json.dumps(a_payload("B", before="A")).encode()
        id_ = (await door.send(body, guid="guid-1")).json()["deployment"]
        found = await got(door, "/guid-1")
        assert datetime.fromisoformat(found.pop("at")).timestamp() > 1_700_000_000
        assert found == {
            "guid": "guid-1",
            "event": "push",
            "repository": "acme/site",
            "project": "site",
            "ref": "refs/heads/main",
            "before": commit("A"),
            "after": commit("B"),
            "outcome": "recorded",
            "rule": "a new push of a branch",
            "deployment": id_,
            "deployments": [id_],
            "signature": "valid",
            "answer": 202,
            "size": len(body),
            "status": "received",
            "why": f"it led to {id_}; its source waits to be fetched",
            "payload_kept": True,
        }

    async def test_what_led_to_nothing_has_no_deployment(self, door: FrontDoor) -> None:
        await door.send({"zen": "…"}, event="ping", guid="guid-2")
        found = await got(door, "/guid-2")
        assert (found["event"], found["outcome"], found["answer"]) == ("ping", "ignored", 200)
        assert (found["project"], found["deployment"], found["status"]) == (None, None, None)
        assert found["why"] == "nothing was built (ping: the webhook works)"

    @pytest.mark.parametrize("form", [False, True])
    async def test_the_payload_is_given_as_json_however_it_came(
        self, door: FrontDoor, form: bool
    ) -> None:
        payload = a_payload("A", message="é & 😀 + 1")
        body: Any = urlencode({"payload": json.dumps(payload)}).encode() if form else payload
        await door.send(body, guid="g", headers=FORM if form else None)
        answer = await door.client.get(f"{DELIVERIES}/g?payload=1")
        assert (answer.status_code, answer.json()) == (200, payload)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"

    async def test_a_large_payload_is_kept_when_it_compresses_well(self, door: FrontDoor) -> None:
        payload = a_payload("A") | {"padding": "x" * 3_000_000}
        assert (await door.send(payload, guid="g")).status_code == 202
        assert (await got(door, "/g"))["payload_kept"]
        assert await got(door, "/g?payload=1") == payload

    async def test_one_that_stays_large_is_not_kept_and_that_is_said(self, door: FrontDoor) -> None:
        assert (await door.send(incompressible(400_000), guid="g")).status_code == 202
        found = await got(door, "/g")
        assert (found["outcome"], found["payload_kept"]) == ("recorded", False)
        assert found["size"] > 800_000
        answer = await door.client.get(f"{DELIVERIES}/g?payload=1")
        assert is_problem(answer, 404, "payload_not_kept")

    @pytest.mark.parametrize("guid", ["x", "%F0%9F%98%80", "a%00b", "%FF", "x" * 5000, "*"])
    async def test_an_unknown_guid_is_404(self, door: FrontDoor, guid: str) -> None:
        for method, path in (("GET", ""), ("POST", "/redeliver")):
            answer = await door.client.request(method, f"{DELIVERIES}/{guid}{path}")
            assert is_problem(answer, 404, "delivery_not_found")


class TestWhy:
    """Why did my push not deploy? Each push has an answer, from its delivery on."""

    async def test_of_pushes_of_one_branch_each_knows_what_became_of_it(
        self, door: FrontDoor
    ) -> None:
        for number, name in enumerate("AB"):
            await door.send(a_payload(name, at=number), guid=name)
        await door.send(a_payload("late", at=-5), guid="late")
        first, second = [(await got(door, f"/{name}"))["deployment"] for name in "AB"]
        await queued(door.ledger, await door.pushed("B", at=1))
        assert await why(door, "A") == (
            "superseded",
            f"it led to {first}; it was superseded: a newer push of this branch came",
        )
        assert await why(door, "B") == ("queued", f"it led to {second}; it waits for a worker")
        await finished(door.ledger, second)
        assert await why(door, "B") == ("ready", f"it led to {second}; it is live")
        status, words = await why(door, "late")
        assert status == "superseded"
        assert words.endswith("it was superseded: a newer push of this branch came first")

    async def test_it_says_what_failed_was_skipped_or_called_off(self, door: FrontDoor) -> None:
        names = ("failed", "skipped", "cancelled")
        for name in names:
            await door.send(a_payload(name, branch=name), guid=name)
        ids = {name: (await door.delivery(name)).deployment for name in names}
        held = await claimed(door.ledger, ids["failed"], Stage.FETCH)
        await door.ledger.claims.finish(
            held,
            Ending(status=Status.FAILED, error_code="no_output", error_message="no dist\n  there"),
        )
        held = await claimed(door.ledger, ids["skipped"], Stage.FETCH)
        await door.ledger.claims.finish(
            held, Ending(status=Status.SKIPPED, reason="[skip ci] in the message")
        )
        await door.ledger.records.cancel(ids["cancelled"], reason="on request")
        led = f"it led to {ids['failed']}"
        assert await why(door, "failed") == (
            "failed", f"{led}; its build failed: no dist there (no_output)",
        )  # fmt: skip
        assert (await why(door, "skipped"))[1].endswith("it was skipped: [skip ci] in the message")
        assert (await why(door, "cancelled"))[1].endswith("it was cancelled: on request")

    async def test_a_pinned_production_is_named_until_it_shows_the_push(
        self, door: FrontDoor
    ) -> None:
        old = await door.built("A", at=1)
        await door.built("B", at=2)
        await door.ledger.aliases.promote(old.id)
        await door.send(a_payload("C", at=3), guid="C")
        await queued(door.ledger, await door.pushed("C", at=3))
        id_ = (await got(door, "/C"))["deployment"]
        await finished(door.ledger, id_)
        assert (await why(door, "C"))[1].endswith("built, not live: production is pinned")
        await door.ledger.aliases.unpin("site")
        assert (await why(door, "C"))[1] == f"it led to {id_}; it is live"

    async def test_a_record_that_is_gone_leaves_an_answer(self, door: FrontDoor) -> None:
        id_ = (await door.send(a_payload("A"), guid="g")).json()["deployment"]
        await redis_of(door.ledger).delete(keys.deployment(door.settings.redis_prefix, id_))
        assert await why(door, "g") == (None, f"it led to {id_}, whose record is no longer kept")


class TestList:
    """Deliveries of the last thirty days, newest first."""

    async def test_it_is_paged_and_filtered(self, door: FrontDoor) -> None:
        assert await got(door) == {"deliveries": [], "cursor": None}
        for number in range(5):
            await door.send(a_payload(f"{number}", branch=f"b{number}"), guid=f"g{number}")
        await door.send({"zen": "…"}, event="ping", guid="ping")
        page = await got(door, "?limit=4")
        assert [each["guid"] for each in page["deliveries"]] == ["ping", "g4", "g3", "g2"]
        rest = await got(door, f"?limit=4&cursor={page['cursor']}")
        assert [each["guid"] for each in rest["deliveries"]] == ["g1", "g0"]
        assert rest["cursor"] is None
        one = page["deliveries"][1]
        whole = await got(door, "/g4")
        assert one == {name: whole[name] for name in one}
        assert set(whole) - set(one) == {"deployments", "status", "why", "payload_kept"}

        async def guids(query: str) -> list[str]:
            return [each["guid"] for each in (await got(door, query))["deliveries"]]

        assert await guids("?outcome=ignored") == ["ping"]
        assert await guids("?project=site") == ["g4", "g3", "g2", "g1", "g0"]
        assert await guids("?project=acme/site&limit=1") == ["g4"]
        assert await guids("?repository=Acme/Site&outcome=recorded&limit=2") == ["g4", "g3"]
        assert await guids("?repository=acme/none") == []

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ("outcome=deployed", 400, "query_invalid"),
            ("cursor=x", 400, "query_invalid"),
            ("limit=0", 400, "query_invalid"),
            ("limit=101", 400, "query_invalid"),
            ("project=none", 404, "project_not_found"),
        ],
    )
    async def test_what_is_asked_wrongly_is_said(
        self, door: FrontDoor, query: str, status: int, code: str
    ) -> None:
        assert is_problem(await door.client.get(f"{DELIVERIES}?{query}"), status, code)


class TestRedelivered:
    """A delivery that came before, decided on as if it came now."""

    async def test_a_push_that_was_not_allowed_deploys_once_it_is(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path, repos=("x/*",)) as door:
            assert (await door.send(a_payload("A"), guid="g")).status_code == 200
            status, answer = await redelivered(door, "g")
            assert (status, answer) == (
                200,
                {
                    "ignored": "PUSHLANE_REPOS does not name this repository",
                    "outcome": "ignored",
                    "why": "nothing was built (PUSHLANE_REPOS does not name this repository): "
                    "name it there, then: pushlane redeliver g",
                },
            )
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as door:
            status, answer = await redelivered(door, "g")
            id_ = answer["deployment"]
            assert (status, answer) == (
                202,
                {
                    "deployment": id_,
                    "deployments": [id_],
                    "outcome": "recorded",
                    "why": f"it led to {id_}; its source waits to be fetched",
                },
            )
            record = await door.record(id_)
            assert (record.commit, record.delivery) == (commit("A"), "g")
            found = await got(door, "/g")
            assert (found["outcome"], found["answer"], found["deployment"]) == (
                "recorded", 202, id_,
            )  # fmt: skip
            assert found["payload_kept"]
            # What GitHub sends of it by itself is the same push still.
            assert (await door.send(a_payload("A"), guid="g")).json()["deployment"] == id_
            assert await door.count() == 1

    @pytest.mark.parametrize("form", [False, True])
    async def test_one_that_led_to_a_deployment_gives_that_again_and_says_how_to_build_anew(
        self, door: FrontDoor, form: bool
    ) -> None:
        payload = a_payload("A")
        body: Any = urlencode({"payload": json.dumps(payload)}).encode() if form else payload
        sent = await door.send(body, guid="g", headers=FORM if form else None)
        id_ = sent.json()["deployment"]
        for _ in range(2):
            status, answer = await redelivered(door, "g")
            assert (status, answer["deployment"], answer["outcome"]) == (202, id_, "repeated")
            assert answer["why"].endswith(f"; to build it anew: pushlane redeploy {id_}")
        assert await door.count() == 1
        assert (await door.delivery("g")).outcome == "recorded"

    async def test_an_old_push_is_not_put_before_a_newer_one(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path, repos=("x/*",)) as door:
            await door.send(a_payload("A", at=1), guid="g")
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as door:
            await door.built("B", before="A", at=2)
            status, answer = await redelivered(door, "g")
            assert (status, answer["outcome"]) == (202, "superseded")
            assert (await door.record(answer["deployment"])).status is Status.SUPERSEDED

    async def test_a_deletion_is_made_once(self, door: FrontDoor) -> None:
        await door.built("A", branch="t", at=1)
        await door.send(a_payload(ZERO, before="A", branch="t", at=2), guid="g")
        status, answer = await redelivered(door, "g")
        assert (status, answer["ignored"]) == (200, "this deletion was delivered before")
        assert answer["why"] == "nothing was to be built: the branch was deleted"

    @pytest.mark.parametrize("event", ["ping", "star"])
    async def test_what_can_lead_to_nothing_leads_to_nothing_again(
        self, door: FrontDoor, event: str
    ) -> None:
        first = await door.send({"zen": "…"}, event=event, guid="g")
        status, answer = await redelivered(door, "g")
        assert (status, answer["ignored"]) == (200, first.json()["ignored"])

    async def test_one_whose_payload_is_not_kept_is_409_and_says_where_to_redeliver_it(
        self, door: FrontDoor
    ) -> None:
        await door.send(incompressible(400_000), guid="g")
        answer = await door.client.post(f"{DELIVERIES}/g/redeliver")
        assert is_problem(answer, 409, "payload_not_kept")
        assert "redeliver it from the webhook's settings on GitHub" in answer.json()["detail"]
