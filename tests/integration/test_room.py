"""No room in Redis or in the bucket: nothing is lost, and it goes on when there is some."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core import release
from bot.core.deployment import Stage, Status
from bot.core.errors import Full
from bot.core.ledger import Ending, Verdict
from bot.embedded import start_valkey
from bot.keeper.saving import save_due
from tests.builders import claimed, queued
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload, is_problem
from tests.fullness import REFUSALS, limit_memory, with_a_quota
from tests.keeping import a_bucket, unsaved


@pytest.fixture(params=["valkey", "redis-server"])
async def own_redis(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A server of the test's own, of each kind that the ledger must do on."""
    binary = shutil.which(request.param)
    server = await start_valkey(
        tmp_path / "own", password="own", port=0, binary=Path(binary) if binary else None
    )
    yield server.environ["PUSHLANE_REDIS_URL"]
    await server.stop()


@pytest.fixture
async def door(
    own_redis: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> AsyncIterator[FrontDoor]:
    async with a_front_door(own_redis, seaweedfs, prefix, tmp_path) as made:
        yield made


class TestRedisFull:
    """maxmemory is reached, and noeviction keeps what is there."""

    async def test_nothing_new_is_recorded_until_there_is_room(
        self, door: FrontDoor, own_redis: str
    ) -> None:
        await door.push("A", at=1)
        await limit_memory(own_redis, bytes_=1)
        answers = [
            await door.send(a_payload("B", before="A", at=2)),
            await door.send(a_payload("0" * 40, before="A", at=3)),
            await door.client.post("/api/v1/deployments", json={"repository": "acme/new"}),
        ]
        assert all(is_problem(answer, 503, "redis_full") for answer in answers)
        assert await door.count() == 1
        with pytest.raises(Full):
            await door.ledger.connection.ensure_room()
        await limit_memory(own_redis, bytes_=0)
        await door.ledger.connection.ensure_room()
        await door.push("B", before="A", at=2)
        assert await door.count() == 2
        assert [each.slug for each in await door.ledger.view.projects()] == ["site"]

    async def test_what_is_under_way_goes_live_and_its_end_is_saved_and_told(
        self, door: FrontDoor, own_redis: str
    ) -> None:
        ledger = door.ledger
        first = await door.built("0", at=1)
        building = await queued(ledger, await door.pushed("A", before="0", at=2))
        waiting = await queued(ledger, await door.pushed("B", branch="b", at=3))
        doomed = await door.pushed("C", branch="c", at=4)
        building = await claimed(ledger, building.id, Stage.BUILD)
        await limit_memory(own_redis, bytes_=1)

        assert await ledger.claims.extend(building) is Verdict.GO
        with pytest.raises(Full):
            await ledger.logs.append(building, ["a line"])
        for held in (building, await claimed(ledger, waiting.id, Stage.BUILD)):
            held_on = await ledger.claims.advance(held, Status.PUBLISHING)
            name = release.manifest_name("7", held.id, held.claim)
            ended = await ledger.claims.finish(held_on, Ending(status=Status.READY, release=name))
            assert ended.status is Status.READY
        alias = await ledger.aliases.get("site")
        assert alias
        assert alias.deployment == building.id
        assert await ledger.records.cancel(doomed.deployment) == "cancelled"
        assert (await ledger.aliases.rollback("site")).deployment == first.id
        assert await ledger.claims.sweep() == {"expired": 0, "due": 0, "rung": 0}

        queue = await ledger.view.queue()
        assert (queue.waiting, queue.active) == (0, [])
        while await unsaved(ledger):
            await save_due(ledger.saves, door.bucket)
        told = 0
        while (report := (await ledger.reports.lease(seconds=30))[0]) is not None:
            await ledger.reports.told(report, "success")
            told += 1
        assert told == 4


class TestBucketFull:
    """The quota of the bucket is reached."""

    @pytest.mark.parametrize("refusal", REFUSALS)
    async def test_what_it_answers_is_no_room_and_passes(
        self, seaweedfs: S3, prefix: str, tmp_path: Path, refusal: str
    ) -> None:
        async with with_a_quota(seaweedfs.endpoint_url) as quota:
            bucket = a_bucket(seaweedfs, prefix, endpoint_url=quota.url)
            await bucket.put("before", b"1", content_type="text/plain")
            quota.refusal = refusal
            file = tmp_path / "file"
            file.write_bytes(b"2")
            for write in (
                bucket.put("after", b"2", content_type="text/plain"),
                bucket.put_stream("after", file.open("rb"), content_type="text/plain"),
            ):
                with pytest.raises(Full) as raised:
                    await write
                assert raised.value.code == "bucket_full"
            await bucket.ready()
            assert await bucket.get("before") == b"1"
            quota.refusal = ""
            await bucket.put("after", b"2", content_type="text/plain")
            assert await bucket.get("after") == b"2"
            await bucket.aclose()
