"""Deliveries that are too large or cut short, and a Redis that is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.applications import Starlette

from bot.core.deployment import Status
from bot.embedded import start_valkey
from bot.receiver import Receiver, Room
from bot.webhook import BODY_LIMIT
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload, served, signed, until

WEBHOOK = "/webhooks/github"
CHUNK = b"x" * 1_000_000


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


def a_body(size: int) -> bytes:
    """A push event of exactly so many bytes."""
    payload = a_payload("A")
    room = size - len(json.dumps(payload | {"padding": ""}))
    return json.dumps(payload | {"padding": "x" * room}).encode()


def headers_of(body: bytes, **changes: str) -> dict[str, str]:
    told = {name: text for name, text in signed(body).items() if text is not None}
    return told | {name.replace("_", "-"): text for name, text in changes.items()}


class TestSize:
    """25 MB, as GitHub says, and not a byte more, whatever a header says of it."""

    async def test_the_largest_that_github_sends_is_taken(self, door: FrontDoor) -> None:
        assert BODY_LIMIT == 25_000_000
        body = a_body(BODY_LIMIT)
        assert len(body) == BODY_LIMIT
        assert (await door.send(body)).status_code == 202
        answer = await door.send(a_body(BODY_LIMIT + 1))
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert await door.count() == 1

    @pytest.mark.parametrize("length", ["10", "0", ""])
    async def test_what_streams_on_is_cut_off_at_the_limit_whatever_its_length_is_said_to_be(
        self, door: FrontDoor, length: str
    ) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 2 * BODY_LIMIT:
                sent += len(CHUNK)
                yield CHUNK

        headers = headers_of(b"", **({"Content_Length": length} if length else {}))
        answer = await door.client.post(WEBHOOK, content=endless(), headers=headers)
        assert answer.status_code == 413
        assert sent <= BODY_LIMIT + len(CHUNK)

    async def test_without_a_length_it_is_refused_by_a_real_server_too(
        self, door: FrontDoor
    ) -> None:
        body = a_body(26_000_000)

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), len(CHUNK)):
                yield body[start : start + len(CHUNK)]

        async with served(door.app) as url, httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.post(url + WEBHOOK, content=chunks(), headers=headers_of(body))
            assert answer.request.headers["transfer-encoding"] == "chunked"
            assert answer.status_code == 413
            assert answer.json()["code"] == "body_too_large"
            answer = await client.post(url + WEBHOOK, content=body, headers=headers_of(body))
            assert answer.status_code == 413
            small = a_body(10_000)
            answer = await client.post(url + WEBHOOK, content=small, headers=headers_of(small))
            assert answer.status_code == 202
        assert await door.count() == 1

    async def test_one_that_says_it_is_too_large_is_refused_before_it_comes(
        self, door: FrontDoor
    ) -> None:
        async with served(door.app) as url:
            said = await spoken(url, headers_of(b"{", Content_Length="26000000"), b"{")
            assert said.startswith(b"HTTP/1.1 413 ")

    async def test_one_that_is_longer_than_it_says_is_not_what_was_signed(
        self, door: FrontDoor
    ) -> None:
        body = a_body(5000)
        async with served(door.app) as url:
            said = await spoken(url, headers_of(body, Content_Length="4000"), body)
            assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
        assert await door.count() == 0

    async def test_one_that_is_cut_short_is_no_delivery(
        self, door: FrontDoor, caplog: pytest.LogCaptureFixture
    ) -> None:
        body = a_body(5000)
        async with served(door.app) as url:
            for end in (2500, 5000):
                told = headers_of(body, Content_Length="6000")
                assert await spoken(url, told, body[:end], leave=True) == b""
            assert await door.count() == 0
            assert not [record for record in caplog.records if record.levelname == "ERROR"]

            async def counted() -> bool:
                return (await door.ledger.refusals.read())[0] == {"body_cut_short": 2}

            await until(counted)
            async with httpx2.AsyncClient(trust_env=False) as client:
                answer = await client.post(url + WEBHOOK, content=body, headers=headers_of(body))
            assert answer.status_code == 202


class TestUnsigned:
    """What strangers send is held no longer, and no more of it, than there is room for."""

    @pytest.mark.parametrize("signature", [None, "sha256=00", "sha1=" + "0" * 40])
    async def test_one_without_a_signature_is_refused_before_its_body_comes(
        self, door: FrontDoor, signature: str | None
    ) -> None:
        told = headers_of(b"", Content_Length="1000000")
        told.pop("X-Hub-Signature-256")
        if signature:
            told["X-Hub-Signature-256"] = signature
        async with served(door.app) as url:
            assert (await spoken(url, told, b"")).startswith(b"HTTP/1.1 401 ")
        await door.ledger.refusals.aclose()
        code = "signature_invalid" if signature else "signature_missing"
        assert (await door.ledger.refusals.read())[0] == {code: 1}

    async def test_bodies_that_do_not_end_leave_room_for_what_is_pushed(
        self, door: FrontDoor
    ) -> None:
        room = Room(3_000_000)
        app = Starlette(routes=[Receiver(door.ledger, door.settings, room=room).route])
        async with served(app) as url, httpx2.AsyncClient(trust_env=False) as client:
            parts = urlsplit(url)

            async def half() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                told = headers_of(b"", Content_Length="20000000", Host=parts.netloc)
                lines = [f"POST {WEBHOOK} HTTP/1.1", *(f"{k}: {v}" for k, v in told.items())]
                writer.write("\r\n".join([*lines, "", ""]).encode() + 2 * CHUNK)
                return reader, writer

            async def held() -> bool:
                return room._left < 1_300_000

            first = await half()
            await until(held)
            others = [await half() for _ in range(5)]
            for reader, writer in others:
                assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
                assert b"receiver_full" in await reader.readuntil(b"}")
                writer.transport.abort()

            async def post(size: int) -> httpx2.Response:
                body = a_body(size)
                return await client.post(url + WEBHOOK, content=body, headers=headers_of(body))

            assert (await post(200_000)).status_code == 202
            large = await post(2_000_000)
            assert (large.status_code, large.json()["code"]) == (503, "receiver_full")
            assert large.headers["retry-after"] == "5"
            first[1].transport.abort()

            async def taken() -> bool:
                return (await post(2_000_000)).status_code == 202

            await until(taken)


async def spoken(url: str, headers: dict[str, str], body: bytes, *, leave: bool = False) -> bytes:
    """What a server answers first to a request that is written by hand."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"POST {WEBHOOK} HTTP/1.1", f"Host: {parts.netloc}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        if leave:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.readline()
    finally:
        writer.close()


@asynccontextmanager
async def a_silent_redis() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def refused_in_time(door: FrontDoor) -> None:
    """Fails unless deliveries and calls are answered by 503 within two seconds."""
    calls = [
        door.send(a_payload("A")),
        door.send(a_payload("0" * 40, before="A")),
        door.send({"zen": ""}, event="ping"),
        door.client.get("/api/v1/queue"),
        *(door.send(a_payload(f"more {number}")) for number in range(20)),
    ]
    began = time.monotonic()
    answers = await asyncio.gather(*calls)
    assert time.monotonic() - began < 2
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["code"] == "redis_unreachable"


class TestRedisAway:
    """No answer of 2xx without a record: 503 within two seconds, and GitHub is asked again."""

    async def test_where_nothing_listens(self, seaweedfs: S3, prefix: str, tmp_path: Path) -> None:
        nowhere = "redis://127.0.0.1:1/0"
        async with a_front_door(nowhere, seaweedfs, prefix, tmp_path) as door:
            await refused_in_time(door)

    async def test_where_nothing_answers(self, seaweedfs: S3, prefix: str, tmp_path: Path) -> None:
        async with (
            a_silent_redis() as url,
            a_front_door(url, seaweedfs, prefix, tmp_path) as door,
        ):
            await refused_in_time(door)

    async def test_restarted_while_nobody_called_it_fails_none_of_those_who_call_then(
        self, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        server = await start_valkey(tmp_path / "own", password="own", port=0)
        try:
            url = server.environ["PUSHLANE_REDIS_URL"]
            async with a_front_door(url, seaweedfs, prefix, tmp_path) as door:
                for time_ in range(2):
                    answers = await asyncio.gather(
                        *(door.send(a_payload(f"{n}", branch=f"b{n}", at=time_)) for n in range(25))
                    )
                    assert [answer.status_code for answer in answers] == [202] * 25
                    await server.stop()
                    server = await server.start()
        finally:
            await server.stop()

    async def test_one_that_stops_and_comes_back_holds_what_was_answered_and_nothing_else(
        self, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        server = await start_valkey(tmp_path / "own", password="own", port=0)
        try:
            url = server.environ["PUSHLANE_REDIS_URL"]
            async with a_front_door(url, seaweedfs, prefix, tmp_path) as door:
                first = await door.push("first", at=1)
                await server.stop()
                await refused_in_time(door)
                server = await server.start()
                assert await door.count() == 1
                second = await door.push("second", before="first", at=2)
                assert (await door.record(first)).status is Status.RECEIVED
                assert (await door.record(second)).status is Status.RECEIVED
                assert await door.count() == 2
        finally:
            await server.stop()
