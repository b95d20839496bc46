"""What the collector leaves of what was saved of the ledger, and what is restored after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from bot.core import saved
from bot.core.deployment import branch_label, deployment_label
from bot.core.ledger.restores import Progress
from bot.keeper.restoring import restore
from bot.keeper.saving import save_due
from tests.builders import a_removal
from tests.collecting import Press, a_press
from tests.conftest import S3
from tests.keeping import flush
from tests.ledgers import redis_of

Processes: TypeAlias = Callable[[str], AbstractAsyncContextManager[Press]]


@pytest.fixture
def process(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> Processes:
    """Processes of one ledger and bucket, each with a name."""
    return lambda name: a_press(valkey, seaweedfs, prefix, tmp_path / name)


@pytest.fixture
async def press(process: Processes) -> AsyncIterator[Press]:
    async with process("first") as made:
        yield made


async def keep(press: Press) -> None:
    """Saves all that is due."""
    unsaved = f"{press.ledger.connection.prefix}{{build-queue}}:unsaved"
    while await redis_of(press.ledger).zcard(unsaved):
        await save_due(press.ledger.saves, press.bucket)


@asynccontextmanager
async def restored(press: Press, process: Processes) -> AsyncIterator[Press]:
    """Loses the ledger, and brings it back; a process that begins then."""

    async def tell(_: Progress) -> None: ...

    await flush(press.ledger)
    async with process("later") as later:
        await restore(later.ledger.restores, later.bucket, tell=tell)
        yield later


async def versions(press: Press, what: str) -> list[str]:
    return await press.bucket.list(saved.folder(what))


async def test_of_a_thing_that_changed_only_the_newest_version_is_left(press: Press) -> None:
    for name in ("one", "two", "three"):
        await press.pushed(name)
        await keep(press)
    before = await versions(press, "alias:site")
    assert len(before) == 3
    await press.collect(production=3)
    assert await versions(press, "alias:site") == before[-1:]


async def test_a_release_that_was_given_up_is_not_brought_back(
    press: Press, process: Processes
) -> None:
    first, second = await press.pushed("one", "two")
    await keep(press)
    await press.collect()
    await keep(press)
    async with restored(press, process) as later:
        assert (await later.record(first.id)).condemned_at > 0
        assert await later.ledger.aliases.get(deployment_label(first.id, "site")) is None
        await later.shows("site", "two")
        await later.shows(deployment_label(second.id, "site"), "two")
        key = f"{later.ledger.connection.prefix}{{build-queue}}:deployment:{first.id}"
        assert await redis_of(later.ledger).ttl(key) > 0


async def test_a_tombstone_that_is_brought_back_lasts_for_its_time(
    press: Press, process: Processes
) -> None:
    await press.pushed("one", branch="topic")
    await press.ledger.records.remove(a_removal("topic", before="one", at=10**6))
    await keep(press)
    async with restored(press, process) as later:
        label = branch_label("topic", "site")
        assert (await later.hosting.get(label)).status_code == 404
        key = f"{later.ledger.connection.prefix}{{build-queue}}:alias:{label}"
        assert await redis_of(later.ledger).ttl(key) > 0
