"""What the process itself answers to those who have no business here."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.house import House


async def answered(house: House, request: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(request)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def test_a_head_has_a_size(house: House) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: "
    small = await answered(house, head + b"a" * 60_000 + b"\r\n\r\n")
    assert small.startswith(b"HTTP/1.1 200 ")
    large = await answered(house, head + b"a" * 70_000 + b"\r\n\r\n")
    assert large.startswith(b"HTTP/1.1 431 ")
    assert b'"headers_too_large"' in large


@pytest.mark.parametrize("path", ["/api/v1", "/healthz/", "/sign-in/", "/deployments/x/"])
async def test_no_answer_leads_to_the_host_that_a_request_names(house: House, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    answer = await answered(house, head.encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"evil.example" not in answer
