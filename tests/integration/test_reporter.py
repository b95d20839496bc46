"""What a commit on GitHub comes to show, while all goes well."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status
from bot.core.errors import Errored
from bot.core.ledger import Ending, Request
from tests.builders import a_removal, built, claimed, finished, queued
from tests.reporting import Desk, a_desk, reporting, until


@pytest.fixture
async def desk(valkey: str, prefix: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(valkey, prefix, tmp_path) as found:
        yield found


async def test_a_commit_shows_pending_and_then_what_its_own_host_serves(desk: Desk) -> None:
    push = desk.pushed()
    async with reporting(desk):
        answer = await desk.ledger.records.record(push)
        await until(lambda: desk.states(push.after) == ["pending"])
        await queued(desk.ledger, answer)
        await until(lambda: "Queued" in desk.descriptions(push.after))
        ended = await finished(desk.ledger, answer.deployment)
        await until(lambda: desk.states(push.after)[-1] == "success")
        await desk.all_told()
    first, *_, last = desk.standin.statuses(push.after)
    assert {status.context for status in desk.standin.statuses()} == {"pushlane/site"}
    assert first.description == "Received"
    assert first.target_url == f"https://deploy.example.com/deployments/{ended.id}"
    assert last.target_url == f"https://{ended.id}--site.sites.example.net"
    seconds = (ended.ended_at - ended.received_at) / 1000
    assert last.description == f"Ready in {seconds:.1f} s"
    assert set(desk.states(push.after)[:-1]) == {"pending"}


async def test_a_deployment_quicker_than_the_reporter_is_pending_once_before_its_end(
    desk: Desk,
) -> None:
    push = desk.pushed()
    await built(desk.ledger, await desk.ledger.records.record(push))
    async with reporting(desk):
        await desk.all_told()
    assert desk.states(push.after) == ["pending", "success"]


async def test_each_end_has_its_state_and_its_words(desk: Desk) -> None:
    async def ended(name: str, status: Status, reason: str = "", error: str = "") -> str:
        push = desk.pushed(name)
        answer = await desk.ledger.records.record(push)
        stage = Stage.FETCH if status is Status.SKIPPED else Stage.BUILD
        if stage is Stage.BUILD:
            await queued(desk.ledger, answer)
        held = await claimed(desk.ledger, answer.deployment, stage)
        ending = Ending(status=status, reason=reason, error_code="x", error_message=error)
        await desk.ledger.claims.finish(held, ending)
        return push.after

    shas = [
        await ended("skip", Status.SKIPPED, reason="the commit says [skip ci]"),
        await ended("fail", Status.FAILED, error="npm run build exited with 1\n\n> vite 🚀"),
        await ended("err", Status.ERRORED, error="S3 cannot be reached"),
    ]
    cancelled = desk.pushed("cancel")
    answer = await desk.ledger.records.record(cancelled)
    await desk.ledger.records.cancel(answer.deployment)
    async with reporting(desk):
        await desk.all_told()
    assert [desk.states(sha) for sha in shas] == [
        ["success"],
        ["pending", "failure"],
        ["pending", "error"],
    ]
    assert [desk.descriptions(sha)[-1] for sha in shas] == [
        "Skipped: the commit says [skip ci]",
        "Failed: npm run build exited with 1 > vite \N{REPLACEMENT CHARACTER}",
        "Error: S3 cannot be reached",
    ]
    assert desk.states(cancelled.after) == ["error"]
    assert desk.descriptions(cancelled.after) == ["Cancelled: on request"]


async def test_a_superseded_commit_is_no_failure(desk: Desk) -> None:
    first = desk.pushed("first")
    second = msgspec.structs.replace(desk.pushed("second"), before=first.after)
    older = await desk.ledger.records.record(first)
    await desk.ledger.records.record(second)
    await built(desk.ledger, await desk.ledger.records.record(second))
    assert (await desk.record(older.deployment)).status is Status.SUPERSEDED
    async with reporting(desk):
        await desk.all_told()
    assert desk.states(first.after) == ["success"]
    assert desk.descriptions(first.after) == ["Superseded: a newer push of this branch came"]
    assert desk.states(second.after) == ["pending", "success"]


async def test_a_redeploy_of_a_commit_shows_anew_and_leads_to_the_newest(desk: Desk) -> None:
    push = desk.pushed()
    old = await built(desk.ledger, await desk.ledger.records.record(push))
    async with reporting(desk):
        await desk.all_told()
        answer = await desk.ledger.records.request(
            Request(
                project="site",
                ref="refs/heads/main",
                commit=push.after,
                redeploy_of=old.id,
            )
        )
        await built(desk.ledger, answer)
        await desk.all_told()
    states = desk.states(push.after)
    assert states[:3] == ["pending", "success", "pending"]
    assert states[-1] == "success"
    assert answer.deployment in str(desk.standin.statuses(push.after)[-1].target_url)


async def test_it_is_told_within_a_tenth_of_a_second(desk: Desk) -> None:
    delays = []
    async with reporting(desk):
        for number in range(7):
            push = desk.pushed(str(number))
            await built(desk.ledger, await desk.ledger.records.record(push))
            await desk.all_told()
            answer = await desk.ledger.records.request(
                Request(project="site", ref="refs/heads/main", commit=push.after)
            )
            before = await desk.record(answer.deployment)
            await until(lambda sha=push.after: desk.states(sha)[-1] == "pending")
            at = desk.standin.statuses(push.after)[-1].at
            delays.append(at - before.received_at / 1000)
            await desk.ledger.records.cancel(answer.deployment)
    assert sorted(delays)[len(delays) // 2] < 0.1, delays


async def test_what_changes_while_a_post_is_under_way_is_told_next(desk: Desk) -> None:
    push = desk.pushed()
    desk.standin.faults.add("POST", "/statuses/", delay=0.3, times=None)
    async with reporting(desk):
        answer = await desk.ledger.records.record(push)
        await built(desk.ledger, answer)
        await desk.all_told()
    assert desk.states(push.after) == ["pending", "success"]


async def test_what_was_told_word_for_word_is_not_told_again(desk: Desk) -> None:
    push = desk.pushed()
    await built(desk.ledger, await desk.ledger.records.record(push))
    async with reporting(desk):
        await desk.all_told()
        redis = cast(Any, desk.ledger.connection.redis)
        await redis.zadd(
            keys.named(desk.ledger.connection.prefix, "unreported"), {f"site:{push.after}": 1}
        )
        await redis.publish(f"{desk.ledger.connection.prefix}{keys.CHANGED}", "report")
        await desk.all_told()
    assert desk.states(push.after) == ["pending", "success"]


async def test_several_commits_are_told_at_once(desk: Desk) -> None:
    pushes = [desk.pushed(str(number)) for number in range(4)]
    for number, push in enumerate(pushes):
        branch = msgspec.structs.replace(push, ref=f"refs/heads/b{number}")
        await desk.ledger.records.record(branch)
    desk.standin.faults.add("POST", "/statuses/", delay=0.8, times=None)
    async with reporting(desk):
        await desk.all_told()
    times = [status.at for status in desk.standin.statuses()]
    assert len(times) == 4
    assert max(times) - min(times) < 0.8


async def test_two_reporters_share_the_work_and_tell_nothing_twice(desk: Desk, valkey: str) -> None:
    pushes = [desk.pushed(str(number)) for number in range(10)]
    desk.standin.faults.add("POST", "/statuses/", delay=0.05, times=None)
    async with reporting(desk), reporting(desk):
        for number, push in enumerate(pushes):
            branch = msgspec.structs.replace(push, ref=f"refs/heads/b{number}")
            await built(desk.ledger, await desk.ledger.records.record(branch))
        await desk.all_told()
    for push in pushes:
        *pending, last = desk.states(push.after)
        assert pending
        assert set(pending) == {"pending"}
        assert last == "success"
        words = desk.descriptions(push.after)
        assert len(set(words)) == len(words)


async def test_a_renamed_repository_is_told_by_its_new_name(desk: Desk) -> None:
    push = desk.pushed()
    answer = await desk.ledger.records.record(push)
    desk.standin.world.rename("acme/site", "acme/renamed")
    redirects = desk.standin.faults.add("POST", "^/repos/acme/site/", times=None)
    async with reporting(desk):
        await until(lambda: desk.states(push.after) == ["pending"])
        assert redirects.hits == 1
        other = desk.pushed("other", repository="acme/renamed")
        await desk.ledger.records.record(msgspec.structs.replace(other, ref="refs/heads/b"))
        await built(desk.ledger, answer)
        await desk.all_told()
    assert redirects.hits == 1
    assert desk.states(push.after)[-1] == "success"


async def test_when_many_were_posted_steps_on_the_way_are_left_out(desk: Desk) -> None:
    name = keys.named(desk.ledger.connection.prefix, "posts-minute")
    await cast(Any, desk.ledger.connection.redis).set(name, "40", ex=60)
    push = desk.pushed()
    async with reporting(desk):
        answer = await desk.ledger.records.record(push)
        await until(lambda: desk.states(push.after) == ["pending"])
        await desk.all_told()
        await queued(desk.ledger, answer)
        await desk.all_told()
        await finished(desk.ledger, answer.deployment)
        await desk.all_told()
    assert desk.descriptions(push.after)[0] == "Received"
    assert desk.states(push.after) == ["pending", "success"]


async def test_without_credentials_it_says_so_once_and_nothing_piles_up(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with reporting(desk, desk.github(token="")):
        for number in range(5):
            push = msgspec.structs.replace(desk.pushed(str(number)), ref=f"refs/heads/{number}")
            await built(desk.ledger, await desk.ledger.records.record(push))
        await desk.all_told()
    assert desk.standin.statuses() == []
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "PUSHLANE_GITHUB_TOKEN" in said[0]


async def test_a_deleted_branch_and_a_request_without_a_commit_trouble_nobody(
    desk: Desk,
) -> None:
    push = msgspec.structs.replace(desk.pushed("x"), ref="refs/heads/x")
    await desk.ledger.records.record(push)
    removal = a_removal("x", before="x", at=10_000_000)
    await desk.ledger.records.remove(msgspec.structs.replace(removal, before=push.after))
    request = await desk.ledger.records.request(Request(project="site"))
    held = await claimed(desk.ledger, request.deployment, Stage.FETCH)
    await desk.ledger.claims.retry(held, Errored("away", code="x"))
    async with reporting(desk):
        await desk.all_told()
    assert desk.descriptions(push.after) == ["Cancelled: its branch was deleted"]


async def test_a_reporter_that_is_stopped_finishes_what_it_is_posting(desk: Desk) -> None:
    push = desk.pushed()
    slow = desk.standin.faults.add("POST", "/statuses/", delay=0.4, times=None)
    async with reporting(desk):
        await desk.ledger.records.record(push)
        await until(lambda: slow.hits == 1)
    assert desk.states(push.after) == ["pending"]
    assert await desk.due() == {}
