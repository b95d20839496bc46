"""One house for all tests that leave it standing, and one of its own for each that does not."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.house import House, a_house
from tests.conftest import S3
from tests.standin import StandIn


@contextmanager
def standing(directory: Path, redis_url: str, s3: S3, **settings: str) -> Iterator[House]:
    """A house with a bot and a worker that run."""
    github = StandIn(directory / "github")
    asyncio.run(github.__aenter__())
    prefix = f"house{secrets.token_hex(4)}"
    made = a_house(directory, redis_url=redis_url, s3=s3, prefix=prefix, github=github, **settings)
    try:
        made.start_bot()
        made.start_worker()
        asyncio.run(made.until_ready())
        yield made
    finally:
        made.close()
        asyncio.run(github.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, valkey: str, seaweedfs: S3) -> Iterator[House]:
    """A bot and a worker that run for the whole session. Each test has repositories of its own."""
    directory = tmp_path_factory.mktemp("house")
    with standing(directory, valkey, seaweedfs, PUSHLANE_BUILD_CONCURRENCY="2") as made:
        yield made


@pytest.fixture(scope="session")
def strict_house(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, seaweedfs: S3
) -> Iterator[House]:
    """One whose builds may take little, so that a test need not wait for much."""
    with standing(
        tmp_path_factory.mktemp("strict"),
        valkey,
        seaweedfs,
        PUSHLANE_BUILD_TIMEOUT_SECONDS="8",
        PUSHLANE_BUILD_MEMORY_MB="300",
        PUSHLANE_BUILD_LOG_MB="2",
        PUSHLANE_BUILD_OUTPUT_MB="5",
        PUSHLANE_BUILD_OUTPUT_FILES="100",
    ) as made:
        yield made


@pytest.fixture
async def own_house(
    tmp_path: Path, valkey: str, seaweedfs: S3, prefix: str
) -> AsyncIterator[House]:
    """A house of the test's own, nothing of it started yet."""
    async with StandIn(tmp_path / "github") as github:
        made = a_house(tmp_path, redis_url=valkey, s3=seaweedfs, prefix=prefix, github=github)
        try:
            yield made
        finally:
            await asyncio.to_thread(made.close)


@pytest.fixture
def name() -> str:
    """A repository's name that no other test uses."""
    return f"acme/site-{secrets.token_hex(4)}"
