"""What /readyz says of each part, and what a Redis that may lose writes is good for."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette

from bot import readiness
from bot.core import settings as all_settings
from bot.core.errors import Errored
from bot.core.ledger import Ledger, Request, open_ledger
from bot.core.settings import Settings
from bot.embedded import Server, start_valkey
from bot.keeper import Keeper
from bot.readiness import Readiness, Ready
from tests.builders import a_push
from tests.conftest import S3
from tests.fullness import limit_memory, with_a_quota
from tests.hosting import a_client
from tests.keeping import a_bucket

REPOSITORY = Path(__file__).parents[2]
WELL = Ready(ready=True, redis="durable", bucket="usable", ledger="whole", disk="usable")


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Server]:
    """A Valkey of the test's own."""
    server = await start_valkey(tmp_path / "own", password="own", port=0)
    yield server
    await server.stop()


@asynccontextmanager
async def looked_at(
    url: str, s3: S3, prefix: str, directory: Path, *, least_epoch: int = 0, **changes: object
) -> AsyncIterator[tuple[Readiness, Ledger]]:
    """The readiness of a bot with these parts; `changes` are made to the settings."""
    settings: Settings = replace(
        all_settings.load({"PUSHLANE_DATA_DIR": str(directory), "PUSHLANE_REDIS_URL": url}),
        s3_endpoint_url=s3.endpoint_url,
        **changes,  # type: ignore[arg-type]
    )
    ledger = open_ledger(
        url,
        prefix=f"{prefix}:",
        least_epoch=least_epoch,
        require_durable=settings.require_durable,
    )
    bucket = a_bucket(s3, prefix)
    keeper = Keeper(ledger, bucket)
    yield Readiness(ledger=ledger, bucket=bucket, keeper=keeper, settings=settings), ledger
    await bucket.aclose()
    await ledger.aclose()


async def test_where_all_is_well_it_is_ready(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with looked_at(valkey, seaweedfs, prefix, tmp_path) as (found, _):
        assert await found.ready() == WELL
        async with a_client(Starlette(routes=[found.route])) as client:
            answer = await client.get("http://pushlane.test/readyz")
        assert (answer.status_code, answer.json()["ledger"]) == (200, "whole")
        assert answer.headers["cache-control"] == "no-store"


async def test_a_ledger_that_is_not_there_yet_is_a_state(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with looked_at(valkey, seaweedfs, prefix, tmp_path, least_epoch=1) as (found, _):
        ready = await found.ready()
        assert ready == Ready(
            ready=False, redis="durable", bucket="usable", ledger="restoring", disk="usable"
        )
        async with a_client(Starlette(routes=[found.route])) as client:
            assert (await client.get("http://pushlane.test/readyz")).status_code == 503


async def test_a_full_redis_bucket_and_disk_are_states_and_pass(
    own: Server,
    seaweedfs: S3,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(readiness, "_PROBE_SECONDS", 0)
    monkeypatch.setattr(readiness, "_LOOK_SECONDS", 0.05)
    caplog.set_level(logging.INFO)
    url = own.environ["PUSHLANE_REDIS_URL"]
    async with with_a_quota(seaweedfs.endpoint_url) as quota:
        s3 = replace(seaweedfs, endpoint_url=quota.url)
        async with looked_at(url, s3, prefix, tmp_path) as (found, _):
            assert await found.ready() == WELL
            looking = asyncio.create_task(found.look())
            await limit_memory(url, bytes_=1)
            quota.refusal = "QuotaExceeded"
            monkeypatch.setattr(readiness, "DISK_LEAST_BYTES", 1 << 62)
            ready = await found.ready()
            assert not ready.ready
            assert ready.redis.startswith("Redis is full")
            assert ready.bucket.startswith("the bucket is full (QuotaExceeded)")
            assert ready.disk.startswith("the disk is full")
            assert str(tmp_path) in ready.disk
            while caplog.text.count(" is full") < 3:
                await asyncio.sleep(0.01)
            await limit_memory(url, bytes_=0)
            quota.refusal = ""
            monkeypatch.setattr(readiness, "DISK_LEAST_BYTES", 1)
            assert await found.ready() == WELL
            while "disk: usable" not in caplog.text:
                await asyncio.sleep(0.01)
            looking.cancel()


async def test_what_cannot_be_reached_is_named_to_the_log_alone(
    seaweedfs: S3, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with looked_at("redis://127.0.0.1:1", seaweedfs, prefix, tmp_path) as (found, _):
        ready = await found.ready()
        assert (ready.ready, ready.redis) == (False, "Redis cannot be reached")
        looking = asyncio.create_task(found.look())
        while "127.0.0.1:1" not in caplog.text:
            await asyncio.sleep(0.01)
        looking.cancel()


class TestDurability:
    """What the server's own settings say of acknowledged writes."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("appendonly", "no"),
            ("appendfsync", "everysec"),
            ("no-appendfsync-on-rewrite", "yes"),
            ("maxmemory-policy", "allkeys-lru"),
        ],
    )
    async def test_each_setting_that_may_lose_them_is_said_and_refused_where_asked(
        self, own: Server, seaweedfs: S3, prefix: str, tmp_path: Path, name: str, value: str
    ) -> None:
        url = own.environ["PUSHLANE_REDIS_URL"]
        client: Any = Redis.from_url(url)
        await client.config_set(name, value)
        await client.aclose()
        async with looked_at(url, seaweedfs, prefix, tmp_path) as (found, ledger):
            ready = await found.ready()
            assert (ready.ready, ready.redis) == (True, "may lose writes")
            assert (await ledger.records.record(a_push("A"))).outcome == "recorded"
        async with looked_at(url, seaweedfs, prefix, tmp_path, require_durable=True) as (
            found,
            ledger,
        ):
            ready = await found.ready()
            assert (ready.ready, ready.redis) == (False, "may lose writes")
            for asked in (
                ledger.records.record(a_push("B", before="A")),
                ledger.records.request(Request(project="site")),
            ):
                with pytest.raises(Errored, match="PUSHLANE_REQUIRE_DURABLE") as raised:
                    await asked
                assert raised.value.code == "redis_not_durable"

    async def test_where_config_is_forbidden_it_is_unknown_and_said_so(
        self,
        own: Server,
        seaweedfs: S3,
        prefix: str,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        url = own.environ["PUSHLANE_REDIS_URL"]
        client: Any = Redis.from_url(url)
        await client.execute_command(
            *["ACL", "SETUSER", "guest", "on", ">guest", "~*", "&*", "+@all", "-config", "-info"]
        )
        await client.aclose()
        url = url.replace("redis://:own@", "redis://guest:guest@")
        async with looked_at(url, seaweedfs, prefix, tmp_path, require_durable=True) as (
            found,
            ledger,
        ):
            ready = await found.ready()
            assert (ready.ready, ready.redis) == (True, "unknown")
            assert (await ledger.records.record(a_push("A"))).outcome == "recorded"
            looking = asyncio.create_task(found.look())
            while "CONFIG is forbidden" not in caplog.text:
                await asyncio.sleep(0.01)
            looking.cancel()

    async def test_a_worker_that_is_told_to_refuse_it_exits_with_2(
        self, own: Server, seaweedfs: S3, tmp_path: Path
    ) -> None:
        url = own.environ["PUSHLANE_REDIS_URL"]
        client: Any = Redis.from_url(url)
        await client.config_set("appendfsync", "everysec")
        await client.aclose()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "worker",
            cwd=REPOSITORY,
            env={
                **os.environ,
                **seaweedfs.environ,
                "PUSHLANE_DATA_DIR": str(tmp_path),
                "PUSHLANE_REDIS_URL": url,
                "PUSHLANE_REQUIRE_DURABLE": "1",
            },
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 2
        last = said.decode().splitlines()[-1]
        assert last.startswith("PUSHLANE_REQUIRE_DURABLE: is on")
        assert "appendfsync always" in last
