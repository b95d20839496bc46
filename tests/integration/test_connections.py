"""Connections of people who mean no good: requests without an end, readers who never read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from bot.connections import Limits
from tests.hosting import served

GET = b"GET / HTTP/1.1\r\nHost: pushlane.test\r\n"
POST = b"POST / HTTP/1.1\r\nHost: pushlane.test\r\n"
KILOBYTE = b"a" * 1024
LONG = 64 * 1024 * 1024
"""More than the kernel's buffers hold."""


class Shop:
    """An application that tells what it saw of each request."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.closing = asyncio.Event()
        self.closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        if scope["path"] == "/early":
            await self.answer(send, b"refused")
            return
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.append("left")
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.seen.append(f"{scope['method']} {size}")
        if scope["path"] == "/long":
            await self.long(send)
        else:
            await self.closing.wait()
            await self.answer(send, b"hello")

    async def answer(self, send: Send, body: bytes) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def long(self, send: Send) -> None:
        headers = [(b"content-length", b"%d" % LONG)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for start in range(0, LONG, 65_536):
            part = {"type": "http.response.body", "body": bytes(65_536)}
            await send({**part, "more_body": start + 65_536 < LONG})
        self.seen.append("sent")


class Peer:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body of the next answer."""
        async with asyncio.timeout(20):
            head = await self.reader.readuntil(b"\r\n\r\n")
            names = dict(
                line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if b": " in line
            )
            body = await self.reader.readexactly(int(names[b"content-length"]))
        return int(head.split(b" ")[1]), body

    async def refused(self) -> tuple[int, str]:
        """The status and the code of a problem, after which the connection is closed."""
        status, body = await self.answer()
        assert await self.closed() == b""
        return status, str(json.loads(body)["code"])

    async def closed(self) -> bytes:
        """What else comes until the server closes the connection, which it does."""
        try:
            async with asyncio.timeout(20):
                return await self.reader.read()
        except ConnectionResetError:
            return b""


Connect = Callable[[], Awaitable[Peer]]


@asynccontextmanager
async def a_shop(limits: Limits) -> AsyncIterator[tuple[Shop, Connect]]:
    shop, writers = Shop(), []

    async with served(shop, limits=limits) as port:

        async def connect() -> Peer:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
            writers.append(writer)
            return Peer(reader, writer)

        try:
            yield shop, connect
        finally:
            for writer in writers:
                writer.transport.abort()


ORDINARY = Limits(connections=100)
HASTY = Limits(connections=100, head_seconds=0.3, body_seconds=0.3, unread_seconds=0.3)
BRISK = Limits(connections=100, head_seconds=1.5, body_seconds=1.5, unread_seconds=1.5)
"""Where something must succeed: the machine may be slow."""


class TestHead:
    """64 KB for the request line and all headers, and some seconds to send them."""

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /" + 70 * KILOBYTE,
            GET + b"X: " + 70 * KILOBYTE,
            GET + b"X: a\r\n" * 12_000,
            GET + b"X: a\r\n" * 12_000 + b"\r\n",
            GET + (b"X: " + KILOBYTE + b"\r\n") * 66 + b"\r\n",
            GET + b"X: " + 600 * KILOBYTE,
        ],
    )
    @pytest.mark.parametrize("size", [1000, 1_000_000])
    async def test_one_that_is_too_large_is_refused_in_whatever_pieces_it_comes(
        self, head: bytes, size: int
    ) -> None:
        async with a_shop(ORDINARY) as (shop, connect):
            peer = await connect()
            # The server may refuse it, and close, before all of it is sent.
            sending = asyncio.create_task(
                peer.send(*(head[at : at + size] for at in range(0, len(head), size)))
            )
            assert (await peer.answer())[0] == 431
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            assert shop.seen == []

    async def test_what_a_trailer_adds_counts_too(self) -> None:
        async with a_shop(ORDINARY) as (_, connect):
            peer = await connect()
            trailer = (b"X: " + KILOBYTE + b"\r\n") * 66
            await peer.send(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + trailer)
            assert (await peer.answer())[0] == 431

    async def test_sixty_kilobytes_of_it_are_taken_in_each_request_of_a_connection(self) -> None:
        async with a_shop(ORDINARY) as (shop, connect):
            peer = await connect()
            for _ in range(3):
                await peer.send(GET, *[b"X: " + KILOBYTE + b"\r\n"] * 58, b"\r\n")
                assert await peer.answer() == (200, b"hello")
            assert shop.seen == ["GET 0"] * 3

    @pytest.mark.parametrize("start", [b"G", GET, GET + b"X: ", b"\r\n\r\n"])
    async def test_one_that_does_not_end_is_refused_in_time(self, start: bytes) -> None:
        async with a_shop(HASTY) as (shop, connect):
            peer = await connect()
            await peer.send(start)
            assert await peer.refused() == (408, "request_late")
            assert shop.seen == []

    async def test_one_that_drips_is_refused_in_time(self) -> None:
        async with a_shop(HASTY) as (_, connect):
            peer = await connect()

            async def drip() -> None:
                while True:
                    await peer.send(b"X: a\r\n")
                    await asyncio.sleep(0.02)

            await peer.send(GET)
            dripping = asyncio.create_task(drip())
            assert (await peer.answer())[0] == 408
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)

    async def test_a_connection_that_says_nothing_is_closed_without_a_word(self) -> None:
        async with a_shop(HASTY) as (_, connect):
            assert await (await connect()).closed() == b""

    async def test_line_ends_keep_no_connection_that_was_answered(self) -> None:
        async with a_shop(BRISK) as (_, connect):
            peer = await connect()
            await peer.send(GET + b"\r\n")
            assert await peer.answer() == (200, b"hello")
            await peer.send(b"\r\n")
            await peer.closed()

    async def test_two_requests_at_once_are_answered_in_turn_however_long_that_takes(self) -> None:
        async with a_shop(BRISK) as (shop, connect):
            peer = await connect()
            shop.closing.clear()
            await peer.send(GET + b"\r\n" + GET + b"\r\n" + GET)
            await asyncio.sleep(2 * BRISK.head_seconds)
            shop.closing.set()
            assert await peer.answer() == (200, b"hello")
            assert await peer.answer() == (200, b"hello")
            await peer.send(b"\r\n")
            assert await peer.answer() == (200, b"hello")


class TestBody:
    """It comes in time, or the application hears that it will not."""

    @pytest.mark.parametrize(
        "head", [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf"]
    )
    async def test_one_that_does_not_end_is_refused_in_time(self, head: bytes) -> None:
        async with a_shop(HASTY) as (shop, connect):
            peer = await connect()
            await peer.send(POST + head)
            assert await peer.refused() == (408, "request_late")
            async with asyncio.timeout(10):
                while shop.seen != ["left"]:
                    await asyncio.sleep(0.01)

    async def test_one_that_goes_on_after_the_answer_is_cut_off(self) -> None:
        async with a_shop(HASTY) as (_, connect):
            peer = await connect()
            await peer.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nx")
            assert await peer.answer() == (200, b"refused")

            async def go_on() -> None:
                while True:
                    await peer.send(b"x")
                    await asyncio.sleep(0.02)

            going = asyncio.create_task(go_on())
            await peer.closed()
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    async def test_the_next_one_on_a_connection_has_its_own_time(self) -> None:
        async with a_shop(BRISK) as (shop, connect):
            peer = await connect()
            for _ in range(6):
                await peer.send(POST + b"Content-Length: 4\r\n\r\nha")
                await asyncio.sleep(BRISK.body_seconds / 4)
                await peer.send(b"lf")
                assert await peer.answer() == (200, b"hello")
            assert shop.seen == ["POST 4"] * 6


class TestReader:
    """Who takes nothing of what is sent is gone; who takes it slowly is not."""

    async def test_who_takes_nothing_is_cut_off(self) -> None:
        async with a_shop(HASTY) as (shop, connect):
            peer = await connect()
            await peer.send(GET.replace(b"/ ", b"/long ", 1) + b"\r\n")
            async with asyncio.timeout(20):
                while shop.seen != ["GET 0", "sent"]:  # a sender is told nothing of it
                    await asyncio.sleep(0.02)
            assert len(await peer.closed()) < LONG

    async def test_who_takes_little_at_a_time_gets_all_of_it(self) -> None:
        async with a_shop(BRISK) as (_, connect):
            peer = await connect()
            await peer.send(GET.replace(b"/ ", b"/long ", 1) + b"\r\n")
            head = await peer.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            taken = 0
            # Slower than the kernel's buffers empty: the server itself sees no room for seconds.
            for _ in range(40):
                taken += len(await peer.reader.read(32_768))
                await asyncio.sleep(BRISK.unread_seconds / 15)
            while part := await peer.reader.read(1 << 20):
                taken += len(part)
                if taken == LONG:
                    break
            assert taken == LONG


class TestMany:
    """More connections than are let in: who asks for something comes before who waits."""

    async def test_who_has_waited_longest_makes_room(self) -> None:
        async with a_shop(Limits(connections=5)) as (_, connect):
            half = []
            for _ in range(20):
                half.append(await connect())
                await half[-1].send(GET)
            peer = await connect()
            await peer.send(GET + b"\r\n")
            assert await peer.answer() == (200, b"hello")
            for gone in half[:15]:
                assert await gone.closed() == b""
            await half[-1].send(b"\r\n")
            assert await half[-1].answer() == (200, b"hello")

    async def test_when_all_are_at_work_the_next_is_told_to_come_again(self) -> None:
        async with a_shop(Limits(connections=3)) as (shop, connect):
            shop.closing.clear()
            working = [await connect() for _ in range(3)]
            for peer in working:
                await peer.send(GET + b"\r\n")
            async with asyncio.timeout(10):
                while len(shop.seen) < 3:
                    await asyncio.sleep(0.01)
            late = await connect()
            head = await late.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: " in head.lower()
            shop.closing.set()
            for peer in working:
                assert await peer.answer() == (200, b"hello")
            again = await connect()
            await again.send(GET + b"\r\n")
            assert await again.answer() == (200, b"hello")
