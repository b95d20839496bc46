"""GitHub by its own names, behind a company's CA and proxy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.house import PAGE, a_house
from tests.conftest import S3
from tests.standin import StandIn, Worktree
from tests.standin.certificates import make_certificates


@asynccontextmanager
async def a_proxy(port: int, asked: list[str]) -> AsyncIterator[str]:
    """A CONNECT proxy that leads to `port` on this machine, whatever host it is asked for."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split()[1].decode())
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, back), pipe(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_with_both_urls_at_their_defaults_a_push_becomes_a_live_site(
    tmp_path: Path, valkey: str, seaweedfs: S3, prefix: str, name: str
) -> None:
    certificates = make_certificates(tmp_path)
    asked: list[str] = []
    async with (
        StandIn(
            tmp_path / "github",
            tls=certificates.tls,
            url="https://github.com",
            api_url="https://api.github.com",
        ) as github,
        a_proxy(github.port, asked) as proxy,
    ):
        ca = str(certificates.ca)
        house = a_house(
            tmp_path, redis_url=valkey, s3=seaweedfs, prefix=prefix, github=github,
            SSL_CERT_FILE=ca, GIT_SSL_CAINFO=ca, REQUESTS_CA_BUNDLE=ca,
            HTTPS_PROXY=proxy, NO_PROXY="127.0.0.1,localhost",
        )  # fmt: skip
        for setting in ("PUSHLANE_GITHUB_URL", "PUSHLANE_GITHUB_API_URL"):
            del house.environ[setting]
        try:
            house.start_bot()
            house.start_worker()
            await house.until_ready()
            github.create_repository(name)
            local = f"https://127.0.0.1:{github.port}/{name}.git"
            worktree = Worktree(tmp_path / "work", local, token=github.token, ca=certificates.ca)
            sha = await house.push(worktree, {"index.html": PAGE.format("by name")})
            record = await house.ready(sha)
            await house.shows(record["project"], "by name")
            await house.states(sha, last="success")
            assert {"github.com:443", "api.github.com:443"} <= set(asked)
        finally:
            await asyncio.to_thread(house.close)
