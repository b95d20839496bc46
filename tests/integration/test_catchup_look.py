"""A look at a project's branches: what GitHub has not told of is recorded, once and in order."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.deployment import Status, branch_label
from bot.core.errors import BuildFailed, Errored
from tests.catchups import Watch, a_watch
from tests.conftest import S3
from tests.ledgers import alias_of

GIT = "git-upload-pack|info/refs"


@pytest.fixture
async def watch(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Watch]:
    async with a_watch(valkey, seaweedfs, prefix, tmp_path) as found:
        yield found


async def test_where_nothing_was_missed_a_look_asks_git_once_and_the_api_nothing(
    watch: Watch,
) -> None:
    await watch.yard.fetch(await watch.yard.push())
    api = watch.yard.github.faults.add("*", "^/(repos|app)/", times=None)
    git = watch.yard.github.faults.add("GET", "info/refs$", times=None)
    assert (await watch.look()).missed == 0
    assert (api.hits, git.hits) == (0, 1)
    assert len(await watch.records()) == 1


async def test_a_push_that_was_not_delivered_is_built_and_its_log_says_why(watch: Watch) -> None:
    await watch.live()
    missed = await watch.untold("Missed")
    assert (await watch.look()).missed == 1
    assert (await watch.look()).missed == 0
    record = await watch.newest()
    assert (record.commit, record.branch, record.delivery) == (missed, "main", "")
    ready = await watch.yard.live(record.id)
    assert (ready.status, ready.production, ready.message) == (Status.READY, True, "Missed")
    assert ready.author == "Ada Example"
    assert await alias_of(watch.yard.door.ledger, "site") == ready.id
    [first, *_] = (await watch.yard.log(ready.id)).splitlines()
    assert first == "Caught up: no delivery from GitHub had told of this push"


async def test_of_several_the_newest_is_built_and_what_comes_late_changes_nothing(
    watch: Watch,
) -> None:
    await watch.live()
    watch.yard.github.hook.hold = True
    for message in ("one", "two", "three"):
        watch.yard.tree.commit(message)
        await asyncio.to_thread(watch.yard.tree.push)
    await watch.yard.github.settled()
    assert (await watch.look()).missed == 1
    caught_up = await watch.newest()
    assert caught_up.commit == watch.yard.tree.head()
    watch.yard.github.hook.hold = False
    one, two, three = await watch.yard.github.release()
    assert three.answer["deployment"] == caught_up.id
    for late in (one, two):
        record = await watch.yard.door.record(late.answer["deployment"])
        assert record.status is Status.SUPERSEDED
    assert (await watch.look()).missed == 0
    assert (await watch.yard.live(caught_up.id)).status is Status.READY


async def test_the_next_push_wins_over_what_was_caught_up_with(watch: Watch) -> None:
    await watch.live()
    await watch.untold("Missed")
    await watch.look()
    newest = await watch.told("Told")
    assert (await watch.yard.live(newest)).status is Status.READY
    assert await alias_of(watch.yard.door.ledger, "site") == newest
    assert (await watch.look()).missed == 0


async def test_branches_that_were_there_before_the_project_are_never_built(watch: Watch) -> None:
    await watch.untold("Old", branch="old")
    await watch.untold("Ancient", branch="ancient")
    await watch.yard.fetch(await watch.told("First"))
    assert (await watch.look()).missed == 0
    moved = await watch.untold("Moved", branch="old")
    fresh = await watch.untold("Fresh", branch="fresh")
    assert (await watch.look()).missed == 2
    found = {record.branch: record.commit for record in (await watch.records())[1:]}
    assert found == {"old": moved, "fresh": fresh}


async def test_a_first_look_that_intake_could_not_take_is_taken_by_the_catch_up(
    watch: Watch,
) -> None:
    await watch.untold("Old", branch="old")
    await watch.told("First")
    assert (await watch.project()).looked_at == 0
    assert (await watch.look()).missed == 0
    assert (await watch.project()).looked_at > 0
    assert len(await watch.records()) == 1


async def test_a_branch_that_was_deleted_without_a_word_loses_its_alias(watch: Watch) -> None:
    await watch.live()
    topic = await watch.live("Topic", branch="topic")
    label = branch_label("topic", "site")
    assert await alias_of(watch.yard.door.ledger, label) == topic.id
    watch.yard.github.hook.enabled = False
    await asyncio.to_thread(watch.yard.tree.delete_branch, "topic")
    assert (await watch.look()).missed == 1
    assert await alias_of(watch.yard.door.ledger, label) == ""
    assert (await watch.look()).missed == 0
    # And made again, at the same commit.
    await asyncio.to_thread(watch.yard.tree.push, "topic")
    assert (await watch.look()).missed == 1
    assert (await watch.yard.live((await watch.newest()).id)).commit == topic.commit
    assert await alias_of(watch.yard.door.ledger, label) == (await watch.newest()).id


async def test_a_server_that_lags_behind_its_webhooks_is_not_believed(watch: Watch) -> None:
    first = await watch.live()
    topic = await watch.told("Topic", branch="topic")
    second = await watch.live("Second")
    bare = watch.yard.github.repository("acme/site").bare
    for words in (["refs/heads/main", first.commit], ["-d", "refs/heads/topic"]):
        subprocess.run(["git", f"--git-dir={bare}", "update-ref", *words], check=True)
    looked = await watch.look(grace_seconds=60)
    assert (looked.missed, looked.again_seconds) == (0, 60)
    assert [record.id for record in await watch.records()] == [first.id, topic, second.id]
    # But when it stays so, it was pushed so.
    assert (await watch.look(grace_seconds=0)).missed == 2
    assert (await watch.newest()).commit == first.commit


async def test_without_the_api_it_is_caught_up_by_git_alone(watch: Watch) -> None:
    await watch.live()
    missed = await watch.untold("Missed")
    watch.yard.github.faults.add("GET", "^/repos/acme/site$", 503, times=None)
    assert (await watch.look()).missed == 1
    assert (await watch.newest()).commit == missed
    watch.yard.github.faults.clear()
    next_ = await watch.told("Told")
    assert (await watch.yard.live(next_)).status is Status.READY


async def test_another_repository_of_the_same_name_is_not_deployed_as_the_old_one(
    watch: Watch,
) -> None:
    await watch.live()
    github = watch.yard.github
    github.world.rename("acme/site", "acme/elsewhere")
    github.create_repository("acme/site", id=987)
    await watch.untold("A stranger's")
    with pytest.raises(BuildFailed) as caught:
        await watch.look()
    assert caught.value.code == "repository_replaced"
    assert len(await watch.records()) == 1


@pytest.mark.parametrize("away", ["gone", "renamed", "down"])
async def test_a_repository_that_cannot_be_read_changes_nothing(watch: Watch, away: str) -> None:
    live = await watch.live()
    match away:
        case "gone":
            watch.yard.github.faults.add("GET", GIT, 404, times=None)
        case "renamed":
            watch.yard.github.world.rename("acme/site", "acme/elsewhere")
        case _:
            watch.yard.github.faults.add("GET", GIT, 500, times=None)
    with pytest.raises((BuildFailed, Errored)):
        await watch.look()
    assert await alias_of(watch.yard.door.ledger, "site") == live.id
    assert len(await watch.records()) == 1


async def test_a_repository_that_shows_no_branch_at_all_loses_none(watch: Watch) -> None:
    await watch.live()
    topic = await watch.live("Topic", branch="topic")
    bare = watch.yard.github.repository("acme/site").bare
    for ref in ("refs/heads/main", "refs/heads/topic"):
        subprocess.run(["git", f"--git-dir={bare}", "update-ref", "-d", ref], check=True)
    with pytest.raises(BuildFailed, match="empty"):
        await watch.look()
    assert await alias_of(watch.yard.door.ledger, branch_label("topic", "site")) == topic.id


async def test_what_the_api_says_of_the_repository_is_learned_by_the_way(watch: Watch) -> None:
    await watch.live()
    await watch.untold("Missed")
    watch.yard.github.repository("acme/site").private = True
    assert (await watch.look()).missed == 1
    assert (await watch.project()).private
    assert (await watch.newest()).private
