"""Real servers for every tier, one of each for the whole session.

They are plain fixtures, bound to no event loop. What keeps tests apart is a random prefix each. A
server that cannot be started fails the tests that need it; nothing is skipped.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from bot.embedded import start_seaweedfs, start_valkey


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start, whatever the shell that runs them ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3:
    """An S3 that runs. `environ` is what a process needs to find it."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    environ: Mapping[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """The one that these variables tell of."""
        return cls(
            endpoint_url=environ["PUSHLANE_S3_ENDPOINT_URL"],
            access_key=environ["AWS_ACCESS_KEY_ID"],
            secret_key=environ["AWS_SECRET_ACCESS_KEY"],
            bucket=environ["PUSHLANE_S3_BUCKET"],
            environ=environ,
        )


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the embedded Valkey."""
    server = asyncio.run(
        start_valkey(tmp_path_factory.mktemp("valkey"), password=secrets.token_hex(8), port=0)
    )
    yield server.environ["PUSHLANE_REDIS_URL"]
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis as the distribution ships it (7.0 on Debian 12), durable as ours."""
    binary = shutil.which("redis-server")
    assert binary, "install redis-server: scripts/setup --dev does, as root"
    server = asyncio.run(
        start_valkey(
            tmp_path_factory.mktemp("redis"),
            password=secrets.token_hex(8),
            port=0,
            binary=Path(binary),
        )
    )
    yield server.environ["PUSHLANE_REDIS_URL"]
    asyncio.run(server.stop())


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """The embedded SeaweedFS."""
    server = asyncio.run(
        start_seaweedfs(
            tmp_path_factory.mktemp("seaweedfs"),
            access_key=secrets.token_hex(10),
            secret_key=secrets.token_hex(16),
            bucket="pushlane-tests",
        )
    )
    yield S3.of(server.environ)
    asyncio.run(server.stop())


@pytest.fixture
def prefix() -> str:
    """A prefix of this test's own, for keys in Redis (`redis_prefix`) and objects in S3 alike."""
    return f"t{secrets.token_hex(6)}"
