"""The queue protocol from doorbell to end, on a real server."""

from __future__ import annotations

import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status
from bot.core.errors import Errored, Stopped
from bot.core.ledger import Ending, Ledger, Request, Verdict
from tests.builders import a_push, built, claimed, finished, queued
from tests.ledgers import alias_of, expire_lease, redis_of, status_of


async def test_at_rest_every_index_is_empty(ledger: Ledger) -> None:
    for branch in ("main", "feature"):
        await built(ledger, await ledger.records.record(a_push(branch, branch=branch)))
    view = await ledger.view.queue()
    assert (view.fetch, view.high, view.normal) == ([], [], [])
    assert (view.waiting, view.active, view.delayed) == (0, [], 0)
    prefix = ledger.connection.prefix
    for name in ("rung", "project-waiting:site", "ref-open:site:refs/heads/main"):
        assert not await redis_of(ledger).exists(keys.named(prefix, name)), name


async def test_a_fetch_takes_the_newest_of_its_ref_and_its_advance_supersedes_the_older(
    ledger: Ledger,
) -> None:
    first = await ledger.records.record(a_push("A"))
    second = await ledger.records.record(a_push("B", before="A"))
    held = await claimed(ledger, first.deployment, Stage.FETCH)
    assert held.id == second.deployment
    assert await status_of(ledger, first.deployment) is Status.RECEIVED
    await ledger.claims.advance(held, Status.QUEUED)
    assert await status_of(ledger, first.deployment) is Status.SUPERSEDED


async def test_a_skipped_push_supersedes_nothing(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    second = await ledger.records.record(a_push("B", before="A"))
    held = await claimed(ledger, second.deployment, Stage.FETCH)
    ended = await ledger.claims.finish(held, Ending(status=Status.SKIPPED, reason="[skip ci]"))
    assert ended.status is Status.SKIPPED
    assert (await finished(ledger, first.id)).status is Status.READY
    assert await alias_of(ledger, "site") == first.id


async def test_an_active_preview_is_asked_to_stop_and_production_is_let_finish(
    ledger: Ledger,
) -> None:
    for branch, verdict in (("main", Verdict.GO), ("topic", Verdict.SUPERSEDED)):
        first = await queued(ledger, await ledger.records.record(a_push("A", branch=branch)))
        building = await claimed(ledger, first.id, Stage.BUILD)
        second = await ledger.records.record(a_push("B", before="A", branch=branch))
        await queued(ledger, second)
        assert await ledger.claims.extend(building) is verdict
        busy = await ledger.claims.claim(second.deployment, Stage.BUILD)
        assert busy.why == "busy"
        ended = await ledger.claims.finish(building, Ending(status=Status.FAILED))
        assert ended.status is (Status.FAILED if verdict is Verdict.GO else Status.SUPERSEDED)
        lists = await ledger.view.queue()
        assert second.deployment in lists.high + lists.normal
        assert (await finished(ledger, second.deployment)).status is Status.READY


async def test_production_and_manual_ones_ring_high_and_previews_the_build_queue(
    ledger: Ledger,
) -> None:
    production = await queued(ledger, await ledger.records.record(a_push("A")))
    previews = [
        await queued(ledger, await ledger.records.record(a_push("A", branch=f"b{n}")))
        for n in range(4)
    ]
    manual = await queued(
        ledger, await ledger.records.request(Request(project="site", ref="refs/heads/x"))
    )
    view = await ledger.view.queue()
    assert view.high == [production.id, manual.id]
    assert view.normal == [preview.id for preview in previews]
    assert view.normal == await redis_of(ledger).lrange(keys.queue(ledger.connection.prefix), 0, -1)


async def test_doorbells_lie_in_the_order_of_recording_whatever_order_they_were_fetched_in(
    ledger: Ledger,
) -> None:
    answers = [await ledger.records.record(a_push("A", branch=f"b{n}")) for n in range(4)]
    for answer in reversed(answers):
        await queued(ledger, answer)
    assert (await ledger.view.queue()).normal == [a.deployment for a in answers]


async def test_one_projects_hundred_branches_do_not_starve_another(ledger: Ledger) -> None:
    crowd = [await ledger.records.record(a_push("A", branch=f"b{n}")) for n in range(100)]
    other = await ledger.records.record(
        a_push("Z", repository="acme/other", repository_id=8, branch="b")
    )
    assert (await ledger.view.queue()).fetch.index(other.deployment) <= 5
    for answer in crowd:
        assert (await built(ledger, answer)).status is Status.READY
    assert (await ledger.view.queue()).waiting == 1


@pytest.mark.parametrize("stage", Stage)
async def test_what_a_project_rings_when_it_has_room_lies_behind_what_others_have_rung(
    ledger: Ledger, stage: Stage
) -> None:
    crowd = [await ledger.records.record(a_push("A", branch=f"b{n}")) for n in range(30)]
    other = await ledger.records.record(
        a_push("Z", repository="acme/other", repository_id=8, branch="b")
    )
    if stage is Stage.BUILD:
        for answer in (*crowd, other):
            await queued(ledger, answer)
    taken = []
    while other.deployment not in taken:
        taken.append(str(await ledger.claims.wait(stage)))
        await claimed(ledger, taken[-1], stage)
    assert taken == [*(answer.deployment for answer in crowd[:5]), other.deployment]


async def test_what_is_given_back_has_its_old_place(ledger: Ledger) -> None:
    for number in range(8):
        await queued(ledger, await ledger.records.record(a_push("A", branch=f"b{number}")))
    first = str(await ledger.claims.wait(Stage.BUILD))
    await ledger.claims.give_back(await claimed(ledger, first, Stage.BUILD))
    assert (await ledger.view.queue()).normal[0] == first


async def test_a_fenced_claim_can_write_nothing(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    lost = await claimed(ledger, first.id, Stage.BUILD)
    await expire_lease(ledger, first.id)
    assert (await ledger.claims.sweep())["expired"] == 1
    held = await claimed(ledger, first.id, Stage.BUILD)
    assert held.claim != lost.claim
    assert held.build_attempts == 2
    assert await ledger.claims.extend(lost) is Verdict.LOST
    assert not await ledger.logs.append(lost, ["late"])
    with pytest.raises(Stopped):
        await ledger.claims.advance(lost, Status.PUBLISHING)
    with pytest.raises(Stopped):
        await ledger.claims.finish(lost, Ending(status=Status.FAILED))
    with pytest.raises(Stopped):
        await ledger.claims.retry(lost, Errored("x", code="x"))
    assert not await ledger.claims.give_back(lost)
    assert await ledger.claims.extend(held) is Verdict.GO


async def test_a_repeated_finish_of_the_same_claim_succeeds(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, first.id, Stage.BUILD)
    held = await ledger.claims.advance(held, Status.PUBLISHING)
    ending = Ending(status=Status.READY, release="releases/7/x.json")
    once = await ledger.claims.finish(held, ending)
    assert await ledger.claims.finish(held, ending) == once
    assert once.build_attempts == 1


async def test_poison_dies_after_exactly_the_maximum_while_others_flow(ledger: Ledger) -> None:
    poison = await queued(ledger, await ledger.records.record(a_push("A", branch="poison")))
    for attempt in range(1, 4):
        held = await claimed(ledger, poison.id, Stage.BUILD)
        assert held.build_attempts == attempt
        await expire_lease(ledger, poison.id)
        await ledger.claims.sweep()
        other = await ledger.records.record(a_push(f"o{attempt}", branch=f"o{attempt}"))
        assert (await built(ledger, other)).status is Status.READY
    dead = await ledger.view.deployment(poison.id)
    assert dead is not None
    assert dead.status is Status.ERRORED
    assert "3 attempts" in dead.error_message
    assert (await ledger.view.queue()).dead == 1


async def test_a_retry_waits_for_its_time_and_then_rings(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, first.id, Stage.BUILD)
    back = await ledger.claims.retry(held, Errored("S3 is away", code="bucket_unreachable"))
    assert back.status is Status.QUEUED
    assert back.error_code == "bucket_unreachable"
    assert (await ledger.claims.claim(first.id, Stage.BUILD)).why == "stale"
    prefix = ledger.connection.prefix
    await redis_of(ledger).hset(keys.deployment(prefix, first.id), "due_at", 1)
    await redis_of(ledger).zadd(keys.named(prefix, "delayed"), {first.id: 1})
    assert (await ledger.claims.sweep())["due"] == 1
    assert (await ledger.view.queue()).high == [first.id]
    ended = await finished(ledger, first.id)
    assert (ended.status, ended.error_code) == (Status.READY, "")


async def test_a_retry_that_a_newer_push_overtook_is_superseded(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, first.id, Stage.BUILD)
    await queued(ledger, await ledger.records.record(a_push("B", before="A")))
    back = await ledger.claims.retry(held, Errored("x", code="x"))
    assert back.status is Status.SUPERSEDED


async def test_a_claim_given_back_consumes_no_attempt(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    await ledger.claims.give_back(await claimed(ledger, first.id, Stage.BUILD))
    assert (await ledger.view.queue()).high == [first.id]
    assert (await claimed(ledger, first.id, Stage.BUILD)).build_attempts == 1


async def test_a_doorbell_that_was_popped_and_never_claimed_is_rung_again(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    assert await ledger.claims.wait(Stage.BUILD) == first.id
    prefix = ledger.connection.prefix
    await redis_of(ledger).zadd(keys.named(prefix, "rung"), {first.id: 1})
    assert (await ledger.claims.sweep())["rung"] == 0
    assert (await ledger.claims.sweep())["rung"] == 1
    assert await ledger.claims.wait(Stage.BUILD) == first.id


async def test_a_cancelled_one_ends_at_once_when_waiting_and_by_its_next_extension_when_active(
    ledger: Ledger,
) -> None:
    waiting = await ledger.records.record(a_push("A", branch="one"))
    assert await ledger.records.cancel(waiting.deployment) == "cancelled"
    assert await status_of(ledger, waiting.deployment) is Status.CANCELLED
    assert (await ledger.view.queue()).fetch == []
    active = await queued(ledger, await ledger.records.record(a_push("A", branch="two")))
    held = await claimed(ledger, active.id, Stage.BUILD)
    assert await ledger.records.cancel(active.id, reason="by Ada") == "stopping"
    assert await ledger.claims.extend(held) is Verdict.CANCELLED
    ended = await ledger.claims.finish(held, Ending(status=Status.FAILED))
    assert (ended.status, ended.reason) == (Status.CANCELLED, "by Ada")
    assert await ledger.records.cancel(active.id) == "ended"
    assert await ledger.records.cancel("d0000000000000000") == "unknown"


async def test_a_stop_request_wins_over_an_expired_lease_and_a_ready_end(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, first.id, Stage.BUILD)
    held = await ledger.claims.advance(held, Status.PUBLISHING)
    await ledger.records.cancel(first.id)
    ended = await ledger.claims.finish(held, Ending(status=Status.READY, release="r"))
    assert ended.status is Status.CANCELLED
    assert await alias_of(ledger, "site") == "none"
    second = await queued(ledger, await ledger.records.record(a_push("B", before="A")))
    await claimed(ledger, second.id, Stage.BUILD)
    await ledger.records.cancel(second.id)
    await expire_lease(ledger, second.id)
    await ledger.claims.sweep()
    assert await status_of(ledger, second.id) is Status.CANCELLED


async def test_a_projects_previews_do_not_hold_its_own_production_back(ledger: Ledger) -> None:
    for number in range(20):
        await queued(ledger, await ledger.records.record(a_push("A", branch=f"b{number}")))
    production = await queued(ledger, await ledger.records.record(a_push("A")))
    view = await ledger.view.queue()
    assert view.high == [production.id]
    assert len(view.normal) == 5


async def test_a_doorbell_that_was_rung_twice_goes_with_the_claim(ledger: Ledger) -> None:
    first = await queued(ledger, await ledger.records.record(a_push("A")))
    assert await ledger.claims.wait(Stage.BUILD) == first.id
    await redis_of(ledger).zadd(keys.named(ledger.connection.prefix, "rung"), {first.id: 1})
    for _ in range(2):
        await ledger.claims.sweep()
    assert (await ledger.view.queue()).high == [first.id]
    await claimed(ledger, first.id, Stage.BUILD)
    assert (await ledger.view.queue()).high == []
