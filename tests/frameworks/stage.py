"""The whole product for `scripts/frameworks`: servers, GitHub's stand-in, a bot and a worker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.acceptance.house import House, a_house
from tests.chaos.servers import own_servers
from tests.standin import StandIn


def toolchains(directory: Path) -> Path:
    """Where the worker of a house there keeps its tools; they stay for the next time."""
    return directory / "kept" / "toolchains"


@asynccontextmanager
async def standing(directory: Path) -> AsyncIterator[House]:
    """A house that builds one thing at a time, with nothing of an earlier one but its tools."""
    await asyncio.to_thread(_tidy, directory)
    async with own_servers(directory) as (redis_url, s3):
        async with StandIn(directory / "github") as github:
            house = a_house(
                directory,
                redis_url=redis_url,
                s3=s3,
                prefix="frameworks",
                github=github,
                PUSHLANE_BUILD_CONCURRENCY="1",
            )
            try:
                house.start_bot()
                house.start_worker()
                await house.until_ready()
                yield house
            finally:
                await asyncio.to_thread(house.close)


def _tidy(directory: Path) -> None:
    tools = toolchains(directory)
    tools.mkdir(parents=True, exist_ok=True)
    for place in (directory, tools.parent):
        for path in place.iterdir():
            if path in (tools, tools.parent):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
