"""A Valkey and a SeaweedFS of a table's own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bot.embedded import start_seaweedfs, start_valkey
from tests.conftest import S3


@asynccontextmanager
async def own_servers(directory: Path) -> AsyncIterator[tuple[str, S3]]:
    """The URL of the one and what finds the other; both end with the body."""
    async with AsyncExitStack() as stack:
        redis = await start_valkey(directory / "valkey", password=secrets.token_hex(8), port=0)
        stack.push_async_callback(redis.stop)
        s3 = await start_seaweedfs(
            directory / "seaweedfs",
            access_key=secrets.token_hex(10),
            secret_key=secrets.token_hex(16),
            bucket="pushlane-tables",
        )
        stack.push_async_callback(s3.stop)
        yield redis.environ["PUSHLANE_REDIS_URL"], S3.of(s3.environ)
