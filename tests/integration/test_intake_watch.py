"""`watch`, and the other files that the fetching stage reads: what is not known is deployed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.deployment import Status
from tests.conftest import S3
from tests.yard import Yard, a_yard

TOML = '[build]\nwatch = ["docs/**"]'


@pytest.fixture
async def yard(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with a_yard(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_a_push_is_deployed_where_none_was_deployed_yet(yard: Yard) -> None:
    found = await yard.fetch(await yard.push({"pushlane.toml": TOML, "src/x": "1"}))
    assert found.status is Status.QUEUED


async def test_a_new_branch_is_deployed_whatever_it_changed(yard: Yard) -> None:
    await yard.live(await yard.push({"pushlane.toml": TOML, "docs/a": "1"}))
    found = await yard.fetch(await yard.push({"src/x": "1"}, branch="new"))
    assert found.status is Status.QUEUED


async def test_a_forced_push_is_deployed_whatever_it_changed(yard: Yard) -> None:
    await yard.live(await yard.push({"pushlane.toml": TOML, "docs/a": "1"}))
    await yard.live(await yard.push({"docs/a": "2"}))
    assert (await yard.fetch(await yard.push({"src/x": "1"}))).status is Status.SKIPPED
    await asyncio.to_thread(yard.tree.git, "reset", "--hard", "HEAD~2")
    found = await yard.fetch(await yard.push({"docs/a": "2", "src/x": "2"}))
    assert (found.status, found.forced) == (Status.QUEUED, True)


async def test_more_than_3000_changed_files_are_not_compared(yard: Yard) -> None:
    await yard.live(await yard.push({"pushlane.toml": TOML, "docs/a": "1"}))
    many = {f"src/{number}": "1" for number in range(3000)}
    assert (await yard.fetch(await yard.push(many))).status is Status.SKIPPED
    found = await yard.fetch(await yard.push({"src/more": "1"}))
    assert found.status is Status.QUEUED


async def test_the_comparison_is_with_the_last_deployed_commit_and_not_with_the_push_before(
    yard: Yard,
) -> None:
    first = await yard.live(await yard.push({"pushlane.toml": TOML, "docs/a": "1"}))
    assert first.status is Status.READY
    failed = await yard.fetch(await yard.push({"docs/a": "2"}))
    await yard.door.ledger.records.cancel(failed.id, reason="by Ada")
    found = await yard.fetch(await yard.push({"src/x": "1"}))
    assert found.status is Status.QUEUED


async def test_a_netlify_toml_that_cannot_be_used_fails_before_anything_is_built(
    yard: Yard,
) -> None:
    id_ = await yard.push({"netlify.toml": "[build]\ncommand = 5"})
    found = await yard.fetch(id_)
    assert (found.status, found.error_code) == (Status.FAILED, "sitefile_invalid")
    assert found.error_message.startswith("netlify.toml is wrong at `build.command`")
    assert f"Failed: {found.error_message}" in await yard.log(id_)
