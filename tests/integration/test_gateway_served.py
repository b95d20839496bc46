"""The gateway behind a real uvicorn: odd requests, long answers, visitors who leave."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from bot.gateway.located import BLOCK
from tests.conftest import S3
from tests.hosting import DOMAIN, PAGE, Hosting, a_gateway, a_hosting, served

LONG = os.urandom(3 * BLOCK + 4321)
FILM = os.urandom(60 * BLOCK)
"""More than the kernel's buffers hold, so that the server waits for who does not read."""


@pytest.fixture
async def hosting(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> AsyncIterator[Hosting]:
    async with a_hosting(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


@asynccontextmanager
async def connected(
    port: int, line: bytes, *headers: str, host: str = f"site.{DOMAIN}"
) -> AsyncIterator[asyncio.StreamReader]:
    """What comes back for a request line, as it stands, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (f"Host: {host}", "Connection: close", *headers, "", "")
    writer.write(line + b"\r\n" + "\r\n".join(lines).encode())
    try:
        yield reader
    finally:
        writer.transport.abort()


async def status(port: int, line: bytes) -> int:
    async with connected(port, line) as reader:
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", await reader.read())
        assert found, "there was no answer"
        return int(found[1])


async def test_odd_paths_are_not_found_and_never_an_error(
    hosting: Hosting, caplog: pytest.LogCaptureFixture
) -> None:
    await hosting.publish({"index.html": PAGE, "a/index.html": "a", "�.txt": "odd", "ü.txt": "u"})
    async with served(hosting.gateway) as port:
        for path in (
            b"/%00",
            b"/index.html%00",
            b"/../../../etc/passwd",
            b"/a/../index.html",
            b"/%2e%2e/%2e%2e/etc/passwd",
            b"/%252e%252e/index.html",
            b"/..%2f..%2findex.html",
            b"//a",
            b"//evil.com",
            b"/%2F/evil.com",
            b"/%5Cevil.com",
            b"/a%5C..%5Cindex.html",
            b"/\\evil.com",
            b"/%FF.txt",
            b"/%C0%AE%C0%AE/index.html",
            b"/%E2%82",
            b"/%ZZ",
            b"/%",
            b"/%0d%0aSet-Cookie:%20a=b",
            b"/" + b"a/" * 5000,
            b"/;/a",
        ):
            assert await status(port, b"GET " + path + b" HTTP/1.1") == 404, path
        for path, expected in (
            (b"/", 200),
            (b"/?x=%00%FF", 200),
            (b"/a", 301),
            (b"/%61/", 200),
            (b"/%C3%BC.txt", 200),
            (b"/%EF%BF%BD.txt", 200),
            (b"http://elsewhere.test/a/", 200),
        ):
            assert await status(port, b"GET " + path + b" HTTP/1.1") == expected, path
        for line in (b"GET /\xff HTTP/1.1", b"GET /\x01 HTTP/1.1", b"GET / HTTP/9", b"\x16\x03"):
            assert await status(port, line) == 400, line
        assert await status(port, b"OPTIONS * HTTP/1.1") in (204, 400)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_the_location_of_a_redirect_is_a_path_of_this_host(hosting: Hosting) -> None:
    await hosting.publish({"a/index.html": "a"})
    async with (
        served(hosting.gateway) as port,
        connected(port, b"GET /a?x=1&y=//evil.com HTTP/1.1") as reader,
    ):
        assert b"\r\nlocation: /a/?x=1&y=//evil.com\r\n" in await reader.read()


async def test_a_request_without_a_host_or_with_two_is_answered(hosting: Hosting) -> None:
    await hosting.publish({"index.html": PAGE})
    async with served(hosting.gateway) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        writer.close()
        second = f"Host: site.{DOMAIN}"
        async with connected(port, b"GET / HTTP/1.1", second, host="nobody.test") as answer:
            assert (await answer.read()).split(b" ")[1] in (b"200", b"400")


async def test_what_is_longer_than_a_block_is_sent_whole_and_in_parts(hosting: Hosting) -> None:
    await hosting.publish({"long.bin": LONG})
    async with served(hosting.gateway) as port, httpx2.AsyncClient() as client:
        url, host = f"http://127.0.0.1:{port}/long.bin", {"host": f"site.{DOMAIN}"}
        for _ in range(2):
            found = await client.get(url, headers=host)
            assert (found.status_code, found.content == LONG) == (200, True)
        assert hosting.bucket.reads.total() == 1 + 4, "the manifest, and each block once"
        for first, last in (
            (0, 0),
            (BLOCK - 1, BLOCK),
            (5, 3 * BLOCK + 5),
            (BLOCK, 2 * BLOCK - 1),
            (3 * BLOCK, len(LONG) - 1),
        ):
            found = await client.get(url, headers={**host, "range": f"bytes={first}-{last}"})
            assert (found.status_code, found.content == LONG[first : last + 1]) == (206, True)
            assert found.headers["content-length"] == str(last + 1 - first)
        head = await client.head(url, headers=host)
        assert head.headers["content-length"] == str(len(LONG))


async def test_of_a_film_only_the_blocks_that_are_asked_for_are_read(hosting: Hosting) -> None:
    await hosting.publish({"film.mp4": FILM})
    async with served(hosting.gateway) as port, httpx2.AsyncClient() as client:
        headers = {"host": f"site.{DOMAIN}", "range": f"bytes={20 * BLOCK}-{20 * BLOCK + 9}"}
        found = await client.get(f"http://127.0.0.1:{port}/film.mp4", headers=headers)
        assert found.content == FILM[20 * BLOCK : 20 * BLOCK + 10]
        assert hosting.bucket.reads.total() == 1 + 1


async def test_nothing_more_is_read_for_who_has_left(
    hosting: Hosting, caplog: pytest.LogCaptureFixture
) -> None:
    await hosting.publish({"film.mp4": FILM})
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await hosting.gateway(scope, receive, send)
        finally:
            ended.set()

    async with served(app) as port:
        async with connected(port, b"GET /film.mp4 HTTP/1.1") as reader:
            await reader.readexactly(1000)
            assert not ended.is_set()
        async with asyncio.timeout(5):
            await ended.wait()
    assert hosting.bucket.reads.total() < 45
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_an_answer_that_cannot_be_read_to_its_end_is_cut_not_completed(
    hosting: Hosting,
) -> None:
    ready = await hosting.publish({"film.mp4": FILM})
    pack = ready.release.replace("releases", "packs").replace(".json", ".pack")
    gateway = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "x", disk_bytes=0)
    async with (
        served(gateway) as port,
        connected(port, b"GET /film.mp4 HTTP/1.1") as reader,
    ):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await hosting.bucket.delete(pack)
        received = bytearray()
        while found := await reader.read(1 << 20):
            received += found
        assert 0 < len(received) < len(FILM)
        assert bytes(received) == FILM[: len(received)]
        async with connected(port, b"GET /film.mp4 HTTP/1.1") as again:
            assert b" 503 " in await again.readline()
    await gateway.aclose()


async def test_without_a_disk_a_long_answer_to_a_slow_visitor_reads_each_block_once(
    hosting: Hosting,
) -> None:
    await hosting.publish({"film.mp4": FILM})
    gateway = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "x", disk_bytes=0)
    async with served(gateway) as port, connected(port, b"GET /film.mp4 HTTP/1.1") as reader:
        await reader.readuntil(b"\r\n\r\n")
        counts = list(range(-20, 0))
        while counts[-1] != counts[-20]:  # until the server waits for us
            await asyncio.sleep(0.01)
            counts.append(hosting.bucket.reads.total())
        assert counts[-1] < 60
        assert await reader.readexactly(len(FILM)) == FILM
        assert hosting.bucket.reads.total() == 1 + 60
    await gateway.aclose()
