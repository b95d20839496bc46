"""A full bucket and a full disk: a push waits for room, and goes live when there is some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tests.acceptance.house import PAGE, House, Record, a_house, until
from tests.conftest import S3
from tests.fullness import with_a_quota
from tests.standin import StandIn

DISK_MB = 200


async def waits_for(house: House, id_: str, code: str) -> Record:
    """Waits until a deployment has met a want of room; the record as it is then."""
    now: Record = {}

    async def met() -> bool:
        nonlocal now
        now = await house.record(id_)
        return bool(now["error"]) and now["error"]["code"] == code

    await until(met, seconds=30, why=lambda: f"{now}\n{house.log('bot')[-2000:]}")
    return now


async def is_ready(house: House) -> bool:
    return (await house.call("GET", "/readyz")).is_success


async def test_a_full_bucket_is_waited_for(
    tmp_path: Path, valkey: str, seaweedfs: S3, prefix: str, name: str
) -> None:
    async with (
        StandIn(tmp_path / "github") as github,
        with_a_quota(seaweedfs.endpoint_url) as quota,
    ):
        s3 = replace(
            seaweedfs,
            environ={**seaweedfs.environ, "PUSHLANE_S3_ENDPOINT_URL": quota.url},
        )
        house = a_house(tmp_path, redis_url=valkey, s3=s3, prefix=prefix, github=github)
        try:
            house.start_bot()
            house.start_worker()
            await house.until_ready()
            worktree = house.repository(name)
            first = await house.ready(
                await house.push(worktree, {"index.html": PAGE.format("before")})
            )
            quota.refusal = "InsufficientStorage"
            sha = await house.push(worktree, {"index.html": PAGE.format("after")})
            id_ = (await house.of(sha))["id"]
            record = await waits_for(house, id_, "bucket_full")
            assert (record["status"], record["attempts"]["fetch"]) == ("received", 0)

            async def said() -> bool:
                answer = await house.call("GET", "/readyz")
                return answer.status_code == 503 and "full" in answer.json()["bucket"]

            await until(said)
            assert "before" in (await house.get(first["project"])).text
            quota.refusal = ""
            await house.ready(id_)
            await house.shows(first["project"], "after")
            await until(lambda: is_ready(house))
            assert await house.states(sha, last="success")
        finally:
            await asyncio.to_thread(house.close)


@asynccontextmanager
async def on_a_small_disk(
    directory: Path, redis_url: str, s3: S3, prefix: str
) -> AsyncIterator[House]:
    """A house whose bot keeps its data on a disk of `DISK_MB`, in a mount namespace of its own."""
    async with StandIn(directory / "github") as github:
        house = a_house(directory, redis_url=redis_url, s3=s3, prefix=prefix, github=github)
        kept = house.environ["PUSHLANE_DATA_DIR"]
        Path(kept).mkdir(mode=0o700)
        mount = f'mount -t tmpfs -o size={DISK_MB}m,mode=700 small "$0" && exec "$@"'
        try:
            house.start_bot("unshare", "--map-root-user", "--mount", "sh", "-c", mount, kept)
            house.environ["PUSHLANE_DATA_DIR"] = str(directory / "other")
            house.start_worker()
            await house.until_ready()
            yield house
        finally:
            await asyncio.to_thread(house.close)


async def test_a_full_disk_of_the_bot_is_waited_for(
    tmp_path: Path, valkey: str, seaweedfs: S3, prefix: str, name: str
) -> None:
    async with on_a_small_disk(tmp_path, valkey, seaweedfs, prefix) as house:
        assert house.bot
        within = Path(f"/proc/{house.bot.pid}/root{tmp_path}/kept")
        filler = within / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        answer = await house.call("GET", "/readyz")
        assert answer.status_code == 503
        assert "the disk is full" in answer.json()["disk"]

        sha = await house.push(house.repository(name), {"index.html": PAGE.format("roomy")})
        id_ = (await house.of(sha))["id"]
        record = await waits_for(house, id_, "disk_full")
        assert (record["status"], record["attempts"]["fetch"]) == ("received", 0)
        filler.unlink()
        ready = await house.ready(id_)
        await house.shows(ready["project"], "roomy")
        await until(lambda: is_ready(house))
