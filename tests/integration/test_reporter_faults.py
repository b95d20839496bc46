"""What a commit on GitHub comes to show when GitHub, Redis or a reporter fails."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from bot.core import keys
from bot.core.deployment import Push, State
from bot.core.ledger import Ledger, Report, open_ledger
from bot.embedded import start_valkey
from tests.builders import a_push, built, finished, queued
from tests.reporting import REPOSITORY, Desk, a_desk, reporting, until


@pytest.fixture
async def desk(valkey: str, prefix: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(valkey, prefix, tmp_path) as found:
        yield found


def on_branch(push: Push, name: str) -> Push:
    return msgspec.structs.replace(push, ref=f"refs/heads/{name}")


async def leased(ledger: Ledger, *, seconds: float) -> Report:
    report, _ = await ledger.reports.lease(seconds=seconds)
    assert report is not None
    return report


async def post(desk: Desk, sha: str, state: State, description: str) -> None:
    github = desk.github()
    await github.post_status(
        REPOSITORY,
        sha,
        state=state,
        context="pushlane/site",
        description=description,
        target_url="https://deploy.example.com/",
    )
    await github.aclose()


def never_back(states: list[str]) -> bool:
    """Whether no pending comes after an end."""
    end = next((n for n, state in enumerate(states) if state != "pending"), len(states))
    return "pending" not in states[end:]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 502, "body": "<html>Unicorn!</html>"},
        {"drop_connection": "before"},
        {"drop_connection": "after"},
        {"hang": True},
    ],
    ids=str,
)
async def test_a_failure_is_retried_until_the_last_state_is_told(
    desk: Desk, fault: dict[str, Any]
) -> None:
    push = desk.pushed()
    await built(desk.ledger, await desk.ledger.records.record(push))
    met = desk.standin.faults.add("POST", "/statuses/", **fault)
    async with reporting(desk):
        await desk.all_told()
    assert met.hits == 1
    states = desk.states(push.after)
    assert (states[0], states[-1]) == ("pending", "success")
    assert never_back(states)


async def test_pauses_between_failures_grow(desk: Desk) -> None:
    push = desk.pushed()
    fault = desk.standin.faults.add("POST", "/statuses/", 500, times=None)
    async with reporting(desk):
        await desk.ledger.records.record(push)
        await until(lambda: fault.hits == 3)

        async def noted() -> bool:
            return max((await desk.due()).values()) < 10

        await until(noted)
        [seconds] = (await desk.due()).values()
        assert 2.5 < seconds < 5


async def test_an_end_does_not_wait_for_the_pause_after_a_failure(desk: Desk) -> None:
    push = desk.pushed()
    fault = desk.standin.faults.add("POST", "/statuses/", 500, times=None)
    async with reporting(desk):
        answer = await desk.ledger.records.record(push)
        await until(lambda: fault.hits == 3)
        await queued(desk.ledger, answer)
        desk.standin.faults.clear()
        begun = time.monotonic()
        await finished(desk.ledger, answer.deployment)
        await desk.all_told()
        assert time.monotonic() - begun < 2
    assert desk.states(push.after) == ["pending", "success"]


async def test_the_first_that_github_takes_again_ends_the_pauses_of_all(desk: Desk) -> None:
    pushes = [desk.pushed() for _ in range(3)]
    fault = desk.standin.faults.add("POST", "/statuses/", 500, times=None)
    for push in pushes:
        await built(desk.ledger, await desk.ledger.records.record(push))
    async with reporting(desk):
        await until(lambda: fault.hits >= 6)

        async def all_noted() -> bool:
            return min((await desk.due()).values()) > 0

        await until(all_noted)
        # As after an outage of minutes: all but one wait for long.
        redis = cast(Any, desk.ledger.connection.redis)
        name = keys.named(desk.ledger.connection.prefix, "unreported")
        first, *others = await redis.zrange(name, 0, -1)
        later = {each: (time.time() + 300) * 1000 for each in others}
        await redis.zadd(name, {first: time.time() * 1000 + 500, **later})
        desk.standin.faults.clear()
        await desk.all_told()
    for push in pushes:
        assert desk.states(push.after)[-1] == "success"
        assert never_back(desk.states(push.after))


async def test_what_ended_while_many_were_told_is_told_by_its_end_alone(desk: Desk) -> None:
    name = keys.named(desk.ledger.connection.prefix, "posts-minute")
    await cast(Any, desk.ledger.connection.redis).set(name, "40", ex=60)
    push = desk.pushed()
    await built(desk.ledger, await desk.ledger.records.record(push))
    async with reporting(desk):
        await desk.all_told()
    assert desk.states(push.after) == ["success"]


@pytest.mark.parametrize("how", ["retry-after", "reset", "too many requests"])
async def test_nobody_asks_again_before_a_limit_has_passed(desk: Desk, how: str) -> None:
    pushes = [on_branch(desk.pushed(str(number)), f"b{number}") for number in range(3)]
    async with reporting(desk):
        match how:
            case "retry-after":
                met = desk.standin.faults.secondary_limit(1)
            case "reset":
                met = desk.standin.faults.primary_limit(1)
            case _:
                met = desk.standin.faults.add("POST", "", 429, {"retry-after": "1"})
        first = await desk.ledger.records.record(pushes[0])
        await until(lambda: met.hits == 1)
        limited_at = time.time()
        await until(lambda: _is_paused(desk))
        for push in pushes[1:]:
            await built(desk.ledger, await desk.ledger.records.record(push))
        await built(desk.ledger, first)
        await desk.all_told()
    for push in pushes:
        assert desk.states(push.after)[-1] == "success"
        assert never_back(desk.states(push.after))
    # The reset is a whole second, and the limit was met a moment before we saw it.
    least = 0.0 if how == "reset" else 0.95
    assert min(status.at for status in desk.standin.statuses()) - limited_at > least


async def _is_paused(desk: Desk) -> bool:
    return await desk.seconds_of_pause() > 0


async def test_a_limit_that_says_no_time_holds_all_processes_back_for_a_minute(
    desk: Desk,
) -> None:
    desk.standin.faults.add("POST", "/statuses/", 429)
    every = desk.standin.faults.add("POST", "/statuses/", times=None)
    pushes = [on_branch(desk.pushed(name), name) for name in ("a", "b")]
    async with reporting(desk), reporting(desk):
        await desk.ledger.records.record(pushes[0])
        await until(lambda: _is_paused(desk))
        assert 55 < await desk.seconds_of_pause() <= 60
        await built(desk.ledger, await desk.ledger.records.record(pushes[1]))
        await asyncio.sleep(0.3)
    assert every.hits == 0
    assert len(await desk.due()) == 2


async def test_a_shorter_limit_does_not_end_a_longer_one(desk: Desk) -> None:
    for name in ("a", "b"):
        await desk.ledger.records.record(on_branch(desk.pushed(name), name))
    first = await leased(desk.ledger, seconds=30)
    second = await leased(desk.ledger, seconds=30)
    await desk.ledger.reports.later(first, seconds=50, everyone=True)
    await desk.ledger.reports.later(second, seconds=5, everyone=True)
    assert await desk.seconds_of_pause() > 45


async def test_what_github_will_never_take_is_told_with_a_word_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    async with reporting(desk):
        await built(desk.ledger, await desk.ledger.records.record(a_push("nowhere")))
        await desk.all_told()
        await built(desk.ledger, await desk.ledger.records.record(on_branch(desk.pushed("x"), "x")))
        await desk.all_told()
        assert len(desk.standin.statuses()) >= 2
        (desk.standin.repository(REPOSITORY).bare).rename(desk.standin.root / "gone.git")
        for name in ("y", "z"):
            push = a_push(name, branch=name)
            await built(desk.ledger, await desk.ledger.records.record(push))
        await desk.all_told()
    said = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert [("no such commit" in words, "is gone" in words) for words in said] == [
        (True, False),
        (False, True),
    ]


async def test_a_missing_scope_is_said_and_holds_no_other_repository_back(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.standin.create_repository("acme/other", id=8)
    token = desk.standin.access.allow(scopes=["repo:status"], repositories=["acme/other"])
    push = desk.pushed()
    desk.tree.git("push", "--quiet", desk.standin.clone_url("acme/other"), "HEAD:refs/heads/main")
    other = msgspec.structs.replace(
        a_push("other", repository="acme/other", repository_id=8), after=push.after
    )
    async with reporting(desk, desk.github(token=token)):
        await desk.ledger.records.record(push)
        await until(lambda: "scope repo:status" in caplog.text)
        await built(desk.ledger, await desk.ledger.records.record(other))
        await until(lambda: desk.states(push.after)[-1:] == ["success"])
    [(name, seconds)] = (await desk.due()).items()
    assert name == f"site:{push.after}"
    assert 40 < seconds < 80
    assert {status.repository for status in desk.standin.statuses()} == {"acme/other"}
    assert token not in caplog.text


async def test_a_bad_token_is_said_seldom_tried_and_a_start_with_a_better_one_tells_at_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    every = desk.standin.faults.add("POST", "/statuses/", times=None)
    token = "ghp_" + "0" * 36
    pushes = [on_branch(desk.pushed(str(number)), f"b{number}") for number in range(3)]
    async with reporting(desk, desk.github(token=token)):
        for push in pushes:
            await built(desk.ledger, await desk.ledger.records.record(push))
        await until(lambda: "PUSHLANE_GITHUB_TOKEN" in caplog.text)

        async def all_wait() -> bool:
            return all(seconds > 40 for seconds in (await desk.due()).values())

        await until(all_wait)
    assert every.hits <= 3
    assert token not in caplog.text
    async with reporting(desk):
        await desk.all_told()
    for push in pushes:
        assert desk.states(push.after) == ["pending", "success"]


async def test_a_slow_github_never_sees_an_older_state_after_a_newer(desk: Desk) -> None:
    desk.standin.faults.add("POST", "/statuses/", delay=0.2, times=None)
    pushes = [on_branch(desk.pushed(str(number)), f"b{number}") for number in range(6)]
    async with reporting(desk), reporting(desk):
        answers = [await desk.ledger.records.record(push) for push in pushes]
        for answer in answers:
            await queued(desk.ledger, answer)
            await asyncio.sleep(0.05)
        for answer in answers:
            await finished(desk.ledger, answer.deployment)
        await desk.all_told()
    for push in pushes:
        assert desk.states(push.after)[-1] == "success"
        assert never_back(desk.states(push.after))


async def test_what_a_reporter_posted_before_it_died_is_followed_by_the_newest_only(
    desk: Desk,
) -> None:
    push = desk.pushed()
    answer = await desk.ledger.records.record(push)
    report = await leased(desk.ledger, seconds=0.5)
    await post(desk, push.after, State.PENDING, "Received")
    await built(desk.ledger, answer)
    async with reporting(desk):
        await desk.all_told()
    assert desk.states(push.after)[-1] == "success"
    assert never_back(desk.states(push.after))
    assert report.deployment.id == answer.deployment


async def test_one_that_died_after_the_end_was_posted_is_followed_by_no_pending(
    desk: Desk,
) -> None:
    push = desk.pushed()
    await built(desk.ledger, await desk.ledger.records.record(push))
    report = await leased(desk.ledger, seconds=30)
    await post(desk, push.after, State.PENDING, "Received")
    assert await desk.ledger.reports.told_so_far(report, "pending", seconds=0.3)
    await post(desk, push.after, State.SUCCESS, "Ready")
    async with reporting(desk):
        await desk.all_told()
    assert desk.states(push.after) == ["pending", "success", "success"]


async def test_a_reporter_that_slept_past_its_lease_is_put_right(desk: Desk) -> None:
    push = desk.pushed()
    answer = await desk.ledger.records.record(push)
    sleeper = await leased(desk.ledger, seconds=0.2)
    await built(desk.ledger, answer)
    async with reporting(desk):
        await desk.all_told()
        assert desk.states(push.after)[-1] == "success"
        await post(desk, push.after, State.PENDING, "Received")
        await desk.ledger.reports.told(sleeper, "pending")
        await desk.all_told()
    assert desk.states(push.after)[-2:] == ["pending", "success"]


async def test_redis_may_go_and_come_back(desk: Desk, tmp_path: Path, prefix: str) -> None:
    directory = tmp_path / "redis"
    directory.mkdir()
    server = await start_valkey(directory, password="p", port=0)
    url = server.environ["PUSHLANE_REDIS_URL"]
    port = int(url.rpartition(":")[2].partition("/")[0])
    ledger = open_ledger(url, prefix=f"{prefix}:")
    push = desk.pushed()
    slow = desk.standin.faults.add("POST", "/statuses/", delay=0.5)
    async with reporting(desk, ledger=ledger):
        answer = await ledger.records.record(push)
        await until(lambda: slow.hits == 1)
        await server.stop()
        await until(lambda: desk.states(push.after) == ["pending"])
        server = await start_valkey(directory, password="p", port=port)
        begun = time.monotonic()
        await built(ledger, answer)
        await until(lambda: desk.states(push.after)[-1] == "success")
        assert time.monotonic() - begun < 5
    assert desk.states(push.after) == ["pending", "success"]
    await ledger.aclose()
    await server.stop()
