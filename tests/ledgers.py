"""A ledger looked at, and pushed, from below: for tests of the queue protocol."""

from __future__ import annotations

from typing import Any, cast

from bot.core import keys
from bot.core.deployment import Status
from bot.core.ledger import Ledger


def redis_of(ledger: Ledger) -> Any:
    """The client below."""
    return cast(Any, ledger.connection.redis)


async def alias_of(ledger: Ledger, label: str) -> str:
    """The deployment that a host shows: empty for a tombstone, `none` without an alias."""
    found = await ledger.aliases.get(label)
    return found.deployment if found else "none"


async def status_of(ledger: Ledger, id_: str) -> Status:
    """Where a deployment stands."""
    found = await ledger.view.deployment(id_)
    assert found is not None
    return found.status


async def expire_lease(ledger: Ledger, id_: str) -> None:
    """Lets the running claim's lease have passed."""
    await redis_of(ledger).zadd(keys.named(ledger.connection.prefix, "active"), {id_: 1})
