"""The worker's loop, from a doorbell to a live release, on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import zstandard

from bot.core import keys, release
from bot.core.deployment import Deployment, Stage, Status, branch_label, deployment_label
from bot.core.ledger.logs import SAVED_SECONDS
from bot.core.release import Manifest
from tests.builders import a_push
from tests.conftest import S3
from tests.workshop import Bench, a_bench

REPOSITORY = Path(__file__).parents[2]
PAGE = "<!doctype html><title>Hi</title>"


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, lease_seconds=3) as made:
        yield made


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)


async def is_status(bench: Bench, deployment: Deployment, status: Status) -> bool:
    return (await bench.record(deployment.id)).status is status


async def manifest_of(bench: Bench, deployment: Deployment) -> Manifest:
    return release.decode(await bench.bucket.get((await bench.record(deployment.id)).release))


async def content(bench: Bench, manifest: Manifest, path: str) -> bytes:
    found = manifest.contents[manifest.files[path].sha256].identity
    return await bench.bucket.get_range(
        manifest.packs[found.pack], offset=found.offset, length=found.length
    )


async def test_a_queued_page_goes_live_when_its_doorbell_rings(bench: Bench) -> None:
    queued = await bench.queued({"index.html": PAGE, "a/b.css": "p{}", ".git/HEAD": "x"})
    building = bench.worker.loop()
    serving = asyncio.create_task(building.serve())
    await until(lambda: is_status(bench, queued, Status.READY))
    building.ending.set()
    await serving
    ended = await bench.record(queued.id)
    assert (ended.files, ended.framework) == (2, "Plain HTML")
    for label in (
        queued.project,
        branch_label("main", queued.project),
        deployment_label(queued.id, queued.project),
    ):
        alias = await bench.ledger.aliases.get(label)
        assert alias
        assert alias.release == ended.release
    manifest = await manifest_of(bench, queued)
    assert set(manifest.files) == {"index.html", "a/b.css"}
    assert await content(bench, manifest, "index.html") == PAGE.encode()


async def test_the_whole_log_is_in_the_bucket_when_it_ends(bench: Bench) -> None:
    held = await bench.held({"index.html": PAGE})
    await bench.worker.loop().attend(held)
    name = release.log_name(held.repository_key, held.id, held.claim)
    text = zstandard.decompress(await bench.bucket.get(name)).decode()
    assert text.splitlines() == (await bench.log(held)).splitlines()
    assert text.startswith("Plain HTML")
    redis = cast(Any, bench.ledger.connection.redis)
    in_redis = keys.log(bench.settings.redis_prefix, held.id, held.claim)
    assert 0 < await redis.ttl(in_redis) <= SAVED_SECONDS


async def test_a_build_that_fails_ends_failed_at_once_and_says_why(bench: Bench) -> None:
    held = await bench.held(
        {"pushlane.toml": '[build]\ncommand = "echo oh no; exit 3"', "index.html": PAGE}
    )
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "build_failed")
    assert "exit code 3: oh no" in ended.error_message
    assert "oh no" in await bench.log(held)
    name = release.log_name(held.repository_key, held.id, held.claim)
    assert b"oh no" in zstandard.decompress(await bench.bucket.get(name))


async def test_a_source_that_is_not_there_is_our_fault_and_is_tried_again(bench: Bench) -> None:
    held = await bench.held({"index.html": PAGE})
    await bench.bucket.delete(held.source)
    await bench.worker.loop().attend(held)
    again = await bench.record(held.id)
    assert (again.status, again.error_code) == (Status.QUEUED, "object_missing")
    assert again.due_at > 0


async def test_a_cancelled_build_is_killed_and_ends_cancelled(bench: Bench) -> None:
    held = await bench.held({"pushlane.toml": '[build]\ncommand = "echo here; sleep 600"'})
    attending = asyncio.create_task(bench.worker.loop().attend(held))

    async def builds() -> bool:
        return "here" in await bench.log(held)

    await until(builds)
    asked = time.monotonic()
    assert await bench.ledger.records.cancel(held.id) == "stopping"
    await attending
    assert time.monotonic() - asked < 3 / 3 + 2
    assert await is_status(bench, held, Status.CANCELLED)
    assert await bench.ledger.aliases.get(held.project) is None


async def test_a_claim_that_was_lost_writes_nothing(bench: Bench) -> None:
    held = await bench.held({"pushlane.toml": '[build]\ncommand = "echo here; sleep 600"'})
    attending = asyncio.create_task(bench.worker.loop().attend(held))

    async def builds() -> bool:
        return "here" in await bench.log(held)

    await until(builds)
    await bench.ledger.claims.give_back(held)
    other = (await bench.ledger.claims.claim(held.id, Stage.BUILD)).deployment
    assert other
    await attending
    now = await bench.record(held.id)
    assert (now.status, now.claim) == (Status.BUILDING, other.claim)
    assert await bench.bucket.list("releases/") == []


async def test_a_second_push_writes_only_what_changed(bench: Bench) -> None:
    large = os.urandom(300_000)
    first = await bench.held({"index.html": PAGE, "large.bin": large}, a_push("one", at=1))
    await bench.worker.loop().attend(first)
    second = await bench.held({"index.html": PAGE + "!", "large.bin": large}, a_push("two", at=2))
    await bench.worker.loop().attend(second)
    name = release.pack_name(second.repository_key, second.id, second.claim)
    assert await bench.bucket.size(name) == len(PAGE) + 1
    manifest = await manifest_of(bench, second)
    assert await content(bench, manifest, "large.bin") == large
    assert await content(bench, manifest, "index.html") == (PAGE + "!").encode()


async def test_cancelled_from_outside_the_claim_is_given_back_uncounted(bench: Bench) -> None:
    held = await bench.held({"pushlane.toml": '[build]\ncommand = "echo here; sleep 600"'})
    attending = asyncio.create_task(bench.worker.loop().attend(held))

    async def builds() -> bool:
        return "here" in await bench.log(held)

    await until(builds)
    attending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attending
    back = await bench.record(held.id)
    assert (back.status, back.build_attempts, back.claim) == (Status.QUEUED, 0, "")


async def test_an_npm_project_is_built_by_its_script(bench: Bench) -> None:
    package = {"name": "x", "scripts": {"build": "node build.js"}}
    script = (
        "const fs = require('fs'); fs.mkdirSync('dist');"
        "fs.writeFileSync('dist/index.html', `${process.env.BRANCH} ${process.env.CI}`);"
    )
    held = await bench.held({"package.json": json.dumps(package), "build.js": script})
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert ended.status is Status.READY, await bench.log(held)
    assert await content(bench, await manifest_of(bench, held), "index.html") == b"main 1"


async def test_an_output_that_takes_too_long_to_read_is_the_repositorys_fault(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, output_seconds=0) as bench:
        held = await bench.held({"index.html": PAGE})
        await bench.worker.loop().attend(held)
        ended = await bench.record(held.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "output_too_slow")
    assert "\n" not in ended.error_message


FETCHED = (
    "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; "
    'printf "CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n" >&3; cat <&3\'; echo ECONNRESET; exit 1'
)
"""Installs from a registry on that port, and fails."""


def installing(command: str) -> dict[str, str]:
    return {"pushlane.toml": f"[build]\ninstall = '''{command}'''\ncommand = \"true\"\n"}


async def test_what_a_build_prints_makes_no_fault_of_ours(bench: Bench) -> None:
    held = await bench.held(installing("echo npm error code ECONNRESET, 503 Bad; exit 1"))
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "install_failed")


async def test_a_registry_that_the_proxy_cannot_reach_is_tried_again(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    environment = {**os.environ, "npm_config_registry": f"http://127.0.0.1:{port}/"}
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, environment=environment) as bench:
        held = await bench.held(installing(FETCHED.format(port=port)))
        await bench.worker.loop().attend(held)
        again = await bench.record(held.id)
    assert (again.status, again.error_code) == (Status.QUEUED, "registry_unreachable")
    assert f"127.0.0.1:{port}" in again.error_message


class TestProcess:
    """`python -m worker` itself."""

    def environ(self, bench: Bench, s3: S3) -> dict[str, str]:
        return {
            **os.environ,
            **s3.environ,
            "PUSHLANE_DATA_DIR": str(bench.settings.data_dir / "other"),
            "PUSHLANE_REDIS_URL": bench.settings.redis_url,
            "PUSHLANE_REDIS_PREFIX": bench.settings.redis_prefix,
            "PUSHLANE_S3_PREFIX": bench.settings.s3_prefix,
        }

    async def start(self, environ: dict[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker",
            cwd=REPOSITORY, env=environ, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def test_without_a_redis_it_says_so_in_one_line_and_exits_with_2(
        self, tmp_path: Path
    ) -> None:
        environ = {k: v for k, v in os.environ.items() if "REDIS_URL" not in k}
        process = await self.start({**environ, "PUSHLANE_DATA_DIR": str(tmp_path)})
        _, said = await process.communicate()
        assert process.returncode == 2
        assert said.decode().count("\n") == 1
        assert said.startswith(b"PUSHLANE_REDIS_URL: ")

    async def test_asked_to_end_it_finishes_what_it_holds(
        self, bench: Bench, seaweedfs: S3
    ) -> None:
        toml = '[build]\ncommand = "echo here; sleep 2; mkdir dist; echo hi > dist/index.html"'
        queued = await bench.queued({"pushlane.toml": toml})
        process = await self.start(self.environ(bench, seaweedfs))
        await until(lambda: is_status(bench, queued, Status.BUILDING))
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert await is_status(bench, queued, Status.READY), said.decode()

    async def test_asked_twice_it_gives_back_at_once(self, bench: Bench, seaweedfs: S3) -> None:
        queued = await bench.queued({"pushlane.toml": '[build]\ncommand = "sleep 987654"'})
        process = await self.start(self.environ(bench, seaweedfs))
        await until(lambda: is_status(bench, queued, Status.BUILDING))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, said = await process.communicate()
        assert time.monotonic() - begun < 5
        assert process.returncode == 0, said.decode()
        back = await bench.record(queued.id)
        assert (back.status, back.build_attempts) == (Status.QUEUED, 0), said.decode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert b"987654" not in path.read_bytes()
            except OSError:
                continue
