"""Steady pushes without any fault: what of memory, files, processes and keys grows or is left."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from tests.acceptance.house import PAGE
from tests.chaos.fleet import PREFIX, Fleet, set_sail
from tests.chaos.slots import Slot
from tests.standin import Worktree

_EVERY_SECONDS: Final = 4.0
"""Between two pushes."""
_LOOK_SECONDS: Final = 15.0
_WARM: Final = 0.34
"""The first part of the time, in which pools, caches and allocators fill."""
_REST_SECONDS: Final = 90.0
_BRANCHES: Final = ("main", "topic")
_GROWS_MB: Final = 8.0
"""So much may the memory of a process grow from the warm part to the end."""


@dataclass(frozen=True, slots=True)
class Look:
    """One process at one time."""

    at: float
    resident_mb: float
    files: int
    """Open descriptors, sockets among them."""
    children: int
    zombies: int


@dataclass(slots=True)
class Soaked:
    """What was seen."""

    seconds: float
    pushes: int = 0
    live: int = 0
    """Pushes that were seen live."""
    looks: dict[str, list[Look]] = field(default_factory=dict)
    keys: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the start, and keys in Redis."""
    connections: list[int] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    """Of the indexes that are to be empty at rest."""
    scratch: dict[str, int] = field(default_factory=dict)
    """Files for what is under way, in each process's directory: at the start, then those more."""

    def figures(self) -> dict[str, Any]:
        """For people and as JSON."""
        found: dict[str, Any] = {
            "seconds": self.seconds, "pushes": self.pushes, "live": self.live,
            "keys_per_push": round(self.keys[-1][1] / max(self.pushes, 1), 1),
            "connections": [self.connections[0], max(self.connections), self.connections[-1]],
        }  # fmt: skip
        for name, looks in self.looks.items():
            warm = self._warm(looks)
            found[name] = {
                "resident_mb": [looks[0].resident_mb, warm.resident_mb, looks[-1].resident_mb],
                "files": [looks[0].files, max(each.files for each in looks), looks[-1].files],
                "children_at_rest": looks[-1].children,
                "zombies": max(each.zombies for each in looks),
            }
        return found | {"indexes_at_rest": self.left, "files_left": self.scratch}

    def wrong(self) -> list[str]:
        """What is not flat, or is left over."""
        found = [f"{count} in {name}" for name, count in self.left.items() if count]
        found += [f"{count} files of {name}" for name, count in self.scratch.items() if count]
        if self.live < self.pushes:
            found.append(f"{self.pushes - self.live} pushes were never seen live")
        for name, looks in self.looks.items():
            warm, last = self._warm(looks), looks[-1]
            if last.resident_mb > warm.resident_mb + _GROWS_MB:
                found.append(f"{name} grew from {warm.resident_mb} to {last.resident_mb} MB")
            if last.files > warm.files + 4:
                found.append(f"{name} holds {last.files} files, and held {warm.files}")
            if last.children > looks[0].children or last.zombies:
                found.append(f"{name} has {last.children} children, {last.zombies} zombies")
        return found

    def _warm(self, looks: Sequence[Look]) -> Look:
        return looks[min(int(len(looks) * _WARM), len(looks) - 1)]


async def soak(seconds: float) -> Soaked:
    """A bot and a worker for so long, and a rest after it."""
    with tempfile.TemporaryDirectory(prefix="pushlane-soak-") as directory:
        fleet = await set_sail(Path(directory) / "fleet", bots=1, workers=1)
        try:
            fleet.start()
            await fleet.until_up()
            found = Soaked(seconds, scratch=_scratch(fleet))
            looking = asyncio.create_task(_look(fleet, found))
            try:
                await _push(fleet, found)
                await _rest(fleet, found)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
            await _see(fleet, found)
            return found
        finally:
            await fleet.close()


async def _push(fleet: Fleet, found: Soaked) -> None:
    """One push after another; each is to be live before the next."""
    fleet.github.create_repository("acme/steady")
    url = fleet.github.clone_url("acme/steady")
    worktree = Worktree(fleet.directory / "work", url, token=fleet.github.token)
    end = time.monotonic() + found.seconds
    while (began := time.monotonic()) < end:
        branch = _BRANCHES[found.pushes % 3 == 2]
        words = secrets.token_hex(8)
        worktree.write({"index.html": PAGE.format(words), "words.txt": f"{words}\n" * 500})
        sha = await asyncio.to_thread(worktree.commit, "A change")
        await asyncio.to_thread(worktree.push, branch, force=True)
        found.pushes += 1
        while time.monotonic() < began + 60:
            told = fleet.github.statuses(sha)
            if told and told[-1].state == "success":
                found.live += 1
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, began + _EVERY_SECONDS - time.monotonic()))


async def _rest(fleet: Fleet, found: Soaked) -> None:
    """Waits until nothing is under way, and then as long as pools keep what they may need."""
    redis = cast(Any, fleet.direct_redis())
    try:
        end = time.monotonic() + _REST_SECONDS
        while time.monotonic() < end:
            for name in ("waiting", "active", "delayed", "rung", "unreported", "unsaved"):
                found.left[name] = await redis.zcard(f"{PREFIX}:{{build-queue}}:{name}")
            if not any(found.left.values()):
                break
            await asyncio.sleep(1)
    finally:
        await redis.aclose()
    await asyncio.sleep(_LOOK_SECONDS)
    found.scratch = {name: n - found.scratch.get(name, 0) for name, n in _scratch(fleet).items()}


def _scratch(fleet: Fleet) -> dict[str, int]:
    """How many files there are for what is under way."""
    return {
        f"{slot.name} {path.name}": sum(1 for _ in path.rglob("*"))
        for slot in fleet.slots
        for path in (fleet.directory / slot.name).glob("*")
        if path.name in ("scratch", "spool", "builds", "tmp")
    }


async def _look(fleet: Fleet, found: Soaked) -> None:
    began = time.monotonic()
    while True:
        await _see(fleet, found)
        looks = {name: each[-1] for name, each in found.looks.items()}
        words = " ".join(
            f"{name} {each.resident_mb} MB {each.files}" for name, each in looks.items()
        )
        sys.stderr.write(
            f"{time.monotonic() - began:5.0f} s: pushes {found.pushes} live {found.live} "
            f"keys {found.keys[-1][1]} connections {found.connections[-1]} {words}\n"
        )
        sys.stderr.flush()
        await asyncio.sleep(_LOOK_SECONDS)


async def _see(fleet: Fleet, found: Soaked) -> None:
    redis = cast(Any, fleet.direct_redis())
    try:
        found.keys.append((time.monotonic(), await redis.dbsize()))
        found.connections.append((await redis.info("clients"))["connected_clients"])
    finally:
        await redis.aclose()
    for slot in fleet.slots:
        found.looks.setdefault(slot.name, []).append(_of(slot))


def _of(slot: Slot) -> Look:
    assert slot.process is not None
    place = Path(f"/proc/{slot.process.pid}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    states = list(_states_below(slot.process.pid))
    return Look(
        at=time.time(),
        resident_mb=round(int(status["VmRSS"].split()[0]) / 1024, 1),
        files=len(os.listdir(place / "fd")),  # noqa: PTH208 - names alone
        children=len(states),
        zombies=Counter(states)["Z"],
    )


def _states_below(pid: int) -> Iterable[str]:
    """The states of all processes that a process has begun."""
    for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names alone
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{name}/children").read_text().split():
                stat = Path(f"/proc/{child}/stat").read_text()
                yield stat.rpartition(")")[2].split()[0]
                yield from _states_below(int(child))
