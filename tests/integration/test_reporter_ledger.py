"""Rule 13 in the ledger: leases of what there is to tell, and what becomes of late ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from bot.core import keys
from bot.core.deployment import Status
from bot.core.ledger import Answer, Ledger, Report, open_ledger
from tests.builders import a_push, built, finished, queued
from tests.reporting import until


@pytest.fixture
async def ledger(valkey: str, prefix: str) -> AsyncIterator[Ledger]:
    found = open_ledger(valkey, prefix=f"{prefix}:")
    yield found
    await found.aclose()


async def leased(ledger: Ledger, *, seconds: float = 30) -> Report:
    found, wait = await ledger.reports.lease(seconds=seconds)
    assert found is not None, f"nothing for {wait} s"
    return found


async def is_at_rest(ledger: Ledger) -> bool:
    found, wait = await ledger.reports.lease(seconds=30)
    return found is None and wait == 5


async def a_told(ledger: Ledger, name: str = "A") -> Answer:
    """A deployment that was told as `pending`."""
    answer = await ledger.records.record(a_push(name))
    await ledger.reports.told(await leased(ledger), "pending")
    return answer


async def test_a_report_says_what_was_told_and_of_which_deployment(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    first = await leased(ledger)
    assert (first.project, first.repository) == ("site", "acme/site")
    assert (first.told, first.told_of, first.failures) == ("", "", 0)
    assert (first.posts_of_minute, first.posts_of_hour) == (0, 0)
    await ledger.reports.told(first, "pending")
    assert await is_at_rest(ledger)
    await built(ledger, answer)
    second = await leased(ledger)
    assert (second.told, second.told_of) == ("pending", answer.deployment)
    assert (second.posts_of_minute, second.posts_of_hour) == (1, 1)
    assert second.version > first.version
    assert second.deployment.status is Status.READY


async def test_passing_over_clears_and_counts_nothing(ledger: Ledger) -> None:
    answer = await a_told(ledger)
    await queued(ledger, answer)
    await ledger.reports.pass_over(await leased(ledger))
    assert await is_at_rest(ledger)
    await finished(ledger, answer.deployment)
    report = await leased(ledger)
    assert (report.told, report.told_of) == ("pending", answer.deployment)
    assert report.posts_of_minute == 1


async def test_a_lease_of_one_that_died_passes(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A"))
    dead = await leased(ledger, seconds=0.2)
    assert (await ledger.reports.lease(seconds=30))[0] is None
    await asyncio.sleep(0.2)
    assert (await leased(ledger)).lease != dead.lease


async def test_a_change_under_a_lease_is_due_as_soon_as_that_ends(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    report = await leased(ledger)
    await queued(ledger, answer)
    assert (await ledger.reports.lease(seconds=30))[0] is None
    await ledger.reports.told(report, "pending")
    assert (await leased(ledger)).deployment.status is Status.QUEUED


async def test_a_first_state_is_noted_and_the_lease_goes_on(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    await built(ledger, answer)
    report = await leased(ledger, seconds=0.2)
    assert await ledger.reports.told_so_far(report, "pending", seconds=0.4)
    await asyncio.sleep(0.25)
    assert (await ledger.reports.lease(seconds=30))[0] is None
    await asyncio.sleep(0.2)
    again = await leased(ledger)
    assert (again.told, again.told_of) == ("pending", answer.deployment)
    assert not await ledger.reports.told_so_far(report, "pending", seconds=30)


async def test_an_answer_that_was_lost_may_be_asked_for_again(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A"))
    report = await leased(ledger)
    for _ in range(2):
        await ledger.reports.later(report, seconds=0)
    report = await leased(ledger)
    assert report.failures == 1
    for _ in range(2):
        await ledger.reports.told(report, "pending")
    assert await is_at_rest(ledger)


async def test_a_late_post_puts_what_github_shows_in_doubt(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    late = await leased(ledger, seconds=0)
    report = await leased(ledger)
    await built(ledger, answer)
    await ledger.reports.told(report, "pending")
    await ledger.reports.told(await leased(ledger), "success")
    assert await is_at_rest(ledger)

    await ledger.reports.told(late, "pending")
    again = await leased(ledger)
    assert (again.told, again.told_of) == ("", answer.deployment)
    await ledger.reports.told(again, "success")
    assert await is_at_rest(ledger)


@pytest.mark.parametrize("how", ["told", "later"])
async def test_a_late_post_under_somebodys_lease_is_told_anew_after_it(
    ledger: Ledger, how: str
) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    late = await leased(ledger, seconds=0)
    report = await leased(ledger)
    if how == "told":
        await ledger.reports.told(late, "pending")
    else:
        await ledger.reports.later(late, seconds=100)
    await ledger.reports.told(report, "success")
    again = await leased(ledger)
    assert again.told == ""
    await ledger.reports.told(again, "success")
    assert await is_at_rest(ledger)


async def test_a_backoff_is_kept_by_a_step_and_ended_by_an_end(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    await ledger.reports.later(await leased(ledger), seconds=100)
    await queued(ledger, answer)
    assert (await ledger.reports.lease(seconds=30))[0] is None
    await finished(ledger, answer.deployment)
    report = await leased(ledger)
    assert report.failures == 1
    await ledger.reports.later(report, seconds=100)
    assert (await ledger.reports.lease(seconds=30))[0] is None


async def test_an_end_that_came_under_the_lease_waits_for_no_backoff(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    report = await leased(ledger)
    await built(ledger, answer)
    await ledger.reports.later(report, seconds=100)
    assert (await leased(ledger)).deployment.status is Status.READY


async def test_a_limit_for_everyone_outlasts_an_end_and_a_start_and_is_no_failure(
    ledger: Ledger,
) -> None:
    answer = await ledger.records.record(a_push("A"))
    await ledger.reports.later(await leased(ledger), seconds=0.3, everyone=True)
    await built(ledger, answer)
    assert await ledger.reports.hasten() == 0
    nothing, wait = await ledger.reports.lease(seconds=30)
    assert nothing is None
    assert 0 < wait <= 0.3

    async def passed() -> bool:
        return (await ledger.reports.lease(seconds=30))[0] is not None

    await until(passed)


async def test_one_projects_long_wait_holds_no_other_back(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A"))
    await ledger.reports.later(await leased(ledger), seconds=3600)
    await ledger.records.record(a_push("B", repository="acme/other", repository_id=8))
    assert (await leased(ledger)).project == "other"


async def test_a_start_ends_backoffs_and_no_lease(ledger: Ledger) -> None:
    for name in ("A", "B"):
        await ledger.records.record(a_push(name, branch=name))
    await ledger.reports.later(await leased(ledger), seconds=3600)
    held = await leased(ledger)
    assert await ledger.reports.hasten() == 1
    assert (await leased(ledger)).commit != held.commit
    assert (await ledger.reports.lease(seconds=30))[0] is None


async def test_a_report_whose_record_is_gone_is_dropped(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    redis = cast(Any, ledger.connection.redis)
    await redis.delete(keys.deployment(ledger.connection.prefix, answer.deployment))
    assert await is_at_rest(ledger)


async def test_the_posts_of_a_minute_and_an_hour_are_forgotten_in_time(ledger: Ledger) -> None:
    await a_told(ledger)
    redis = cast(Any, ledger.connection.redis)
    for name, seconds in (("posts-minute", 60), ("posts-hour", 3600)):
        left = await redis.ttl(keys.named(ledger.connection.prefix, name))
        assert seconds - 5 < left <= seconds


async def test_a_call_that_is_cancelled_ends_cancelled(ledger: Ledger) -> None:
    await ledger.reports.hasten()
    for steps in range(60):
        call = asyncio.create_task(ledger.reports.hasten())
        for _ in range(steps % 12):
            await asyncio.sleep(0)
        if call.cancel():
            [outcome] = await asyncio.gather(call, return_exceptions=True)
            assert isinstance(outcome, asyncio.CancelledError)
