"""What package managers downloaded: a later installation finds it, and fetches only what it lacks.

Each place in HOME is an entry of its own. It is read from the layers as they were right after the
installation, so that no build can write into it.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bot.core.deployment import Deployment
from worker.caches.keeping import Unfit, walk, within
from worker.caches.keys import FACTS, Decided
from worker.caches.store import Held, Record, Store
from worker.sandbox.records import Owner

SHARE: Final = 4
"""One place takes at most one part in so many of what the store may hold."""


def take(store: Store, deployment: Deployment, *, epoch: int, owner: Owner | None) -> list[Held]:
    """The entries of every place that this deployment may read. Blocking."""
    found = (
        store.take(deployment, _name(epoch, place), owner=owner)
        for place in (*FACTS["verified"], *FACTS["believed"])
    )
    return [held for held in found if held is not None]


def worth(decided: Decided) -> tuple[str, ...]:
    """The places that may be kept of an installation.

    Where code of the commit itself was executed in it, only what is verified whenever it is read:
    such code may have written what it likes, for a later commit to find.
    """
    brought = any(f"/{each}/" in f"/{path}" for path in decided.parts for each in FACTS["executes"])
    if decided.bound or decided.repeated or brought:
        return FACTS["verified"]
    return (*FACTS["verified"], *FACTS["believed"])


def add(
    store: Store,
    deployment: Deployment,
    place: str,
    *,
    epoch: int,
    layer: Path,
    view: Path,
    check: Callable[[], None],
    copied: Callable[[Path, Sequence[str], Path], Record],
) -> Record | None:
    """Keeps a place as `view` shows it, if the installation wrote into it; that lies in `layer`.

    What `copied` finds unfit, for its size perhaps, is given up with what was kept before: the next
    installation fetches all, and what it needs is kept alone. Blocking. Raises `Unfit`, OSError.
    """
    folder = f"home/{place}"
    if not _written(layer, folder, check):
        return None
    paths = within(view, folder, check=check)
    try:
        return store.add(
            deployment, _name(epoch, place), lambda target: copied(view, paths, target)
        )
    except Unfit:
        store.forget(deployment, _name(epoch, place))
        raise


def _written(layer: Path, folder: str, check: Callable[[], None]) -> bool:
    if not within(layer, folder, check=check):
        return False
    return any(stat.S_ISREG(status.st_mode) for _, status in walk(layer / folder, check))


def _name(epoch: int, place: str) -> str:
    return f"downloads-{hashlib.sha256(f'{epoch}/{place}'.encode()).hexdigest()[:32]}"
