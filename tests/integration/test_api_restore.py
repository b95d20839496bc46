"""Restorations over the API and by the command."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from bot import api
from bot.collector import Collector
from bot.core import keys
from bot.core import settings as all_settings
from bot.core.bucket import Bucket
from bot.logs import Logs
from bot.problems import HANDLERS
from tests.apistub import TOKEN as STUB_TOKEN
from tests.apistub import Stub, serve, tell
from tests.builders import a_push, built
from tests.front import TOKEN, is_problem
from tests.keeping import Kept, flush, kept
from tests.ledgers import redis_of

RESTORED = {
    "state": "restored",
    "detail": "",
    "begun_at": "2026-10-01T08:00:00.000Z",
    "ended_at": "2026-10-01T08:00:01.000Z",
    "done": 0,
    "of": 0,
    "projects": 1,
    "aliases": 2,
    "deployments": 1_234,
}


@asynccontextmanager
async def asked(own: Kept) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API of the bot whose keeper this is."""
    settings = all_settings.load({"PUSHLANE_API_TOKEN": TOKEN, "PUSHLANE_DATA_DIR": "/nowhere"})
    collector = Collector(own.ledger, own.bucket, delay_seconds=60)
    front = api.Front(own.ledger, Logs(own.ledger, own.bucket), settings, collector, own.keeper)
    app = Starlette(routes=[api.mount(front)], exception_handlers=HANDLERS)
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app),
        base_url="http://pushlane.test/api/v1",
        headers={"Authorization": f"Bearer {TOKEN}"},
    ) as client:
        yield client


@pytest.fixture
async def own(valkey: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(valkey, prefix, bucket) as found:
        yield found


async def test_it_is_behind_the_same_door_as_everything(own: Kept) -> None:
    async with asked(own) as client:
        for method in ("GET", "POST"):
            answer = await client.request(method, "/restore", headers={"Authorization": "x"})
            assert answer.status_code == 401


async def test_one_that_was_never_lost_is_whole_and_restored_by_force_only(own: Kept) -> None:
    record = await built(own.ledger, await own.ledger.records.record(a_push("A")))
    await own.saved()
    async with asked(own) as client:
        answer = (await client.get("/restore")).json()
        assert (answer["state"], answer["begun_at"]) == ("whole", None)
        whole = await client.post("/restore")
        assert (whole.status_code, whole.json()["state"]) == (200, "whole")
        prefix = own.ledger.connection.prefix
        await redis_of(own.ledger).delete(keys.deployment(prefix, record.id))
        refused = await client.post("/restore")
        assert is_problem(refused, 409, "ledger_not_empty")
        wrong = await client.post("/restore", json={"forced": True})
        assert is_problem(wrong, 400, "body_malformed")
        begun = await client.post("/restore", json={"force": True})
        assert (begun.status_code, begun.json()["state"]) == (202, "restoring")
        found = await own.restored()
        answer = (await client.get("/restore")).json()
        assert answer["state"] == "restored"
        assert answer["begun_at"] <= answer["ended_at"]
        assert (answer["projects"], answer["aliases"], answer["deployments"]) == (0, 0, 1)
        assert found.epoch


async def test_one_that_was_flushed_is_restored_by_itself_and_says_so_when_asked(
    own: Kept,
) -> None:
    await built(own.ledger, await own.ledger.records.record(a_push("A")))
    await own.saved()
    async with asked(own) as client:
        await flush(own.ledger)
        begun = await client.post("/restore")
        assert (begun.status_code, begun.json()["state"]) == (202, "restoring")
        await own.whole_after_refusal()
        again = await client.post("/restore")
        assert again.status_code == 200
        told = again.json()
        assert (told["state"], told["projects"], told["aliases"], told["deployments"]) == (
            "restored", 1, 2, 1,
        )  # fmt: skip


async def test_what_cannot_be_read_meanwhile_is_a_503(own: Kept) -> None:
    await built(own.ledger, await own.ledger.records.record(a_push("A")))
    async with asked(own) as client:
        own.ledger.connection.behind.set()
        for path in ("/projects", "/deployments", "/queue"):
            assert is_problem(await client.get(path), 503, "ledger_replaced")


class TestCommand:
    """`pushlane restore`."""

    @pytest.fixture
    def stub(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
        """A server that answers as the API documents."""
        with serve() as found:
            monkeypatch.setenv("PUSHLANE_URL", found.url)
            monkeypatch.setenv("PUSHLANE_TOKEN", STUB_TOKEN)
            yield found

    def test_it_waits_for_the_end_and_counts(
        self, stub: Stub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        going_on = RESTORED | {"state": "restoring", "done": 50, "of": 1_237, "ended_at": None}
        stub.on("POST", "/restore", going_on)
        stub.on("GET", "/restore", going_on, RESTORED)
        done = tell(capsys, "restore")
        assert done.code == 0
        assert done.out.startswith("restored 1 project, 2 aliases, 1,234 deployments")
        assert "restoring: 50 of 1237" in done.err
        assert stub.seen[0].body == {"force": False}

    def test_one_that_lacks_nothing_is_told_so(
        self, stub: Stub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stub.on("POST", "/restore", RESTORED | {"state": "whole", "ended_at": None})
        done = tell(capsys, "restore")
        assert (done.code, done.err) == (0, "")
        assert done.out == "nothing is lacking: the ledger holds all that the bucket does\n"

    def test_one_of_long_ago_is_told_as_the_last_one(
        self, stub: Stub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ago = (datetime.now(UTC) - timedelta(minutes=3, seconds=5)).isoformat()
        stub.on("POST", "/restore", RESTORED | {"ended_at": ago})
        done = tell(capsys, "restore")
        assert done.code == 0
        assert done.out.startswith("the last restoration, 3 min ago: restored 1 project, 2 ")

    def test_force_is_handed_on_and_json_is_one_line(
        self, stub: Stub, capsys: pytest.CaptureFixture[str]
    ) -> None:
        stub.on("POST", "/restore", RESTORED)
        done = tell(capsys, "restore", "--force", "--json")
        assert (done.code, json.loads(done.out)) == (0, RESTORED)
        assert stub.seen[0].body == {"force": True}
