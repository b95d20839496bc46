"""A project with hundreds waiting: one ref of it leaves room to the others."""

from __future__ import annotations

from bot.core import keys
from bot.core.deployment import Stage, Status, Trigger
from bot.core.ledger import Ledger, Request
from tests.builders import a_push, built, claimed
from tests.ledgers import redis_of

HUNDREDS = 205


async def rung(ledger: Ledger) -> list[str]:
    """What the fetching stage is rung for."""
    found: list[str] = await redis_of(ledger).lrange(keys.fetch(ledger.connection.prefix), 0, -1)
    return found


async def test_pushes_of_a_busy_branch_leave_room_to_another(ledger: Ledger) -> None:
    first = await ledger.records.record(a_push("A", at=0, branch="busy"))
    await claimed(ledger, first.deployment, Stage.FETCH)
    for n in range(HUNDREDS):
        await ledger.records.record(a_push(f"B{n}", at=n + 1, branch="busy"))
    other = await ledger.records.record(a_push("M", at=1000))
    assert await rung(ledger) == [other.deployment]


async def test_redeploys_of_a_busy_branch_leave_room_to_another(ledger: Ledger) -> None:
    old = await built(ledger, await ledger.records.record(a_push("A", at=0)))
    asked = Request(
        project="site",
        ref=old.ref,
        commit=old.commit,
        trigger=Trigger.REDEPLOY,
        redeploy_of=old.id,
    )
    ids = [(await ledger.records.request(asked)).deployment for _ in range(HUNDREDS)]
    for id_ in ids:
        held = await claimed(ledger, id_, Stage.FETCH)
        await ledger.claims.advance(held, Status.QUEUED, source="sources/7/x.tar.zst")
        if id_ == ids[0]:
            await claimed(ledger, id_, Stage.BUILD)
    other = await ledger.records.record(a_push("M", at=1000, branch="topic"))
    assert await rung(ledger) == [other.deployment]
