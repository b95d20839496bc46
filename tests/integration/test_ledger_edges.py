"""Orders of events that random schedules have found, each of which the protocol must bear."""

from __future__ import annotations

import pytest

from bot.core import keys
from bot.core.deployment import Stage, Status, Trigger, branch_label, new_claim
from bot.core.errors import BuildFailed
from bot.core.ledger import Ending, Ledger, Request
from tests.builders import ZERO, a_push, a_removal, built, claimed, commit, finished, queued
from tests.ledgers import alias_of, redis_of

MAIN = "refs/heads/main"


def key(ledger: Ledger, name: str) -> str:
    return keys.named(ledger.connection.prefix, name)


async def grow_old(ledger: Ledger) -> None:
    """Doorbells that lie longer than a sweep waits for."""
    for id_ in await redis_of(ledger).zrange(key(ledger, "rung"), 0, -1):
        await redis_of(ledger).zadd(key(ledger, "rung"), {id_: 1})


async def ttl_of(ledger: Ledger, id_: str) -> int:
    found: int = await redis_of(ledger).ttl(keys.deployment(ledger.connection.prefix, id_))
    return found


class TestDoorbells:
    """What is woken late takes nothing of anybody's."""

    async def test_a_claim_of_a_stage_that_has_passed_leaves_the_bell_of_the_next(
        self, ledger: Ledger
    ) -> None:
        asked = await ledger.records.record(a_push("A"))
        await queued(ledger, asked)
        assert (await ledger.claims.claim(asked.deployment, Stage.FETCH)).why == "stale"
        assert (await ledger.view.queue()).high == [asked.deployment]

    async def test_a_claim_that_must_wait_makes_room_in_the_list_for_another_branch(
        self, ledger: Ledger
    ) -> None:
        first = await ledger.records.record(a_push("A", branch="busy"))
        await claimed(ledger, first.deployment, Stage.FETCH)
        for number in range(6):
            await ledger.records.record(a_push(f"other {number}", branch=f"other-{number}"))
        before = (await ledger.view.queue()).fetch
        assert len(before) == 5
        # One bell is rung for a branch that was free then.
        taken = before[0]
        await redis_of(ledger).hset(
            keys.deployment(ledger.connection.prefix, taken), "due_at", str(2**52)
        )
        assert (await ledger.claims.claim(taken, Stage.FETCH)).why == "stale"
        after = (await ledger.view.queue()).fetch
        assert taken not in after
        assert len(after) == 5

    async def test_a_claim_whose_answer_was_lost_is_answered_again_though_it_took_a_newer_one(
        self, ledger: Ledger
    ) -> None:
        older = await ledger.records.record(a_push("A"))
        newer = await ledger.records.record(a_push("B", before="A"))
        asked = {
            "id": older.deployment,
            "stage": "fetch",
            "claim": new_claim(),
            "lease": "30000",
        }
        for _ in range(2):
            answer = await ledger.connection.call("claim", asked)
            record = dict(zip(answer[1::2], answer[2::2], strict=True))
            assert (answer[0], record["id"]) == ("claimed", newer.deployment)

    async def test_ids_without_a_record_end_no_sweep_and_leave_no_key(self, ledger: Ledger) -> None:
        held = await queued(ledger, await ledger.records.record(a_push("A")))
        await claimed(ledger, held.id, Stage.BUILD)
        redis = redis_of(ledger)
        await redis.zadd(key(ledger, "active"), {held.id: 2, "dgone": 1})
        await redis.zadd(key(ledger, "delayed"), {"dgone": 1})
        await ledger.claims.sweep()
        found = await ledger.view.deployment(held.id)
        assert found
        assert found.status is Status.QUEUED
        assert not await redis.exists(keys.deployment(ledger.connection.prefix, "dgone"))
        assert await redis.zrange(key(ledger, "active"), 0, -1) == []

    async def test_who_waits_behind_many_that_cannot_go_on_is_rung_for_all_the_same(
        self, ledger: Ledger
    ) -> None:
        for number in range(30):
            before = ZERO
            for name in ("A", "B"):
                push = a_push(
                    name,
                    before=before,
                    repository=f"acme/p{number}",
                    repository_id=100 + number,
                )
                answer = await ledger.records.record(push)
                if before == ZERO:
                    await claimed(ledger, answer.deployment, Stage.FETCH)
                before = name
        asked = await ledger.records.record(a_push("C"))
        # As after a crash in the middle of everything: it was never rung.
        await redis_of(ledger).delete(key(ledger, "rung"), keys.fetch(ledger.connection.prefix))
        for _ in range(40):
            await ledger.claims.sweep()
        assert asked.deployment in (await ledger.view.queue()).fetch


class TestOneSecond:
    """GitHub's `pushed_at` is in seconds, and deliveries overtake each other."""

    async def test_forth_and_back_again_in_reverse_order_ends_where_it_began(
        self, ledger: Ledger
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A", at=1)))
        back = await ledger.records.record(a_push("A", before="B", at=5))
        forth = await ledger.records.record(a_push("B", before="A", at=5))
        assert (back.outcome, forth.outcome) == ("repeated", "superseded")
        shown = await ledger.view.deployment(await alias_of(ledger, "site"))
        assert shown
        assert shown.commit == commit("A")

    async def test_forth_once_more_is_a_push(self, ledger: Ledger) -> None:
        await built(ledger, await ledger.records.record(a_push("A", at=1)))
        await ledger.records.record(a_push("A", before="B", at=5))
        await ledger.records.record(a_push("B", before="A", at=5))
        again = await ledger.records.record(a_push("B", before="A", at=6))
        assert again.outcome == "recorded"

    async def test_what_was_missed_in_one_second_is_no_word_on_another(
        self, ledger: Ledger
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A", branch="t", at=1)))
        await ledger.records.record(a_push("A", before="B", branch="t", at=5))
        await ledger.records.remove(a_removal("t", before="A", at=9))
        again = await ledger.records.record(a_push("B", branch="t", at=9))
        assert again.outcome == "recorded"

    async def test_what_was_missed_is_late_though_another_push_of_its_second_came_before(
        self, ledger: Ledger
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("A", at=1)))
        await ledger.records.record(a_push("A", before="B", at=5))
        await ledger.records.record(a_push("C", before="A", at=5))
        late = await ledger.records.record(a_push("B", before="A", at=5))
        assert late.outcome == "superseded"

    async def test_back_to_a_commit_that_a_person_had_fetched_is_no_sign_that_one_was_missed(
        self, ledger: Ledger
    ) -> None:
        await built(ledger, await ledger.records.record(a_push("B", at=1)))
        asked = await ledger.records.request(Request(project="site"))
        held = await claimed(ledger, asked.deployment, Stage.FETCH)
        await ledger.claims.advance(held, Status.QUEUED, commit=commit("A"), ref=MAIN)
        told = await ledger.records.record(a_push("A", before="B", at=5))
        assert told.deployment == asked.deployment
        back = await ledger.records.record(a_push("B", before="A", at=5))
        assert back.outcome == "recorded"


class TestLastingRecords:
    """The newest of a ref lasts; what was it before lasts as long as any other."""

    async def test_after_its_branch_was_deleted(self, ledger: Ledger) -> None:
        failed = await ledger.records.record(a_push("A", branch="t", at=1))
        await built(ledger, failed, status=Status.FAILED)
        assert await ttl_of(ledger, failed.deployment) == -1
        await ledger.records.remove(a_removal("t", before="A", at=2))
        assert await ttl_of(ledger, failed.deployment) > 0

    async def test_after_a_person_has_deployed_a_newer_commit(self, ledger: Ledger) -> None:
        failed = await ledger.records.record(a_push("A", at=1))
        await built(ledger, failed, status=Status.FAILED)
        asked = await ledger.records.request(Request(project="site"))
        held = await claimed(ledger, asked.deployment, Stage.FETCH)
        await ledger.claims.advance(
            held, Status.QUEUED, commit=commit("B"), ref=MAIN, default_branch="main"
        )
        await finished(ledger, asked.deployment)
        assert await ttl_of(ledger, failed.deployment) > 0


class TestAskedFor:
    """What a person asks for says what became of it."""

    async def test_a_redeploy_of_what_was_never_resolved_asks_for_the_newest_anew(
        self, ledger: Ledger
    ) -> None:
        asked = await ledger.records.request(Request(repository="acme/site"))
        held = await claimed(ledger, asked.deployment, Stage.FETCH)
        failed = await ledger.claims.finish(held, Ending(status=Status.FAILED, error_code="gone"))
        again = await ledger.records.request(
            Request(
                project="site",
                ref=failed.ref,
                commit=failed.commit,
                trigger=Trigger.REDEPLOY,
                redeploy_of=failed.id,
            )
        )
        held = await claimed(ledger, again.deployment, Stage.FETCH)
        await ledger.claims.advance(
            held, Status.QUEUED, commit=commit("A"), ref=MAIN, default_branch="main"
        )
        await finished(ledger, again.deployment)
        assert await alias_of(ledger, "site") == again.deployment

    async def test_a_redeploy_of_a_deleted_branch_says_that_it_was_deleted(
        self, ledger: Ledger
    ) -> None:
        first = await built(ledger, await ledger.records.record(a_push("A", at=1)))
        await ledger.records.remove(a_removal("main", before="A", at=2))
        again = await ledger.records.request(
            Request(
                project="site",
                ref=MAIN,
                commit=commit("A"),
                trigger=Trigger.REDEPLOY,
                redeploy_of=first.id,
            )
        )
        assert "its branch was deleted" in (await built(ledger, again)).reason

    async def test_one_that_a_newer_push_has_overtaken_says_why_its_branch_does_not_show_it(
        self, ledger: Ledger
    ) -> None:
        asked = await ledger.records.request(Request(repository="acme/site", ref="refs/heads/t"))
        held = await claimed(ledger, asked.deployment, Stage.FETCH)
        await ledger.claims.advance(
            held, Status.QUEUED, commit=commit("A"), ref="refs/heads/t", default_branch="main"
        )
        newer = await queued(ledger, await ledger.records.record(a_push("B", branch="t")))
        await finished(ledger, newer.id)
        late = await finished(ledger, asked.deployment)
        assert (late.status, "newer deployment" in late.reason) == (Status.READY, True)
        assert await alias_of(ledger, branch_label("t", "site")) == newer.id


async def test_a_name_that_is_no_text_can_be_spoken_of(ledger: Ledger) -> None:
    held = await queued(ledger, await ledger.records.record(a_push("A")))
    held = await claimed(ledger, held.id, Stage.BUILD)
    error = BuildFailed("cannot publish x\udcff", code="output_invalid")
    ended = await ledger.claims.finish(
        held, Ending(status=Status.FAILED, error_code=error.code, error_message=error.message)
    )
    assert ended.error_message == r"cannot publish x\udcff"


@pytest.mark.parametrize("count", [400])
async def test_a_pile_on_one_branch_ends_in_one_script_and_fills_once(
    ledger: Ledger, count: int
) -> None:
    first = await ledger.records.record(a_push("c0", branch="t"))
    await claimed(ledger, first.deployment, Stage.FETCH)
    for number in range(1, count):
        await ledger.records.record(a_push(f"c{number}", before=f"c{number - 1}", branch="t"))
    removed = await ledger.records.remove(a_removal("t", before=f"c{count - 1}", at=10**6))
    assert removed.outcome == "removed"
    assert (await ledger.view.queue()).waiting == 0
