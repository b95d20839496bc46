"""From the bucket back to the ledger: what it lacks, and nothing that is older than it holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from bot.core import saved
from bot.core.bucket import Bucket, NotInBucket
from bot.core.errors import Errored
from bot.core.ledger.restores import Progress, Restores
from bot.core.saved import FOLDERS, Saved

T = TypeVar("T")
log = logging.getLogger(__name__)

_ASKED_AT_ONCE: Final = 500
_MERGED_AT_ONCE: Final = 50
_READ_AT_ONCE: Final = 8
"""Of the bucket's threads, which visitors need too."""


async def restore(
    restores: Restores,
    bucket: Bucket,
    *,
    tell: Callable[[Progress], Awaitable[None]],
) -> Progress:
    """Brings into the ledger whatever the bucket holds and the ledger lacks, or has older.

    Harmless in a ledger that is in use, and to repeat: each thing is merged by itself, and only if
    it is news there. `tell` hears how far it is.
    Raises `Errored`, also (`saved_too_new`) for what a newer Pushlane saved.
    """
    wanted = await lacking(restores, bucket)
    progress = Progress(of=len(wanted))
    await tell(progress)
    for part in _parts(wanted, _MERGED_AT_ONCE):
        found = await _read(bucket, part)
        for kind in FOLDERS:
            outcomes = await restores.merge(
                [thing for thing in found if thing.what.startswith(f"{kind}:")]
            )
            progress = _further(progress, kind, outcomes["merged"])
            if outcomes["taken"]:
                log.warning(
                    "a saved project bears the name of another one here",
                    extra={"projects": outcomes["taken"]},
                )
        progress = msgspec.structs.replace(progress, done=progress.done + len(part))
        await tell(progress)
    return progress


async def lacking(restores: Restores, bucket: Bucket) -> list[tuple[str, int]]:
    """What the bucket holds and the ledger lacks, or has older: things with their versions.

    Raises `Errored`.
    """
    newest = _newest(
        [name for folder in FOLDERS.values() for name in await bucket.list(f"{folder}/")]
    )
    wanted: list[tuple[str, int]] = []
    for kind in FOLDERS:
        # The newest first: what a branch shows now is known before what it showed a year ago.
        things = sorted(
            (each for each in newest.items() if each[0].startswith(f"{kind}:")), reverse=True
        )
        for some in _parts(things, _ASKED_AT_ONCE):
            wanted += [some[place] for place in await restores.lacking(some)]
    return wanted


def _newest(names: Sequence[str]) -> dict[str, int]:
    """The newest version of each thing."""
    newest: dict[str, int] = {}
    for name in names:
        if found := saved.of_name(name):
            what, version = found
            newest[what] = max(version, newest.get(what, 0))
    return newest


async def _read(bucket: Bucket, things: Sequence[tuple[str, int]]) -> list[Saved]:
    """The things, without those that are gone meanwhile or cannot be understood."""
    few = asyncio.Semaphore(_READ_AT_ONCE)

    async def read(what: str, version: int) -> Saved | None:
        name = Saved(what=what, version=version, fields={}).name
        async with few:
            try:
                found = saved.decode(await bucket.get(name))
            except NotInBucket:
                return None
            except Errored as error:
                if error.code != "saved_broken":
                    raise
                log.warning("not restored", extra={"object": name, "error": error.message})
                return None
        return found if (found.what, found.version) == (what, version) else None

    found = await asyncio.gather(*(read(*each) for each in things))
    return [thing for thing in found if thing is not None]


def _further(progress: Progress, kind: str, merged: int) -> Progress:
    field = {"alias": "aliases", "secrets": "secrets"}.get(kind, f"{kind}s")
    return msgspec.structs.replace(progress, **{field: getattr(progress, field) + merged})


def _parts(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (things[at : at + size] for at in range(0, len(things), size))
