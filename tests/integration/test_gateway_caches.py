"""What is read from the bucket, how often, and what is kept of it."""

from __future__ import annotations

import asyncio
import gzip
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from bot.core import release
from bot.core.deployment import Stage, Status
from bot.core.ledger import Ending
from bot.core.release import PACK_TYPE, Range
from bot.gateway import Gateway
from bot.gateway.disk import Disk
from tests.builders import a_push, claimed, queued
from tests.conftest import S3
from tests.hosting import DOMAIN, PAGE, Hosting, a_client, a_gateway, a_hosting

SITE: dict[str, str | bytes] = {
    "index.html": PAGE,
    "about.html": "about",
    "noise.bin": os.urandom(50_000),
}


@pytest.fixture
async def hosting(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> AsyncIterator[Hosting]:
    async with a_hosting(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def get(gateway: Gateway, label: str, path: str = "/") -> tuple[int, bytes]:
    async with a_client(gateway) as client:
        found = await client.get(
            f"http://{label}.{DOMAIN}{path}", headers={"accept-encoding": "identity"}
        )
        return found.status_code, found.content


async def test_a_hundred_who_ask_at_once_cost_one_read_of_each_object(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    hosting.bucket.reads.clear()
    found = await asyncio.gather(*(hosting.get(ready.project) for _ in range(100)))
    assert {each.text for each in found} == {PAGE}
    manifest, pack = ready.release, pack_of(ready.release)
    assert hosting.bucket.reads == {manifest: 1, pack: 1}
    await hosting.get(ready.project)
    await hosting.get(ready.project, method="HEAD", accept_encoding="gzip")
    assert hosting.bucket.reads == {manifest: 1, pack: 1}


async def test_a_next_release_with_the_same_content_reads_only_its_manifest(
    hosting: Hosting,
) -> None:
    first = await hosting.publish(SITE)
    await hosting.get(first.project)
    second = await hosting.publish(SITE)
    hosting.bucket.reads.clear()
    own = f"{second.id}--{second.project}"
    assert (await hosting.get(own)).text == PAGE
    assert hosting.bucket.reads == {second.release: 1}


async def test_the_same_content_from_another_compressor_is_another_entry(
    hosting: Hosting,
) -> None:
    site = {"index.html": PAGE * 300}
    first = await hosting.publish(site)
    assert (await hosting.get(first.project, accept_encoding="gzip")).text == PAGE * 300
    answer = await hosting.ledger.records.record(a_push("B"))
    await queued(hosting.ledger, answer)
    held = await claimed(hosting.ledger, answer.deployment, Stage.BUILD)
    held = await hosting.ledger.claims.advance(held, Status.PUBLISHING)
    name = await hosting.write(held, site)
    body = gzip.compress((PAGE * 300).encode(), 1)
    await hosting.bucket.put(pack_of(name), body, content_type=PACK_TYPE)
    manifest = release.decode(await hosting.bucket.get(name))
    contents = {
        sha256: msgspec.structs.replace(content, gzip=Range(0, 0, len(body)))
        for sha256, content in manifest.contents.items()
    }
    manifest = msgspec.structs.replace(manifest, contents=contents)
    await hosting.bucket.put(name, release.encode(manifest), content_type=PACK_TYPE)
    await hosting.ledger.claims.finish(held, Ending(status=Status.READY, release=name))
    url = f"http://{held.id}--{held.project}.{DOMAIN}/"
    async with hosting.client.stream("GET", url, headers={"accept-encoding": "gzip"}) as found:
        assert found.headers["content-length"] == str(len(body))
        assert b"".join([part async for part in found.aiter_raw()]) == body


async def test_a_process_that_starts_anew_reads_from_disk(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    await hosting.get(ready.project)
    hosting.bucket.reads.clear()
    again = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "cache")
    assert await get(again, ready.project) == (200, PAGE.encode())
    assert not hosting.bucket.reads
    await again.aclose()


async def test_the_cache_is_for_its_owner_only(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    await hosting.get(ready.project)
    made = [hosting.directory / "cache", *(hosting.directory / "cache").rglob("*")]
    assert len(made) >= 5
    assert all(stat.S_IMODE(each.stat().st_mode) & 0o077 == 0 for each in made)


async def test_a_file_that_was_torn_or_changed_is_read_anew(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    await hosting.get(ready.project)
    files = [each for each in (hosting.directory / "cache").rglob("*") if each.is_file()]
    assert len(files) == 2
    for spoil in (
        lambda body: body[:-10],
        lambda body: body[:-1] + bytes([body[-1] ^ 1]),
        lambda body: bytes(len(body)),
        lambda _: b"",
    ):
        for file in files:
            file.write_bytes(spoil(file.read_bytes()))
        hosting.bucket.reads.clear()
        again = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "cache")
        assert await get(again, ready.project) == (200, PAGE.encode())
        assert hosting.bucket.reads.total() == 2
        await again.aclose()


async def test_a_disk_that_takes_nothing_is_no_error(hosting: Hosting, tmp_path: Path) -> None:
    ready = await hosting.publish(SITE)
    (tmp_path / "file").write_bytes(b"")
    for cache, options in (
        (tmp_path / "file" / "cache", {}),
        (tmp_path / "none", {"disk_bytes": 0}),
    ):
        gateway = a_gateway(hosting.ledger, hosting.bucket, cache, **options)
        for path, body in (("/", PAGE.encode()), ("/noise.bin", SITE["noise.bin"])):
            assert await get(gateway, ready.project, path) == (200, body)
        await gateway.aclose()
    assert not (tmp_path / "none").exists()


async def test_without_memory_all_is_served_from_disk(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    gateway = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "other", memory_bytes=0)
    for _ in range(3):
        for path, body in (("/", PAGE.encode()), ("/noise.bin", SITE["noise.bin"])):
            assert await get(gateway, ready.project, path) == (200, body)
    assert hosting.bucket.reads.total() == 3
    await gateway.aclose()


class TestTheDisk:
    def keys(self, number: int) -> list[str]:
        return [f"{index:064x}" for index in range(number)]

    async def test_it_stays_within_its_bound_and_keeps_what_was_used_last(
        self, tmp_path: Path
    ) -> None:
        disk = Disk(tmp_path / "cache", most_bytes=10 * 12_288)
        first, *others = self.keys(40)
        await disk.write(first, b"x" * 10_000)
        for key in others:
            await disk.write(key, b"x" * 10_000)
            assert await disk.read(first) is not None
        files = [each for each in (tmp_path / "cache").rglob("*") if each.is_file()]
        assert len(files) == 10
        assert await disk.read(others[-1], length=10_000) is not None
        assert await disk.read(others[-1], length=9_999) is None
        assert await disk.read(others[0]) is None
        await disk.aclose()

    async def test_a_later_process_makes_room_among_what_an_earlier_one_left(
        self, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"
        earlier = Disk(cache, most_bytes=10**6)
        keys = self.keys(10)
        for age, key in enumerate(keys):
            await earlier.write(key, b"x" * 10_000)
            os.utime(cache / key[:2] / key, (1000 - age, 1000 - age))
        await earlier.aclose()
        stale, foreign = cache / "00" / ".new-1", cache / "ab" / "foreign"
        foreign.parent.mkdir()
        for each in (stale, foreign, cache / "keep"):
            each.write_bytes(b"")
            os.utime(each, (1000, 1000))

        later = Disk(cache, most_bytes=4 * 12_288)
        await later.look()
        left = [key for key in keys if await later.read(key) is not None]
        assert left == keys[:4], "the youngest"
        assert (stale.exists(), foreign.exists(), (cache / "keep").exists()) == (False, True, True)
        await later.aclose()

    async def test_there_may_be_nothing_to_look_at(self, tmp_path: Path) -> None:
        disk = Disk(tmp_path / "none", most_bytes=1000)
        await disk.look()
        assert await disk.read("0" * 64) is None
        await disk.aclose()


class TestABrokenRelease:
    async def assert_unreadable(self, hosting: Hosting, label: str) -> None:
        found = await hosting.get(label)
        assert (found.status_code, found.headers["cache-control"]) == (503, "no-store")
        assert int(found.headers["retry-after"]) > 0

    async def test_a_pack_that_is_short_is_read_thrice_and_never_a_404(
        self, hosting: Hosting
    ) -> None:
        ready = await hosting.publish({"index.html": PAGE})
        pack = pack_of(ready.release)
        body = await hosting.bucket.get(pack)
        await hosting.bucket.put(pack, body[:100], content_type=PACK_TYPE)
        hosting.bucket.reads.clear()
        await self.assert_unreadable(hosting, ready.project)
        assert hosting.bucket.reads[pack] == 3
        await hosting.bucket.put(pack, body, content_type=PACK_TYPE)
        assert (await hosting.get(ready.project)).text == PAGE

    async def test_a_pack_that_comes_while_it_is_asked_for_again_is_served(
        self, hosting: Hosting
    ) -> None:
        ready = await hosting.publish({"index.html": PAGE})
        pack = pack_of(ready.release)
        body = await hosting.bucket.get(pack)
        await hosting.bucket.delete(pack)
        hosting.bucket.reads.clear()
        asking = asyncio.create_task(hosting.get(ready.project))
        while not hosting.bucket.reads[pack]:
            await asyncio.sleep(0.005)
        await hosting.bucket.put(pack, body, content_type=PACK_TYPE)
        assert (await asking).text == PAGE

    async def test_other_bytes_than_the_manifest_names_are_not_served(
        self, hosting: Hosting
    ) -> None:
        ready = await hosting.publish({"index.html": PAGE})
        pack = pack_of(ready.release)
        body = await hosting.bucket.get(pack)
        await hosting.bucket.put(pack, b"?" + body[1:], content_type=PACK_TYPE)
        await self.assert_unreadable(hosting, ready.project)

    @pytest.mark.parametrize("body", [b"", b"{", b'{"schema": 2}'])
    async def test_a_manifest_that_cannot_be_read_is_503(
        self, hosting: Hosting, body: bytes
    ) -> None:
        ready = await hosting.publish({"index.html": PAGE})
        right = await hosting.bucket.get(ready.release)
        await hosting.bucket.put(ready.release, body, content_type="application/octet-stream")
        await self.assert_unreadable(hosting, ready.project)
        await hosting.bucket.put(ready.release, right, content_type="application/octet-stream")
        assert (await hosting.get(ready.project)).text == PAGE

    async def test_an_s3_that_is_away_is_503_for_what_is_not_cached(self, hosting: Hosting) -> None:
        ready = await hosting.publish(SITE)
        assert (await hosting.get(ready.project)).text == PAGE
        hosting.bucket._client.meta.events.register("before-send.s3", _refuse)
        await self.assert_unreadable_path(hosting, ready.project, "/about")
        assert (await hosting.get(ready.project)).text == PAGE

    async def assert_unreadable_path(self, hosting: Hosting, label: str, path: str) -> None:
        assert (await hosting.get(label, path)).status_code == 503


def _refuse(**_: object) -> None:
    raise OSError("unreachable")


def pack_of(manifest: str) -> str:
    """The pack that the claim of a manifest wrote."""
    _, repository, name = manifest.split("/")
    deployment, _, claim = name.removesuffix(".json").rpartition("-")
    return release.pack_name(repository, deployment, claim)
