"""What the API shows of the queue, of projects and of logs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import Errored
from bot.core.ledger import Ending
from bot.core.ledger.view import QueueView
from bot.core.project import ProjectSettings
from tests.builders import claimed, finished, queued
from tests.conftest import S3
from tests.front import TOKEN, FrontDoor, a_front_door, served

V1 = "/api/v1"
HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m é 😀"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def got(door: FrontDoor, path: str) -> Any:
    """The JSON of a page of the API that is there."""
    answer = await door.client.get(V1 + path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


class TestQueue:
    """The queue at one moment."""

    @pytest.mark.parametrize(
        ("waiting", "words"),
        [
            (0, "idle"), (1, "normal"), (9, "normal"), (10, "backing up"), (99, "backing up"),
            (100, "overloaded"), (5000, "overloaded"),
        ],
    )  # fmt: skip
    def test_how_many_wait_says_how_it_is(self, waiting: int, words: str) -> None:
        found = QueueView(
            fetch=[], high=[], normal=[], waiting=waiting, active=[], delayed=0, dead=0,
            oldest_seconds=0.0, built=0,
        )  # fmt: skip
        assert found.verdict == words

    async def test_at_rest_it_is_idle_and_empty(self, door: FrontDoor) -> None:
        assert await got(door, "/queue") == {
            "verdict": "idle",
            "lists": {"fetch": [], "high": [], "build-queue": []},
            "waiting": 0,
            "active": [],
            "delayed": 0,
            "dead": 0,
            "oldest_seconds": 0.0,
            "builds_per_minute": 0.0,
        }

    async def test_it_shows_each_list_in_order_and_who_is_worked_on(self, door: FrontDoor) -> None:
        main = await queued(door.ledger, await door.pushed("A"))
        previews = [
            (await queued(door.ledger, await door.pushed("A", branch=f"b{n}"))).id for n in range(2)
        ]
        fetch = [await door.push("A", branch=f"c{n}") for n in range(2)]
        building = await queued(door.ledger, await door.pushed("A", branch="d"))
        await claimed(door.ledger, building.id, Stage.BUILD)
        found = await got(door, "/queue")
        assert found["lists"] == {"fetch": fetch, "high": [main.id], "build-queue": previews}
        assert (found["waiting"], found["verdict"]) == (5, "normal")
        assert [(a["id"], a["project"], a["status"]) for a in found["active"]] == [
            (building.id, "site", "building")
        ]
        assert 0 <= found["active"][0]["seconds"] < 20
        assert 0 < found["oldest_seconds"] < 20

    async def test_more_than_the_lists_hold_are_counted(self, door: FrontDoor) -> None:
        for number in range(12):
            await door.push("A", branch=f"b{number}")
        found = await got(door, "/queue")
        assert (found["waiting"], found["verdict"]) == (12, "backing up")
        assert len(found["lists"]["fetch"]) < 12

    async def test_what_is_put_off_and_what_was_given_up_are_counted(self, door: FrontDoor) -> None:
        away = Errored("S3 is away", code="bucket_away")
        held = await claimed(door.ledger, await door.push("A"), Stage.FETCH)
        await door.ledger.claims.retry(held, away)
        await door.built("B", branch="topic", status=Status.ERRORED)
        found = await got(door, "/queue")
        assert (found["waiting"], found["delayed"], found["dead"]) == (1, 1, 1)
        assert found["lists"]["fetch"] == []

    async def test_builds_a_minute_count_whatever_waits_behind_them(self, door: FrontDoor) -> None:
        for number in range(5):
            status = Status.FAILED if number else Status.READY
            await door.built("A", branch=f"b{number}", status=status)
        skipped = await claimed(door.ledger, await door.push("A", branch="x"), Stage.FETCH)
        await door.ledger.claims.finish(skipped, Ending(status=Status.SKIPPED))
        for number in range(110):
            await door.push("A", branch=f"c{number}")
        found = await got(door, "/queue")
        assert found["builds_per_minute"] == 1.0
        assert found["verdict"] == "overloaded"


async def test_projects_are_listed_oldest_first_with_what_is_live(door: FrontDoor) -> None:
    live = await door.built("A", default_branch="trunk", branch="trunk", private=True)
    await door.push("A", repository="other/blog", repository_id=8)
    found = (await got(door, "/projects"))["projects"]
    assert [each["slug"] for each in found] == ["site", "blog"]
    site = found[0]
    assert datetime.fromisoformat(site.pop("created_at")).timestamp() > 1_700_000_000
    assert site == {
        "slug": "site",
        "repository": "acme/site",
        "repository_id": 7,
        "private": True,
        "main": None,
        "entry": None,
        "default_branch": "trunk",
        "production_branch": "trunk",
        "url": "http://site.localhost:8000",
        "live": live.id,
        "pinned": False,
        "settings": msgspec.json.decode(msgspec.json.encode(ProjectSettings())),
    }
    assert (found[1]["live"], found[1]["private"]) == (None, False)
    assert await got(door, "/projects/blog") == found[1]
    assert (await got(door, "/projects?repository=OTHER/blog"))["projects"] == [found[1]]
    assert await got(door, "/projects?repository=other/none") == {"projects": []}
    await door.ledger.aliases.promote(live.id)
    second = await door.built("B", default_branch="trunk", branch="trunk", at=1)
    await door.ledger.aliases.promote(live.id)
    site = await got(door, "/projects/site")
    assert (site["live"], site["pinned"]) == (live.id, True)
    assert second.id != live.id


class TestLog:
    """A deployment's log: text as it is, and a stream that goes on to the end."""

    async def fetched(self, door: FrontDoor, *lines: str) -> Deployment:
        """A queued deployment whose fetch has logged these lines."""
        held = await claimed(door.ledger, await door.push("A"), Stage.FETCH)
        assert await door.ledger.logs.append(held, lines)
        return await door.ledger.claims.advance(held, Status.QUEUED)

    async def test_as_text_it_has_the_lines_of_all_claims(self, door: FrontDoor) -> None:
        first = await self.fetched(door, "fetched", HOSTILE)
        held = await claimed(door.ledger, first.id, Stage.BUILD)
        await door.ledger.logs.append(held, ["built"] + [f"line {n}" for n in range(1200)])
        answer = await door.client.get(f"{V1}/deployments/{first.id}/log")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        lines = answer.text.split("\n")
        assert lines[:3] == ["fetched", HOSTILE, "built"]
        assert lines[-2:] == ["line 1199", ""]
        assert len(lines) == 1204

    async def test_of_one_that_was_never_claimed_it_is_empty(self, door: FrontDoor) -> None:
        id_ = await door.push("A")
        answer = await door.client.get(f"{V1}/deployments/{id_}/log")
        assert (answer.status_code, answer.text) == (200, "")

    async def test_followed_it_tells_lines_and_statuses_as_they_come(self, door: FrontDoor) -> None:
        first = await self.fetched(door, "fetched")
        async with served(door.app) as url, following(url, first.id) as events:
            event = await anext(events)
            assert (event["event"], event["data"]["status"]) == ("status", "queued")
            event = await anext(events)
            assert event["data"] == "fetched"
            assert event["id"].startswith("0-")
            held = await claimed(door.ledger, first.id, Stage.BUILD)
            event = await anext(events)
            assert (event["event"], event["data"]["status"]) == ("status", "building")
            await door.ledger.logs.append(held, [HOSTILE])
            event = await anext(events)
            assert event["data"] == HOSTILE
            assert event["id"].startswith("1-")
            await door.ledger.claims.finish(held, Ending(status=Status.FAILED, error_code="x"))
            event = await anext(events)
            assert event["event"] == "end"
            assert event["data"] == (await got(door, f"/deployments/{first.id}"))
            assert [left async for left in events] == []

    async def test_it_is_taken_up_where_it_broke_off(self, door: FrontDoor) -> None:
        first = await self.fetched(door, "one", "two", "three")
        held = await claimed(door.ledger, first.id, Stage.BUILD)
        await door.ledger.logs.append(held, ["four"])
        await door.ledger.claims.give_back(held)
        await finished(door.ledger, first.id)
        path = f"{V1}/deployments/{first.id}/log?follow=1"
        whole = events_in((await door.client.get(path)).text)
        assert [event["data"] for event in whole[:-1]] == ["one", "two", "three", "four"]
        assert whole[-1]["event"] == "end"
        for number, event in enumerate(whole[:-1]):
            answer = await door.client.get(path, headers={"Last-Event-ID": event["id"]})
            assert events_in(answer.text) == whole[number + 1 :]
        for nonsense in ("x", "9-1-1", "0-99999999999999999999-0", "-1"):
            answer = await door.client.get(path, headers={"Last-Event-ID": nonsense})
            assert events_in(answer.text) == whole, nonsense

    async def test_a_line_cannot_pretend_to_be_an_event(self, door: FrontDoor) -> None:
        first = await self.fetched(door, "a\r\nevent: end\rdata: {}")
        await door.ledger.records.cancel(first.id)
        answer = await door.client.get(f"{V1}/deployments/{first.id}/log?follow=1")
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = events_in(answer.text)
        assert [event["event"] for event in events] == ["", "end"]
        assert events[0]["data"] == "a\nevent: end\ndata: {}"


def events_in(text: str) -> list[dict[str, Any]]:
    """The events of a stream: `event`, `id`, and `data`, parsed where it is a record."""
    return [event_of(part) for part in text.split("\n\n") if part and not part.startswith(":")]


def event_of(part: str) -> dict[str, Any]:
    found: dict[str, Any] = {"event": "", "id": "", "data": []}
    for line in part.split("\n"):
        name, _, value = line.partition(": ")
        if name == "data":
            found["data"].append(value)
        else:
            found[name] = value
    data = "\n".join(found["data"])
    return found | {"data": json.loads(data) if found["event"] else data}


@asynccontextmanager
async def following(url: str, id_: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Follows a log over a real connection; the events as they come, each within seconds."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    path = f"{url}{V1}/deployments/{id_}/log?follow=1"

    async def events(answer: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
        text = ""
        async for chunk in answer.aiter_text():
            text += chunk
            *whole, text = text.split("\n\n")
            for part in whole:
                if not part.startswith(":"):
                    yield event_of(part)

    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as client:
        async with client.stream("GET", path) as answer:
            assert answer.status_code == 200
            yield events(answer)
