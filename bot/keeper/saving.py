"""From the ledger to the bucket: what has changed, each thing as it is now."""

from __future__ import annotations

import asyncio
from typing import Final

from bot.core import saved
from bot.core.bucket import Bucket
from bot.core.errors import Errored
from bot.core.ledger import Saves
from bot.core.saved import Saved

LEASE_SECONDS: Final = 60.0
"""Longer than the bucket takes for what is leased at once, with its own retries."""
_LEASED_MOST: Final = 32
_AT_ONCE: Final = 4
"""Of the bucket's threads, which visitors need too."""
_AGAIN_SECONDS: Final = 1.0


async def save_due(saves: Saves, bucket: Bucket) -> float:
    """Saves what is due now; answers the seconds until more is (at most 5).

    What the bucket did not take stays unsaved. Raises `Errored` when there was such, or when Redis
    fails; then what is in the bucket already is saved once more, which changes nothing.
    """
    due, wait = await saves.lease(seconds=LEASE_SECONDS, limit=_LEASED_MOST)
    if not due:
        return wait
    few = asyncio.Semaphore(_AT_ONCE)

    async def put(thing: Saved) -> Errored | None:
        async with few:
            try:
                await bucket.put(thing.name, saved.encode(thing), content_type=saved.TYPE)
            except Errored as error:
                return error
        return None

    errors = await asyncio.gather(*map(put, due))
    await saves.note(
        saved=[thing for thing, error in zip(due, errors, strict=True) if error is None],
        failed=[thing for thing, error in zip(due, errors, strict=True) if error is not None],
        seconds=_AGAIN_SECONDS,
    )
    for error in errors:
        if error is not None:
            raise error
    return wait
