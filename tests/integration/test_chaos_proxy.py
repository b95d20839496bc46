"""The fault proxy breaks what it is told to break, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from tests.chaos.proxy import Proxy

PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 7\r\n\r\nhello"


@asynccontextmanager
async def a_server() -> AsyncIterator[int]:
    """Answers each request by the same page, on connections that stay."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(PAGE)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with a_server() as port:
        found = Proxy("test", lambda: [("127.0.0.1", 1), ("127.0.0.1", port)], http=True)
        await found.start()
        yield found
        await found.close()


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as found:
        yield found


async def asked(client: httpx2.AsyncClient, proxy: Proxy) -> int:
    """The status of one request; 0 for a connection that broke."""
    try:
        answer = await client.post(f"http://127.0.0.1:{proxy.port}/a")
    except httpx2.TransportError:
        return 0
    assert answer.status_code != 200 or answer.text == "hello"
    return answer.status_code


async def test_what_meets_no_fault_passes_past_a_target_that_does_not_listen(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    assert [await asked(client, proxy) for _ in range(3)] == [200] * 3
    assert [(each.method, each.path, each.status) for each in proxy.exchanges] == [
        ("POST", "/a", 200)
    ] * 3
    assert proxy.exchanges[0].retry_after == 7
    assert not proxy.hits


async def test_it_refuses_as_many_requests_as_it_is_told(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    await asked(client, proxy)
    proxy.refuse(times=2, status=500)
    assert [await asked(client, proxy) for _ in range(3)] == [500, 500, 200]
    assert proxy.hits == {"refuse": 2}
    proxy.refuse(times=5)
    proxy.forgive()
    assert await asked(client, proxy) == 200


async def test_it_cuts_an_answer_after_so_many_bytes(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    proxy.cut(times=1, after=20)
    assert [await asked(client, proxy) for _ in range(2)] == [0, 200]
    assert proxy.hits == {"cut": 1}


async def test_a_reset_ends_what_is_open_and_nothing_that_comes(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"GET /a HTTP/1.1\r\n\r\n")
    await reader.readexactly(len(PAGE))
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
    assert await asked(client, proxy) == 200


async def test_in_a_silence_nothing_passes_and_after_it_what_was_held_back(
    proxy: Proxy, client: httpx2.AsyncClient
) -> None:
    await asked(client, proxy)
    began = time.monotonic()
    silence = asyncio.create_task(proxy.silence(0.5))
    await asyncio.sleep(0)
    assert await asked(client, proxy) == 200
    assert time.monotonic() - began >= 0.5
    await silence
    slow = asyncio.create_task(proxy.slow(1, latency=0.3))
    await asyncio.sleep(0)
    began = time.monotonic()
    assert await asked(client, proxy) == 200
    assert time.monotonic() - began >= 0.6
    proxy.restore()
    await slow
