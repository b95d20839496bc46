"""The fetching stage, on real servers and with real git: a push becomes a source, or ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.deployment import Deployment, Stage, Status
from bot.intake import Intake
from tests.builders import claimed, commit, finished
from tests.conftest import S3
from tests.front import a_front_door, until
from tests.standin import Worktree
from tests.yard import Yard, a_yard

PAGE = "<!doctype html><title>Hi</title>"
FETCHES = r"^/acme/site\.git/"


@pytest.fixture
async def yard(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with a_yard(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_a_pushed_commit_is_queued_with_its_source_in_the_bucket(yard: Yard) -> None:
    id_ = await yard.push({"index.html": PAGE, "a/b.txt": "b"}, message="Fix it\n\nwith words")
    serving = asyncio.create_task(yard.loop.serve())

    async def is_queued() -> bool:
        return (await yard.door.record(id_)).status is Status.QUEUED

    await until(is_queued)
    yard.loop.ending.set()
    await serving
    found = await yard.door.record(id_)
    assert (found.commit, found.message) == (yard.tree.head(), "Fix it\n\nwith words")
    assert (found.author, found.fetch_attempts, found.claim) == ("Ada Example", 1, "")
    assert found.source_bytes == await yard.door.bucket.size(found.source)
    source = await yard.source(found)
    page = source.extractfile("index.html")
    assert page is not None
    assert page.read().decode() == PAGE
    assert (await yard.door.ledger.view.queue()).high == [id_]
    assert (await yard.log(id_)).startswith(f"Fetched {found.commit[:7]} of acme/site in 0.")


async def test_a_source_that_is_there_is_not_sent_again(yard: Yard) -> None:
    first = await yard.live(await yard.push({"index.html": PAGE}))
    answer = await yard.door.client.post(f"/api/v1/deployments/{first.id}/redeploy")
    again = await yard.fetch(answer.json()["id"])
    assert (again.status, again.source) == (Status.QUEUED, first.source)
    assert "its source was in the bucket already" in await yard.log(again.id)


async def test_a_source_that_is_condemned_is_sent_again_under_a_name_of_its_own(yard: Yard) -> None:
    first = await yard.live(await yard.push({"index.html": PAGE}))
    collection = yard.door.ledger.collection
    await collection.take("lease", when="now")
    await collection.condemn("lease", [first.source], delay_ms=0)
    answer = await yard.door.client.post(f"/api/v1/deployments/{first.id}/redeploy")
    again = await yard.fetch(answer.json()["id"])
    assert again.status is Status.QUEUED
    assert again.source == first.source.replace(".tar", f"-{again.claims[-1]}.tar")
    assert await yard.door.bucket.get(again.source) == await yard.door.bucket.get(first.source)


async def test_a_private_repository_is_read_with_its_token(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_yard(valkey, seaweedfs, prefix, tmp_path, private=True) as yard:
        found = await yard.fetch(await yard.push({"index.html": PAGE}))
        assert (found.status, found.private) == (Status.QUEUED, True)


class TestSkipped:
    """What is not to be built says why, and supersedes nothing."""

    @pytest.mark.parametrize(
        "message",
        ["Fix [skip ci]", "Fix\n\n[CI SKIP]", "Fix\n\n" + "words " * 500 + "[skip deploy]"],
    )
    async def test_by_the_commits_message(self, yard: Yard, message: str) -> None:
        first = await yard.fetch(await yard.push({"index.html": PAGE}))
        skipped = await yard.fetch(await yard.push(message=message))
        assert skipped.status is Status.SKIPPED
        assert skipped.reason.startswith("the commit's message says [")
        assert f"Skipped: {skipped.reason}" in await yard.log(skipped.id)
        assert (await yard.door.record(first.id)).status is Status.QUEUED
        assert skipped.source == ""

    async def test_by_branch_and_a_person_may_deploy_it_all_the_same(self, yard: Yard) -> None:
        toml = '[build]\nskip_branches = ["dependabot/**"]'
        id_ = await yard.push({"pushlane.toml": toml}, branch="dependabot/npm/x")
        skipped = await yard.fetch(id_)
        assert skipped.status is Status.SKIPPED
        assert skipped.reason == "pushlane.toml skips branches like dependabot/**"
        assert (await yard.fetch(await yard.push())).status is Status.QUEUED
        asked = await yard.fetch(await yard.ask(ref="dependabot/npm/x"))
        assert (asked.status, asked.commit) == (Status.QUEUED, skipped.commit)

    async def test_by_what_is_watched_since_the_last_deployed_commit(self, yard: Yard) -> None:
        toml = '[build]\nwatch = ["docs/**"]'
        first = await yard.live(await yard.push({"pushlane.toml": toml, "docs/a": "1"}))
        assert first.status is Status.READY
        skipped = await yard.fetch(await yard.push({"src/x": "1"}))
        assert skipped.status is Status.SKIPPED
        assert skipped.reason == "nothing changed in docs/** since the last deployed commit"
        await yard.live(await yard.push({"src/x": "2", "docs/a": "2"}))
        assert (await yard.fetch(await yard.push(branch="new"))).status is Status.QUEUED

    async def test_not_by_what_is_watched_after_a_forced_push(self, yard: Yard) -> None:
        toml = '[build]\nwatch = ["docs/**"]'
        await yard.live(await yard.push({"pushlane.toml": toml, "docs/a": "1"}))
        yard.tree.git("commit", "--amend", "--message", "Another")
        found = await yard.fetch(await yard.push())
        assert (found.forced, found.status) == (True, Status.QUEUED)

    async def test_not_by_what_is_watched_when_very_many_files_changed(self, yard: Yard) -> None:
        toml = '[build]\nwatch = ["docs/**"]'
        await yard.live(await yard.push({"pushlane.toml": toml, "docs/a": "1"}))
        some = {f"src/{number}": "" for number in range(3000)}
        assert (await yard.fetch(await yard.push(some))).status is Status.SKIPPED
        more = {f"src/{number}": "" for number in range(3000, 3001)}
        assert (await yard.fetch(await yard.push(more))).status is Status.QUEUED

    async def test_not_by_what_is_watched_before_anything_was_deployed(self, yard: Yard) -> None:
        first = await yard.fetch(await yard.push({"pushlane.toml": "[build]\nroot = '/'"}))
        assert first.status is Status.FAILED
        toml = '[build]\nwatch = ["docs/**"]'
        assert (await yard.fetch(await yard.push({"pushlane.toml": toml}))).status is Status.QUEUED

    async def test_not_when_it_takes_too_long_to_find_out(self, yard: Yard) -> None:
        toml = '[build]\nwatch = ["docs/**"]'
        await yard.live(await yard.push({"pushlane.toml": toml, "docs/a": "1"}))
        hurried = Intake(
            ledger=yard.door.ledger,
            sources=yard.sources,
            settings=yard.door.settings,
            watch_seconds=-1,
        )
        id_ = await yard.push({"src/x": "1"})
        await hurried.loop().attend(await claimed(yard.door.ledger, id_, Stage.FETCH))
        assert (await yard.door.record(id_)).status is Status.QUEUED
        assert "to compare it with 1 changed files takes too long" in await yard.log(id_)

    async def test_not_while_another_push_is_on_its_way_that_this_one_may_take_back(
        self, yard: Yard
    ) -> None:
        toml = '[build]\nwatch = ["docs/**"]'
        first = await yard.live(await yard.push({"pushlane.toml": toml, "docs/a": "1"}))
        way = await yard.fetch(await yard.push({"docs/a": "2"}))
        assert way.status is Status.QUEUED
        back = await yard.fetch(await yard.push({"docs/a": "1"}))
        assert back.status is Status.QUEUED
        assert (await yard.door.record(way.id)).status is Status.SUPERSEDED
        assert (await finished(yard.door.ledger, back.id)).id != first.id


class TestFailed:
    """The repository's own fault ends it at once, with a code and what to do."""

    async def ended(self, yard: Yard, id_: str, code: str) -> Deployment:
        found = await yard.fetch(id_)
        assert (found.status, found.error_code) == (Status.FAILED, code), found.error_message
        assert found.error_message
        assert f"Failed: {found.error_message}" in await yard.log(id_)
        assert found.fetch_attempts == 1
        return found

    async def test_an_invalid_pushlane_toml(self, yard: Yard) -> None:
        id_ = await yard.push({"pushlane.toml": "[build]\ncommand = 5"})
        found = await self.ended(yard, id_, "sitefile_invalid")
        assert found.error_message.startswith("pushlane.toml is wrong at `build.command`")

    async def test_a_commit_that_never_got_there(self, yard: Yard) -> None:
        await yard.push({"index.html": PAGE})
        delivery = await yard.github.send_push("acme/site", before=yard.tree.head(), after="f" * 40)
        found = await self.ended(yard, delivery.answer["deployment"], "commit_not_found")
        assert "fffffff" in found.error_message

    async def test_a_repository_that_is_gone(self, yard: Yard) -> None:
        id_ = await yard.door.push("A", repository="acme/gone")
        await self.ended(yard, id_, "repository_not_found")

    async def test_a_repository_without_a_commit(self, yard: Yard) -> None:
        yard.github.create_repository("acme/empty")
        await self.ended(yard, await yard.ask("acme/empty"), "repository_empty")
        await self.ended(yard, await yard.ask("acme/empty", "main"), "repository_empty")
        await self.ended(yard, await yard.ask("acme/empty", "e" * 40), "repository_empty")

    async def test_a_repository_that_was_renamed_meanwhile(self, yard: Yard) -> None:
        id_ = await yard.push({"index.html": PAGE})
        yard.github.world.rename("acme/site", "acme/other")
        await self.ended(yard, id_, "repository_moved")

    @pytest.mark.parametrize("ref", ["nothing", "refs/tags/nothing", "refs/heads/nothing", "-x"])
    async def test_a_ref_that_is_not_there(self, yard: Yard, ref: str) -> None:
        await yard.push({"index.html": PAGE})
        found = await self.ended(yard, await yard.ask(ref=ref), "ref_not_found")
        assert "'" in found.error_message

    async def test_a_sha_that_is_not_there(self, yard: Yard) -> None:
        await yard.push({"index.html": PAGE})
        await self.ended(yard, await yard.ask(ref=commit("no")), "commit_not_found")

    async def test_a_repository_that_is_no_longer_allowed(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_yard(valkey, seaweedfs, prefix, tmp_path, repos=("other/*",)) as yard:
            async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as earlier:
                id_ = await earlier.push("A")
            await self.ended(yard, id_, "repository_not_allowed")

    async def test_a_pushlane_toml_that_is_a_link(self, yard: Yard) -> None:
        yard.tree.write({"settings.toml": ""}, symlinks={"pushlane.toml": "settings.toml"})
        found = await self.ended(yard, await yard.push(), "source_refused")
        assert "pushlane.toml is a link" in found.error_message

    async def test_a_private_submodule_that_the_settings_do_not_name(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_yard(
            valkey, seaweedfs, prefix, tmp_path, private=True, repos=("acme/site",)
        ) as yard:
            yard.github.create_repository("acme/secret", private=True)
            secret = Worktree(tmp_path / "secret", yard.github.clone_url("acme/secret"),
                              token=yard.github.token)  # fmt: skip
            secret.write({"passwords.txt": "open sesame"})
            hidden = secret.commit("Secret")
            yard.github.hook.enabled = False
            await asyncio.to_thread(secret.push)
            yard.github.hook.enabled = True
            words = '[submodule "spy"]\n\tpath = spy\n\turl = ../secret.git\n'
            yard.tree.write({".gitmodules": words})
            (yard.tree.path / "spy").mkdir()
            yard.tree.git("update-index", "--add", "--cacheinfo", f"160000,{hidden},spy")
            found = await self.ended(yard, await yard.push(), "repository_not_found")
            assert "acme/secret" in found.error_message
            assert "PUSHLANE_REPOS: add it there" in found.error_message


class TestShared:
    """One project's slow fetches leave places to the others."""

    async def test_a_third_fetch_of_a_project_waits_uncounted_while_another_project_goes_on(
        self, yard: Yard
    ) -> None:
        ledger = yard.door.ledger
        yard.github.create_repository("acme/other")
        tree = Worktree(yard.tree.path / "other", yard.github.clone_url("acme/other"),
                        token=yard.github.token)  # fmt: skip
        tree.write({"index.html": PAGE})
        tree.commit("First words")
        yard.github.hook.enabled = False
        await asyncio.to_thread(tree.push)
        yard.github.hook.enabled = True
        one, two, third_id = [
            await yard.push({"index.html": branch}, branch=branch)
            for branch in ("one", "two", "three")
        ]
        slow = [await hanging(yard, one), attend(yard, await claimed(ledger, two, Stage.FETCH))]
        third = await yard.fetch(third_id)
        assert (third.status, third.error_code) == (Status.RECEIVED, "project_busy")
        assert third.fetch_attempts == 0
        assert "Waiting: 2 other fetches" in await yard.log(third.id)
        quick = await yard.fetch(await yard.ask("acme/other"))
        assert quick.status is Status.QUEUED
        for id_, attending in slow:
            await ledger.records.cancel(id_, reason="by Ada")
            await attending
        # Whatever they end as, their places are free again.
        yard.github.faults.clear()
        again = await yard.fetch(await yard.push({"index.html": "4"}, branch="four"))
        assert again.status is Status.QUEUED


class TestOurFault:
    """GitHub fails, or we do: it is tried again, or given back."""

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ({"status": 503}, "github_unreachable"),
            ({"status": 429}, "github_refused"),
            ({"drop_connection": True}, "github_unreachable"),
        ],
    )
    async def test_a_github_that_fails_is_asked_again_later(
        self, yard: Yard, fault: dict[str, Any], code: str
    ) -> None:
        id_ = await yard.push({"index.html": PAGE})
        yard.github.faults.add("GET", FETCHES, times=None, **fault)
        found = await yard.fetch(id_)
        assert (found.status, found.error_code) == (Status.RECEIVED, code)
        assert found.due_at > time.time() * 1000 - 1000
        assert "Error: " in await yard.log(id_)
        assert (await yard.door.ledger.claims.claim(id_, Stage.FETCH)).why == "stale"
        yard.github.faults.clear()
        again: list[Deployment] = []

        async def is_due() -> bool:
            again.extend(filter(None, [(await claim()).deployment]))
            return bool(again)

        async def claim() -> Any:
            return await yard.door.ledger.claims.claim(id_, Stage.FETCH)

        await until(is_due)
        await yard.loop.attend(again[0])
        found = await yard.door.record(id_)
        assert (found.status, found.fetch_attempts) == (Status.QUEUED, 2)
        assert found.error_code == ""

    async def test_a_commit_that_is_not_served_yet_is_waited_for(self, yard: Yard) -> None:
        id_ = await yard.push({"index.html": PAGE})
        yard.github.faults.hide_commit(yard.tree.head(), requests=1)
        found = await yard.fetch(id_)
        assert (found.status, found.fetch_attempts) == (Status.QUEUED, 1)

    async def test_cancelled_while_it_hangs_it_ends_at_once_and_git_is_killed(
        self, yard: Yard
    ) -> None:
        id_, attending = await hanging(yard)
        asked = time.monotonic()
        assert await yard.door.ledger.records.cancel(id_, reason="by Ada") == "stopping"
        await attending
        assert time.monotonic() - asked < 3 / 3 + 1
        found = await yard.door.record(id_)
        assert (found.status, found.reason) == (Status.CANCELLED, "by Ada")
        assert yard.gits() == []

    async def test_a_claim_that_was_lost_writes_nothing(self, yard: Yard) -> None:
        id_, attending = await hanging(yard)
        held = await yard.door.record(id_)
        await yard.door.ledger.claims.give_back(held)
        other = await claimed(yard.door.ledger, id_, Stage.FETCH)
        await attending
        now = await yard.door.record(id_)
        assert (now.status, now.claim) == (Status.FETCHING, other.claim)
        assert yard.gits() == []

    async def test_cancelled_from_outside_it_is_given_back_uncounted(self, yard: Yard) -> None:
        id_, attending = await hanging(yard)
        attending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attending
        back = await yard.door.record(id_)
        assert (back.status, back.fetch_attempts, back.claim) == (Status.RECEIVED, 0, "")
        assert yard.gits() == []


def attend(yard: Yard, held: Deployment) -> tuple[str, asyncio.Task[None]]:
    """The deployment's id, and what attends to it."""
    return held.id, asyncio.create_task(yard.loop.attend(held))


async def hanging(yard: Yard, id_: str = "") -> tuple[str, asyncio.Task[None]]:
    """A fetch that GitHub does not answer: the deployment's id, and what attends to it."""
    id_ = id_ or await yard.push({"index.html": PAGE})
    fault = yard.github.faults.add("GET", FETCHES, times=None, hang=True)
    _, attending = attend(yard, await claimed(yard.door.ledger, id_, Stage.FETCH))

    async def hangs() -> bool:
        return fault.hits > 0

    await until(hangs)
    assert yard.gits()
    return id_, attending
