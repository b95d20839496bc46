"""What the catch-up records, never over what a delivery has told; and whose turn a round is."""

from __future__ import annotations

import asyncio

import msgspec

from bot.core.deployment import (
    Deployment,
    Push,
    Removal,
    Stage,
    Status,
    Trigger,
    branch_label,
    new_claim,
)
from bot.core.ledger import Answer, Compared, Head, Ledger, Request
from bot.core.ledger.rounds import NO_COMMIT
from tests.builders import START, ZERO, a_push, a_removal, built, claimed, commit, finished
from tests.ledgers import alias_of, redis_of, status_of

MAIN, TOPIC = "refs/heads/main", "refs/heads/topic"


async def head_of(ledger: Ledger, ref: str = MAIN) -> Head | None:
    """What the ledger knows of a head of the project `site`."""
    return (await ledger.rounds.heads("site")).known.get(ref)


async def compared(ledger: Ledger, ref: str = MAIN) -> Compared:
    head = await head_of(ledger, ref)
    return Compared(project="site", known=head.entry if head else "")


def a_find(after: str, *, before: str, branch: str = "main", at: int | None = None) -> Push:
    """A push as the catch-up finds one: by no delivery, and at no time unless GitHub told one."""
    push = a_push(after, before=before, branch=branch)
    pushed_at = 0 if at is None else START + at
    return msgspec.structs.replace(push, guid="", body_sha256="", pushed_at=pushed_at)


def a_gap(branch: str, *, before: str, at: int | None = None) -> Removal:
    """A deletion, likewise."""
    removal = a_removal(branch, before=before, at=0)
    pushed_at = 0 if at is None else START + at
    return msgspec.structs.replace(removal, guid="", body_sha256="", pushed_at=pushed_at)


async def found(ledger: Ledger, push: Push) -> Answer:
    """Records what the catch-up found, compared with what is known now."""
    return await ledger.records.record(push, compared=await compared(ledger, push.ref))


async def test_a_delivery_tells_of_a_head_and_a_deletion_that_there_is_none(
    ledger: Ledger,
) -> None:
    first = await ledger.records.record(a_push("A", branch="topic", at=1))
    known = await head_of(ledger, TOPIC)
    assert known
    recorded = await ledger.view.deployment(first.deployment)
    assert recorded
    assert (known.commit, known.seq) == (commit("A"), recorded.seq)
    late = await ledger.records.record(a_push("0", branch="topic", at=0))
    assert late.outcome == "superseded"
    assert await head_of(ledger, TOPIC) == known
    await ledger.records.remove(a_removal("topic", before="A", at=2))
    gone = await head_of(ledger, TOPIC)
    assert gone
    assert gone.commit == NO_COMMIT
    assert gone.seq > recorded.seq
    project = await ledger.view.project("site")
    assert project
    assert project.delivered_at > 0


async def test_what_is_caught_up_with_is_a_push_like_any_other_but_for_its_delivery(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    answer = await found(ledger, a_find("B", before="A"))
    assert answer.outcome == "recorded"
    ready = await built(ledger, answer)
    assert (ready.trigger, ready.delivery, ready.production) == (Trigger.PUSH, "", True)
    assert await alias_of(ledger, "site") == ready.id
    head = await head_of(ledger)
    assert head
    assert head.commit == commit("B")
    base = f"{ledger.connection.prefix}{{build-queue}}:"
    assert not await redis_of(ledger).exists(f"{base}body:", f"{base}delivery:")


async def test_what_came_since_the_heads_were_compared_has_the_word(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A", at=1))
    before = await compared(ledger)
    newer = await ledger.records.record(a_push("C", before="B", at=3))
    late = await ledger.records.record(a_find("B", before="A"), compared=before)
    gone = await ledger.records.remove(a_gap("main", before="A"), compared=before)
    nobodys = Compared(project="nobody", known="")
    strange = await ledger.records.record(a_find("B", before="A"), compared=nobodys)
    assert {late.outcome, gone.outcome, strange.outcome} == {"overtaken"}
    assert (await ledger.view.queue()).waiting == 2
    assert (await built(ledger, newer)).status is Status.READY


async def test_the_late_delivery_of_what_was_caught_up_with_is_the_same_deployment(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    caught = await found(ledger, a_find("C", before="A", at=9))
    own = await ledger.records.record(a_push("C", before="B", at=8))
    assert (own.outcome, own.deployment) == ("repeated", caught.deployment)
    record = await ledger.view.deployment(caught.deployment)
    assert record
    assert record.delivery
    passed_over = await ledger.records.record(a_push("B", before="A", at=7))
    assert passed_over.outcome == "superseded"
    newer = await ledger.records.record(a_push("D", before="C", at=10))
    assert newer.outcome == "recorded"
    assert (await built(ledger, newer)).status is Status.READY


async def test_the_late_delivery_of_what_was_found_and_is_newest_no_more_is_the_same_one(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    one = await found(ledger, a_find("B", before="A", at=5))
    two = await found(ledger, a_find("C", before="B", at=9))
    late = await ledger.records.record(a_push("B", before="A", at=4, guid="late"))
    assert (late.outcome, late.deployment) == ("repeated", one.deployment)
    record = await ledger.view.deployment(one.deployment)
    assert record
    assert record.delivery == "late"
    # Another push of the same commit is another one.
    again = await ledger.records.record(a_push("B", before="X", at=4))
    assert (again.outcome, again.deployment != one.deployment) == ("superseded", True)
    assert (await built(ledger, two)).status is Status.READY


async def test_pushes_of_the_second_in_which_it_was_found_are_told_apart_by_what_they_follow(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    await found(ledger, a_find("C", before="A", at=9))
    before = await ledger.records.record(a_push("B", before="A", at=9))
    after = await ledger.records.record(a_push("D", before="C", at=9))
    assert (before.outcome, after.outcome) == ("superseded", "recorded")


async def test_once_its_own_delivery_has_come_ties_are_ordered_as_ever(ledger: Ledger) -> None:
    await ledger.records.record(a_push("A", at=1))
    await found(ledger, a_find("C", before="A", at=9))
    await ledger.records.record(a_push("C", before="B", at=9))
    assert (await ledger.records.record(a_push("B", before="A", at=9))).outcome == "superseded"
    assert (await ledger.records.record(a_push("E", before="X", at=9))).outcome == "recorded"


async def test_where_github_tells_no_time_it_is_that_of_the_latest_push_that_is_known(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    await ledger.records.record(a_push("T", branch="topic", at=4))
    answer = await found(ledger, a_find("B", before="A"))
    record = await ledger.view.deployment(answer.deployment)
    assert record
    assert record.pushed_at == START + 4
    assert (await ledger.records.record(a_push("C", before="B", at=4))).outcome == "recorded"
    assert (await ledger.records.record(a_push("D", before="X", at=5))).outcome == "recorded"


async def by_hand(ledger: Ledger, ref: str, name: str) -> Deployment:
    """A deployment that a person asked for, and that turned out to be of this commit."""
    asked = await ledger.records.request(Request(project="site", ref=ref))
    held = await claimed(ledger, asked.deployment, Stage.FETCH)
    await ledger.claims.advance(held, Status.QUEUED, commit=commit(name), ref=ref)
    return await finished(ledger, asked.deployment)


async def test_what_a_person_has_asked_for_meanwhile_is_not_built_once_more(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", at=1)))
    ready = await by_hand(ledger, MAIN, "B")
    answer = await found(ledger, a_find("B", before="A"))
    assert (answer.outcome, answer.deployment) == ("repeated", ready.id)
    head = await head_of(ledger)
    assert head
    assert head.commit == commit("B")
    assert await ledger.rounds.seen("site", [commit("A"), commit("B"), commit("C")]) == {
        commit("A"),
        commit("B"),
    }


async def test_a_deletion_that_was_found_takes_the_branch_down_and_its_delivery_is_a_repeat(
    ledger: Ledger,
) -> None:
    label = branch_label("topic", "site")
    ready = await built(ledger, await ledger.records.record(a_push("A", branch="topic", at=1)))
    assert await alias_of(ledger, label) == ready.id
    waiting = await ledger.records.record(a_push("B", before="A", branch="topic", at=2))
    gone = a_gap("topic", before="B", at=9)
    assert (
        await ledger.records.remove(gone, compared=await compared(ledger, TOPIC))
    ).outcome == "removed"
    assert await alias_of(ledger, label) == ""
    assert await status_of(ledger, waiting.deployment) is Status.CANCELLED
    told = await ledger.records.remove(a_removal("topic", before="B", at=8))
    assert told.outcome == "repeated"
    late = await ledger.records.record(a_push("X", before="A", branch="topic", at=7))
    assert late.outcome == "superseded"
    anew = await ledger.records.record(a_push("B", before=ZERO, branch="topic", at=10))
    assert anew.outcome == "recorded"
    assert (await built(ledger, anew)).status is Status.READY
    assert await alias_of(ledger, label) == anew.deployment


async def test_a_branch_of_which_a_person_deployed_more_is_found_gone_all_the_same(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="topic", at=1)))
    ready = await by_hand(ledger, TOPIC, "B")
    label = branch_label("topic", "site")
    assert await alias_of(ledger, label) == ready.id
    gone = a_gap("topic", before="A")
    answer = await ledger.records.remove(gone, compared=await compared(ledger, TOPIC))
    assert answer.outcome == "removed"
    assert await alias_of(ledger, label) == ""


async def test_a_branch_that_is_there_again_is_built_though_its_deletion_was_told(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="topic", at=1)))
    await ledger.records.remove(a_removal("topic", before="A", at=2))
    anew = await found(ledger, a_find("A", before=ZERO, branch="topic"))
    assert anew.outcome == "recorded"
    ready = await built(ledger, anew)
    assert (ready.status, ready.pushed_at) == (Status.READY, START + 2)
    assert await alias_of(ledger, branch_label("topic", "site")) == anew.deployment


async def test_a_branch_that_is_found_gone_and_then_found_again_in_one_second_is_built(
    ledger: Ledger,
) -> None:
    await built(ledger, await ledger.records.record(a_push("A", branch="topic", at=1)))
    gone = a_gap("topic", before="A", at=9)
    await ledger.records.remove(gone, compared=await compared(ledger, TOPIC))
    assert (await found(ledger, a_find("A", before=ZERO, branch="topic", at=9))).outcome == (
        "recorded"
    )


async def test_a_look_notes_what_nobody_has_told_of_and_forgets_only_what_has_not_changed(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("A", at=1))
    await ledger.rounds.look("site", noted={MAIN: commit("X"), TOPIC: commit("T")})
    main, topic = await head_of(ledger), await head_of(ledger, TOPIC)
    assert main
    assert topic
    assert (main.commit, topic.commit, topic.seq) == (commit("A"), commit("T"), 0)
    await ledger.rounds.look("site", forgotten={MAIN: "something else", TOPIC: topic.entry})
    assert await head_of(ledger) == main
    assert await head_of(ledger, TOPIC) is None
    project = await ledger.view.project("site")
    assert project
    assert project.looked_at >= project.delivered_at > 0


async def test_of_a_ledger_that_lost_its_heads_a_look_knows_what_the_refs_say(
    ledger: Ledger,
) -> None:
    first = await ledger.records.record(a_push("A", at=1))
    recorded = await ledger.view.deployment(first.deployment)
    assert recorded
    await redis_of(ledger).delete(f"{ledger.connection.prefix}{{build-queue}}:heads:site")
    await ledger.rounds.look("site", noted={MAIN: commit("B")})
    head = await head_of(ledger)
    assert head
    assert (head.commit, head.seq) == (commit("A"), recorded.seq)


async def hold(ledger: Ledger, holder: str, *, lease: float = 30, since: float = 60) -> float:
    return await ledger.rounds.hold(holder, lease_seconds=lease, since_seconds=since)


async def begun(ledger: Ledger, *, lease: float = 30, since: float = 60) -> str:
    """Waits until a new round may begin, and begins it."""
    holder = new_claim()
    async with asyncio.timeout(5):
        while await hold(ledger, holder, lease=lease, since=since):
            await asyncio.sleep(0.005)
    return holder


async def test_one_process_at_a_time_has_a_round_and_the_next_waits_until_it_is_due(
    ledger: Ledger,
) -> None:
    one, other = await begun(ledger), new_claim()
    assert 29 < await hold(ledger, other) <= 30
    assert await hold(ledger, one) == 0
    await ledger.rounds.done(one, due_seconds=600)
    assert 599 < await hold(ledger, other) <= 600


async def test_whoever_has_a_reason_for_a_round_since_the_last_began_need_not_wait(
    ledger: Ledger,
) -> None:
    await ledger.rounds.done(await begun(ledger), due_seconds=600)
    again = await begun(ledger, since=0)
    await ledger.rounds.done(again, due_seconds=600)
    assert await hold(ledger, new_claim(), since=5) > 0


async def test_a_round_whose_process_died_is_begun_again_when_its_lease_has_passed(
    ledger: Ledger,
) -> None:
    await ledger.rounds.done(await begun(ledger), due_seconds=600)
    dead = await begun(ledger, since=0, lease=0.05)
    another = await begun(ledger)
    # It wakes and says that it is done: nobody listens.
    await ledger.rounds.done(dead, due_seconds=600)
    assert await hold(ledger, dead) > 0
    assert await hold(ledger, another) == 0
