"""What package managers downloaded: a later installation finds it, and fetches only what it lacks.

Each place in HOME is a kept tree of its own. It is read from the layers as they were right after
the installation, so that no build can write into it.
"""

from __future__ import annotations

import hashlib
import os
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
    """The kept trees of every place that this deployment may read. Blocking."""
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
    layers: Sequence[Path],
    view: Path,
    check: Callable[[], None],
    copied: Callable[[Path, Sequence[str], Path], Record],
) -> Record | None:
    """Keeps a place as `view` shows `layers`, if the first, the installation's, has more of it.

    What `copied` finds unfit, for its size perhaps, is given up with what was kept before: the next
    installation fetches all, and what it needs is kept alone. Blocking. Raises `Unfit`, OSError.
    """
    folder = f"home/{place}"
    if not _more(layers, folder, check):
        return None
    paths = within(view, folder, check=check)
    try:
        return store.add(
            deployment, _name(epoch, place), lambda target: copied(view, paths, target)
        )
    except Unfit:
        store.forget(deployment, _name(epoch, place))
        raise


def _more(layers: Sequence[Path], folder: str, check: Callable[[], None]) -> bool:
    """Whether the first layer has files there that are not as those below it.

    A file that was only linked to is copied up, with its time.
    """
    first, *below = layers
    if not within(first, folder, check=check):
        return False
    return any(
        stat.S_ISREG(status.st_mode)
        and not any(_alike(layer / folder / path, status) for layer in below)
        for path, status in walk(first / folder, check)
    )


def _alike(path: Path, status: os.stat_result) -> bool:
    try:
        other = path.lstat()
    except OSError:
        return False
    return (other.st_size, other.st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def _name(epoch: int, place: str) -> str:
    return f"downloads-{hashlib.sha256(f'{epoch}/{place}'.encode()).hexdigest()[:32]}"
