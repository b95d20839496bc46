"""How a deployment comes to be recorded, and how it is read again, on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core import keys
from bot.core.deployment import (
    Ignored,
    Stage,
    Status,
    branch_label,
    deployment_label,
    project_slugs,
)
from bot.core.errors import Errored
from bot.core.ledger import Ledger, Payload, Refusal, Request, open_ledger
from tests.builders import ZERO, a_push, a_removal, built, claimed, commit, finished
from tests.ledgers import alias_of, redis_of, status_of


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


async def test_a_known_body_or_guid_gives_the_old_id_and_nothing_else(ledger: Ledger) -> None:
    first = await ledger.records.record(a_push("A", guid="g1", body="b1"))
    again = await ledger.records.record(a_push("A", guid="g1", body="b1"))
    other_guid = await ledger.records.record(a_push("A", guid="g2", body="b1"))
    other_body = await ledger.records.record(a_push("A", guid="g1", body="b2"))
    assert {again.outcome, other_guid.outcome, other_body.outcome} == {"repeated"}
    assert {again.deployment, other_guid.deployment, other_body.deployment} == {first.deployment}
    assert (await ledger.view.queue()).waiting == 1


@pytest.mark.parametrize("again", [{"body": "b1"}, {"guid": "g1"}])
async def test_what_is_delivered_again_after_a_newer_push_is_still_the_old_push(
    ledger: Ledger, again: dict[str, Any]
) -> None:
    first = await ledger.records.record(a_push("A", guid="g1", body="b1", at=1))
    newer = await ledger.records.record(a_push("B", before="A", at=2))
    repeated = await ledger.records.record(a_push("A", at=3, **again))
    assert (repeated.outcome, repeated.deployment) == ("repeated", first.deployment)
    assert (await ledger.view.queue()).waiting == 2
    await built(ledger, newer)
    assert await alias_of(ledger, "site") == newer.deployment


async def test_one_idempotency_key_asks_once(ledger: Ledger) -> None:
    request = Request(repository="acme/site", ref="refs/heads/main", idempotency_key="k1")
    first = await ledger.records.request(request)
    again = await ledger.records.request(request)
    assert (again.outcome, again.deployment) == ("repeated", first.deployment)
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


async def test_repositories_that_take_a_repositorys_names_leave_it_one(ledger: Ledger) -> None:
    taken = [f"evil/{slug}" for slug in project_slugs("acme/site")]
    for number, name in enumerate([*taken, "acme/site"], 100):
        push = a_push("A", repository=name, repository_id=number)
        assert (await ledger.records.record(push)).outcome == "recorded"
    assert (await ledger.view.projects())[-1].repository == "acme/site"


async def test_a_branch_made_again_at_the_same_commit_is_deployed(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="t", at=1)))
    await ledger.records.remove(a_removal("t", before="A", at=2))
    anew = await ledger.records.record(a_push("A", before=ZERO, branch="t", at=3))
    assert anew.outcome == "recorded"
    ready = await built(ledger, anew)
    assert await alias_of(ledger, branch_label("t", "site")) == ready.id


async def test_every_key_has_a_ttl_or_stands_on_the_list_of_permanent_ones(ledger: Ledger) -> None:
    await built(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(
        ledger, (await ledger.records.record(a_push("B", before="A"))).deployment, Stage.FETCH
    )
    assert await ledger.logs.append(held, ["one"])
    await ledger.claims.retry(held, Errored("away", code="x"))
    await ledger.records.request(Request(project="site", idempotency_key="k"))
    ignored = Ignored(guid="guid", event="ping", repository="", reason="a ping")
    await ledger.records.note(ignored, Payload(size=9, packed=b"packed"))
    ledger.refusals.note(Refusal(peer="192.0.2.1", code="signature_invalid"))
    await ledger.refusals.aclose()
    base = keys.base(ledger.connection.prefix)
    seen = 0
    async for name in redis_of(ledger).scan_iter(f"{ledger.connection.prefix}*"):
        seen += 1
        plain = name.removeprefix(base).removeprefix(ledger.connection.prefix)
        permanent = plain.startswith(keys.PERMANENT) or (
            plain.startswith("deployment:")
            and (await redis_of(ledger).hget(name, "status"))
            in ("ready", "received", "queued", "fetching", "building")
        )
        assert permanent or await redis_of(ledger).ttl(name) > 0, name
    assert seen > 15


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
    assert not await redis_of(ledger).exists(keys.named(ledger.connection.prefix, "unreported"))


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
