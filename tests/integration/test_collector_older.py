"""The collector in a ledger that came back older than what the bucket says of its aliases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from bot.core import keys
from bot.core.deployment import Stage, Status
from bot.core.ledger import Ending
from bot.core.saved import Saved
from tests.builders import a_push, claimed
from tests.collecting import Press, a_press, page
from tests.conftest import S3
from tests.keeping import copied, put_back
from tests.ledgers import alias_of, expire_lease, redis_of


@pytest.fixture
async def press(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Press]:
    async with a_press(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


@pytest.mark.parametrize("again", ["ready", "failed", "cancelled"])
async def test_what_an_alias_names_stays_though_its_record_came_back_older(
    press: Press, valkey: str, again: str
) -> None:
    ledger = press.ledger
    held = await press.held(a_push("one"))
    made = await press.published(held, {"index.html": page("one")})
    async with Redis.from_url(valkey) as raw:
        copy = await copied(ledger, raw)
        await press.accepted(held, *made)
        fields = await redis_of(ledger).hgetall(keys.alias(ledger.connection.prefix, "site"))
        await put_back(ledger, copy, raw)
    # The bucket had been given the move of the alias, and the record not yet.
    thing = Saved(what="alias:site", version=int(fields["seq"]), fields=fields)
    ledger.connection.furthest = (0, 0)
    await ledger.restores.merge([thing])
    assert await alias_of(ledger, "site") == held.id
    await expire_lease(ledger, held.id)
    await ledger.claims.sweep()
    if again == "cancelled":
        await ledger.records.cancel(held.id)
    else:
        anew = await claimed(ledger, held.id, Stage.BUILD)
        if again == "ready":
            await press.accepted(anew, *await press.published(anew, {"index.html": page("two")}))
        else:
            await ledger.claims.finish(anew, Ending(status=Status.FAILED))
    await press.collect()
    alias = await ledger.aliases.get("site")
    assert alias
    assert alias.release in await press.names("releases")
    if again == "ready":
        assert alias.release == (await press.record(held.id)).release
