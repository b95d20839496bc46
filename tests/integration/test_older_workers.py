"""A Redis that comes back older while no bot is there who knew it, and workers that did."""

from __future__ import annotations

from redis.asyncio import Redis

from bot.core.bucket import Bucket
from bot.core.deployment import Stage
from bot.core.errors import Errored
from bot.core.ledger import open_ledger
from tests.builders import a_push, built, claimed
from tests.front import until
from tests.keeping import copied, kept, put_back
from tests.ledgers import alias_of


async def test_a_worker_that_saw_more_has_the_new_bot_restore_it(
    redis_url: str, prefix: str, bucket: Bucket
) -> None:
    worker = open_ledger(redis_url, prefix=f"{prefix}:", lease_seconds=30, max_attempts=3)

    async def is_back() -> bool:
        try:
            await worker.claims.sweep()
        except Errored:
            return False
        return True

    async with Redis.from_url(redis_url) as raw:
        async with kept(redis_url, prefix, bucket) as own:
            await built(own.ledger, await own.ledger.records.record(a_push("A", at=1)))
            copy = await copied(own.ledger, raw)
            live = await built(own.ledger, await own.ledger.records.record(a_push("B", at=2)))
            for n in range(50):
                await own.ledger.records.record(a_push(f"C{n}", branch="topic", at=3 + n))
            await own.saved()
            assert await is_back()
        await put_back(worker, copy, raw)
        async with kept(redis_url, prefix, bucket) as own:
            await until(is_back)
            await own.whole()
            assert await alias_of(own.ledger, "site") == live.id
            answer = await own.ledger.records.record(a_push("D", at=100))
            await claimed(worker, answer.deployment, Stage.FETCH)
    await worker.aclose()
