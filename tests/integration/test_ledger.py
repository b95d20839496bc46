"""The queue protocol's verbs, on a real server."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status, Trigger, branch_label, deployment_label
from bot.core.errors import Errored, Rejected, Stopped
from bot.core.ledger import Ending, Ledger, Request, Verdict, open_ledger
from tests.builders import (
    ZERO,
    a_push,
    a_removal,
    built,
    claimed,
    commit,
    finished,
    queued,
)


@pytest.fixture
async def ledger(valkey: str) -> AsyncIterator[Ledger]:
    """A ledger under a prefix of its own."""
    found = open_ledger(valkey, prefix=f"{secrets.token_hex(6)}:", lease_seconds=30, max_attempts=3)
    yield found
    await found.aclose()


async def alias_of(ledger: Ledger, label: str) -> str:
    found = await ledger.aliases.get(label)
    return found.deployment if found else "none"


async def status_of(ledger: Ledger, id_: str) -> Status:
    found = await ledger.view.deployment(id_)
    assert found is not None
    return found.status


def redis(ledger: Ledger) -> Any:
    return cast(Any, ledger.connection.redis)


async def expire_lease(ledger: Ledger, id_: str) -> None:
    await redis(ledger).zadd(keys.named(ledger.connection.prefix, "active"), {id_: 1})


async def test_a_push_goes_from_received_to_ready_and_moves_its_three_aliases(
    ledger: Ledger,
) -> None:
    answer = await ledger.records.record(a_push("A"))
    assert answer.outcome == "recorded"
    ready = await built(ledger, answer)
    assert ready.status is Status.READY
    assert ready.production
    assert ready.reason == ""
    for label in ("site", branch_label("main", "site"), deployment_label(ready.id, "site")):
        assert await alias_of(ledger, label) == ready.id
    times = [ready.received_at, ready.fetching_at, ready.queued_at, ready.building_at]
    assert times == sorted(times)
    assert all(times)


async def test_at_rest_every_index_is_empty(ledger: Ledger) -> None:
    for branch in ("main", "feature"):
        await built(ledger, await ledger.records.record(a_push(branch, branch=branch)))
    view = await ledger.view.queue()
    assert (view.fetch, view.high, view.normal) == ([], [], [])
    assert (view.waiting, view.active, view.delayed) == (0, [], 0)
    prefix = ledger.connection.prefix
    for name in ("rung", "project-waiting:site", "ref-open:site:refs/heads/main"):
        assert not await redis(ledger).exists(keys.named(prefix, name)), name


async def test_every_key_has_a_ttl_or_stands_on_the_list_of_permanent_ones(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(
        ledger, (await ledger.records.record(a_push("B", before="A"))).deployment, Stage.FETCH
    )
    assert await ledger.logs.append(held, ["one"])
    await ledger.claims.retry(held, Errored("away", code="x"))
    await ledger.records.request(Request(project="site", idempotency_key="k"))
    await ledger.records.note("guid", {"outcome": "ignored"})
    base = keys.base(ledger.connection.prefix)
    seen = 0
    async for name in redis(ledger).scan_iter(f"{ledger.connection.prefix}*"):
        seen += 1
        plain = name.removeprefix(base).removeprefix(ledger.connection.prefix)
        permanent = plain.startswith(keys.PERMANENT) or (
            plain.startswith("deployment:")
            and (await redis(ledger).hget(name, "status"))
            in ("ready", "received", "queued", "fetching", "building")
        )
        assert permanent or await redis(ledger).ttl(name) > 0, name
    assert seen > 15


async def test_a_known_body_or_guid_gives_the_old_id_and_nothing_else(ledger: Ledger) -> None:
    first = await ledger.records.record(a_push("A", guid="g1", body="b1"))
    again = await ledger.records.record(a_push("A", guid="g1", body="b1"))
    other_guid = await ledger.records.record(a_push("A", guid="g2", body="b1"))
    other_body = await ledger.records.record(a_push("A", guid="g1", body="b2"))
    assert {again.outcome, other_guid.outcome, other_body.outcome} == {"repeated"}
    assert {again.deployment, other_guid.deployment, other_body.deployment} == {first.deployment}
    assert (await ledger.view.queue()).waiting == 1


async def test_back_and_forth_pushes_are_never_taken_for_repeats(ledger: Ledger) -> None:
    answers = [
        await ledger.records.record(a_push("A", at=1)),
        await ledger.records.record(a_push("B", before="A", at=2)),
        await ledger.records.record(a_push("A", before="B", at=3)),
        await ledger.records.record(a_push("B", before="A", at=4)),
        await ledger.records.record(a_push("A", before="B", at=4)),
    ]
    assert [a.outcome for a in answers] == ["recorded"] * 5
    assert len({a.deployment for a in answers}) == 5


async def test_a_late_delivery_is_recorded_as_superseded_and_supersedes_nothing(
    ledger: Ledger,
) -> None:
    newer = await ledger.records.record(a_push("C", before="B", at=10))
    late = await ledger.records.record(a_push("B", before="A", at=9))
    tied = await ledger.records.record(a_push("B", before="A", at=10))
    assert (late.outcome, tied.outcome) == ("superseded", "superseded")
    assert await status_of(ledger, late.deployment) is Status.SUPERSEDED
    assert (await built(ledger, newer)).status is Status.READY
    assert await alias_of(ledger, "site") == newer.deployment


async def test_a_forced_push_back_within_one_second_is_the_newest(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    await ledger.records.record(a_push("B", before="A", at=5))
    back = await ledger.records.record(a_push("A", before="B", at=5))
    assert back.outcome == "recorded"
    assert (await built(ledger, back)).status is Status.READY
    assert await alias_of(ledger, "site") == back.deployment


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
    assert view.normal == await redis(ledger).lrange(keys.queue(ledger.connection.prefix), 0, -1)


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
    await ledger.claims.give_back(lost)
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
    await redis(ledger).hset(keys.deployment(prefix, first.id), "due_at", 1)
    await redis(ledger).zadd(keys.named(prefix, "delayed"), {first.id: 1})
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
    await redis(ledger).zadd(keys.named(prefix, "rung"), {first.id: 1})
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


async def test_a_deleted_branch_loses_its_alias_and_production_never_does(ledger: Ledger) -> None:
    main = await built(ledger, await ledger.records.record(a_push("A", at=1)))
    topic = await built(ledger, await ledger.records.record(a_push("T", branch="topic", at=2)))
    pending = await ledger.records.record(a_push("U", before="T", branch="topic", at=3))
    removed = await ledger.records.remove(a_removal("topic", before="U", at=4))
    assert removed.outcome == "removed"
    assert await alias_of(ledger, branch_label("topic", "site")) == ""
    assert await status_of(ledger, pending.deployment) is Status.CANCELLED
    assert await alias_of(ledger, deployment_label(topic.id, "site")) == topic.id
    await ledger.records.remove(a_removal("main", before="A", at=5))
    assert await alias_of(ledger, "site") == main.id


async def test_a_late_deletion_does_not_take_a_branch_down_that_was_made_again(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="t", at=1)))
    again = await ledger.records.record(a_push("A", branch="t", at=6))
    assert again.outcome == "repeated"
    anew = await built(ledger, await ledger.records.record(a_push("B", branch="t", at=7)))
    late = await ledger.records.remove(a_removal("t", before="A", at=5))
    assert late.outcome == "late"
    assert await alias_of(ledger, branch_label("t", "site")) == anew.id


async def test_a_branch_made_again_at_the_same_commit_is_deployed(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="t", at=1)))
    await ledger.records.remove(a_removal("t", before="A", at=2))
    anew = await ledger.records.record(a_push("A", before=ZERO, branch="t", at=3))
    assert anew.outcome == "recorded"
    ready = await built(ledger, anew)
    assert await alias_of(ledger, branch_label("t", "site")) == ready.id


async def test_a_rollback_pins_and_a_push_after_it_says_so_until_unpinned(ledger: Ledger) -> None:
    first = await built(ledger, await ledger.records.record(a_push("A")))
    with pytest.raises(Rejected, match="no earlier release"):
        await ledger.aliases.rollback("site")
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    move = await ledger.aliases.rollback("site", idempotency_key="once")
    assert move == await ledger.aliases.rollback("site", idempotency_key="once")
    assert (move.deployment, move.previous, move.pinned) == (first.id, second.id, True)
    before = await ledger.aliases.get("site")
    third = await built(ledger, await ledger.records.record(a_push("C", before="B")))
    assert third.reason == "built, not live: production is pinned"
    assert await alias_of(ledger, "site") == first.id
    unpinned = await ledger.aliases.unpin("site")
    assert (unpinned.deployment, unpinned.pinned) == (third.id, False)
    after = await ledger.aliases.get("site")
    assert before is not None
    assert after is not None
    assert after.seq > before.seq
    fourth = await built(ledger, await ledger.records.record(a_push("D", before="C")))
    assert await alias_of(ledger, "site") == fourth.id


async def test_a_build_in_flight_over_an_unpin_still_goes_live(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    await built(ledger, await ledger.records.record(a_push("B", before="A")))
    flight = await queued(ledger, await ledger.records.record(a_push("C", before="B")))
    await ledger.aliases.rollback("site")
    await ledger.aliases.unpin("site")
    assert (await finished(ledger, flight.id)).reason == ""
    assert await alias_of(ledger, "site") == flight.id


async def test_promoting_pins_an_old_release_and_promoting_the_newest_unpins(
    ledger: Ledger,
) -> None:
    first = await built(ledger, await ledger.records.record(a_push("A")))
    second = await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert (await ledger.aliases.promote(first.id)).pinned
    assert not (await ledger.aliases.promote(second.id)).pinned
    failed = await built(
        ledger, await ledger.records.record(a_push("C", before="B")), status=Status.FAILED
    )
    with pytest.raises(Rejected, match="no release"):
        await ledger.aliases.promote(failed.id)
    with pytest.raises(Rejected, match="no such"):
        await ledger.aliases.promote("d0000000000000000")


async def test_a_redeploy_of_an_old_commit_moves_its_own_host_only(ledger: Ledger) -> None:
    old = await built(ledger, await ledger.records.record(a_push("A")))
    new = await built(ledger, await ledger.records.record(a_push("B", before="A")))

    async def redeploy(id_: str, name: str) -> str:
        answer = await ledger.records.request(
            Request(
                project="site",
                ref="refs/heads/main",
                commit=commit(name),
                trigger=Trigger.REDEPLOY,
                redeploy_of=id_,
            )
        )
        return (await built(ledger, answer)).id

    anew = await redeploy(old.id, "A")
    assert await alias_of(ledger, "site") == new.id
    assert await alias_of(ledger, deployment_label(anew, "site")) == anew
    newest = await redeploy(new.id, "B")
    assert await alias_of(ledger, "site") == newest


async def test_a_request_before_any_push_makes_the_project_and_the_first_push_adopts_it(
    ledger: Ledger,
) -> None:
    answer = await ledger.records.request(Request(repository="acme/site"))
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    assert held.ref == "HEAD"
    moved = await ledger.claims.advance(
        held, Status.QUEUED, commit=commit("A"), ref="refs/heads/main", default_branch="main"
    )
    assert (moved.ref, moved.production) == ("refs/heads/main", True)
    ready = await finished(ledger, moved.id)
    assert await alias_of(ledger, "site") == ready.id
    same = await ledger.records.record(a_push("A", before=ZERO))
    assert (same.outcome, same.deployment) == ("repeated", ready.id)
    await built(ledger, await ledger.records.record(a_push("B", before="A")))
    assert [project.slug for project in await ledger.view.projects()] == ["site"]


async def test_a_rename_keeps_the_project_and_another_repository_of_the_name_gets_its_own(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    await ledger.records.record(a_push("B", before="A", repository="acme/new", at=2))
    await ledger.records.record(a_push("C", repository="acme/site", repository_id=9, at=3))
    found = {p.slug: p.repository for p in await ledger.view.projects()}
    assert found == {"site": "acme/new", "acme-site": "acme/site"}


async def test_what_there_is_to_tell_is_leased_to_one_and_cleared_when_it_has_not_changed(
    ledger: Ledger,
) -> None:
    answer = await ledger.records.record(a_push("A"))
    report, _ = await ledger.reports.lease(seconds=30)
    assert report is not None
    assert report.deployment.status is Status.RECEIVED
    nothing, wait = await ledger.reports.lease(seconds=30)
    assert nothing is None
    assert wait > 0
    await built(ledger, answer)
    await ledger.reports.told(report, "pending")
    report, _ = await ledger.reports.lease(seconds=30)
    assert report is not None
    assert (report.deployment.status, report.told) == (Status.READY, "pending")
    await ledger.reports.told(report, "success")
    assert (await ledger.reports.lease(seconds=30))[0] is None
    assert not await redis(ledger).exists(keys.named(ledger.connection.prefix, "unreported"))


async def test_a_limit_for_everyone_holds_every_report_back(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A"))
    await ledger.records.record(a_push("B", branch="other"))
    report, _ = await ledger.reports.lease(seconds=30)
    assert report is not None
    await ledger.reports.later(report, seconds=20, everyone=True)
    nothing, wait = await ledger.reports.lease(seconds=30)
    assert nothing is None
    assert wait > 1


async def test_log_lines_are_read_in_order_and_from_a_place(ledger: Ledger) -> None:
    answer = await ledger.records.record(a_push("A"))
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    await ledger.logs.append(held, ["one", "two"])
    await ledger.logs.append(held, ["three"])
    lines = await ledger.logs.read(held.id, held.claim)
    assert [line.text for line in lines] == ["one", "two", "three"]
    rest = await ledger.logs.read(held.id, held.claim, after=lines[1].id)
    assert [line.text for line in rest] == ["three"]


async def test_pages_of_deployments_hold_each_once_newest_first(ledger: Ledger) -> None:
    ids = [(await ledger.records.record(a_push("A", branch=f"b{n}"))).deployment for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page, cursor = await ledger.view.deployments(project="site", cursor=cursor, limit=3)
        seen += [record.id for record in page]
        if not cursor:
            break
    assert seen == ids[::-1]
    filtered, _ = await ledger.view.deployments(branch="b3")
    assert [record.id for record in filtered] == [ids[3]]


async def test_a_redis_that_is_away_is_our_fault_within_two_seconds() -> None:
    away = open_ledger("redis://127.0.0.1:1/0")
    with pytest.raises(Errored, match="cannot be reached"):
        await away.records.record(a_push("A"))
    await away.aclose()
