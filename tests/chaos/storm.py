"""The storm itself: the plan is carried out, the faults end, it settles, and all is looked at."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, cast

from redis.exceptions import RedisError

from tests.chaos.evidence import Evidence, Violation
from tests.chaos.faults import Faults
from tests.chaos.fleet import Fleet, set_sail
from tests.chaos.gather import gather
from tests.chaos.invariants import violations
from tests.chaos.measured import figures
from tests.chaos.plan import (
    EVENTS,
    Fault,
    Planned,
    Push,
    RealPush,
    Wish,
    plan,
    poison_count,
    sorts_of_poison,
)
from tests.chaos.post import Post, make_real
from tests.chaos.room import make_room
from tests.chaos.watch import BASE, Watch
from tests.chaos.wishes import Wishes
from tests.chaos.world import OWNER, UNFETCHABLE, Sort, World, sorts
from tests.standin import ZERO

PROJECTS: Final = 8
POISONED: Final = f"{OWNER}/poison"
SETTLE_MOST: Final = 150.0
"""Longer than 60 s is a violation of I2; it goes on to tell what is slow from what is stuck."""
_AFTERMATH_SECONDS: Final = 40.0
_EMPTY: Final = ("waiting", "active", "delayed", "unreported", "unsaved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    counts: dict[str, float]
    seconds: float
    settle_seconds: float
    evidence: Evidence
    violations: list[Violation]


@dataclass(slots=True)
class Storm:
    """One storm over one fleet."""

    fleet: Fleet
    world: World
    watch: Watch
    post: Post
    wishes: Wishes
    faults: Faults
    doing: set[asyncio.Task[None]] = field(default_factory=set)
    broken: list[BaseException] = field(default_factory=list)
    """What the storm itself could not do: a fault of ours, never of the product."""

    async def blow(self, planned: list[Planned], seconds: float, *, keep_going: bool) -> None:
        """Carries the plan out, in time; to its end, or until something wrong is seen."""
        began = time.monotonic()
        for each in planned:
            await asyncio.sleep(max(0.0, began + each.at - time.monotonic()))
            if self.watch.wrong and not keep_going:
                return
            self._begin(each)
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    def _begin(self, planned: Planned) -> None:
        match planned.action:
            case Push() as push:
                self.post.push(push)
            case RealPush(pick=pick):
                self._do(self.post.real_push(pick))
            case Wish() as wish:
                self._do(self.wishes.fulfil(wish))
            case Fault() as fault:
                self._do(self.faults.do(fault))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.doing.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.doing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.broken.append(error)

    async def calm(self) -> None:
        """Ends the faults; what is being done is done to its end."""
        while self.doing:
            await asyncio.wait(tuple(self.doing))
        self.faults.end()

    async def settle(self, *, most: float = SETTLE_MOST) -> float:
        """The seconds until everything is acknowledged, ended, told and cleared; or `most`."""
        began = time.monotonic()
        while time.monotonic() < began + most:
            done = not await self.post.redeliver_failed() and not self.post.under_way
            if done and not await self._left() and not await self._unseen():
                return time.monotonic() - began
            await asyncio.sleep(0.2)
        return time.monotonic() - began

    async def _left(self) -> int:
        """How much there is in the indexes that are to be empty."""
        redis = cast(Any, self.fleet.direct_redis())
        try:
            return sum([await redis.zcard(BASE + name) for name in _EMPTY])
        except (RedisError, OSError):
            return 1
        finally:
            await redis.aclose()

    async def _unseen(self) -> int:
        """How many branches have a head that the ledger does not know of."""
        redis = cast(Any, self.fleet.direct_redis())
        try:
            pipe = redis.pipeline(transaction=False)
            for repository, ref in self.world.pointed:
                pipe.hget(f"{BASE}ref:{repository.partition('/')[2]}:{ref}", "commit")
            known = await pipe.execute()
        except (RedisError, OSError):
            return 1
        finally:
            await redis.aclose()
        wanted = ("" if sha == ZERO else sha for sha in self.world.pointed.values())
        return sum((have or "") != sha for have, sha in zip(known, wanted, strict=True))

    async def mark_poison(self) -> None:
        """Tells the faults which deployments are poisoned, as they come."""
        while True:
            for delivery in self.fleet.github.deliveries[-400:]:
                name = delivery.payload["repository"]["full_name"]
                if name == POISONED and delivery.status_code == 202:
                    self.faults.poisoned.add(delivery.answer["deployment"])
            await asyncio.sleep(0.5)

    async def aftermath(self) -> None:
        """One more push to each project's main branch, now that nothing goes wrong."""
        now = int(time.time()) - self.post.started_at
        for number, (repository, ref) in enumerate(sorted(self.world.heads())):
            pages = [c for c in self._pool(repository) if c.sort is Sort.PAGE]
            head = self.world.heads()[repository, ref]
            if ref.endswith("/main") and pages and head != pages[0].sha:
                self.post.push(
                    Push(
                        number=300_000 + number, repository=repository, ref=ref, before=head,
                        after=pages[0].sha, second=now, late=0.0,
                    )
                )  # fmt: skip

    def _pool(self, repository: str) -> tuple[Any, ...]:
        return self.world.pool(repository) if self.world.has(repository) else ()

    def counts(self) -> Counter[str]:
        """Everything that was done so far."""
        found = Counter[str]()
        found.update(self.post.counts)
        found.update(self.faults.counts)
        found.update({f"asked_to_{what}": n for what, n in self.wishes.counts.items()})
        taken = [d for d in list(self.fleet.github.deliveries) if 200 <= d.status_code < 300]
        found["acknowledged"] = len(taken)
        found["refused"] = len(self.fleet.github.deliveries) - len(taken)
        for where in ("s3", "github", "redis"):
            found[f"{where}_faults"] = self.faults.hits(where)
        ends = Counter(seen.status for seen in self.watch.sightings.values())
        found.update(ends)
        found["deployments"] = len(self.watch.sightings)
        found["statuses"] = len(self.fleet.github.world.statuses)
        return found


async def storm(
    directory: Path,
    *,
    seconds: float,
    workers: int,
    bots: int,
    seed: int,
    mutant: str = "",
    keep_going: bool = False,
) -> Outcome:
    """Everything, from the start of the servers to the verdict.

    It ends early where something wrong is seen while it blows, unless it is to `keep_going`. With
    `mutant` the processes are those of `tests.failing`, and lack that rule.
    """
    fleet = await set_sail(directory, bots=bots, workers=workers, mutant=mutant)
    beside: list[asyncio.Task[Any]] = []
    try:
        world = World(fleet.github, directory / "pools")
        planned, started_at = _prepare(world, seed, seconds), 0
        fleet.start()
        await fleet.until_up()
        started_at = int(time.time())
        watch = Watch(fleet)
        found = Storm(
            fleet, world, watch, Post(fleet, world, started_at), Wishes(fleet, watch),
            Faults(fleet, watch),
        )  # fmt: skip
        found.faults.forbid_fetching()
        beside = [
            asyncio.create_task(work)
            for work in (
                watch.follow(), found.faults.poison(), found.mark_poison(), _tell(found, seconds),
                make_room(fleet, found.faults.counts),
            )
        ]  # fmt: skip
        await found.blow(planned, seconds, keep_going=keep_going)
        await found.calm()
        settle_seconds = await found.settle()
        await found.aftermath()
        if await found.settle(most=_AFTERMATH_SECONDS) >= _AFTERMATH_SECONDS:
            settle_seconds += _AFTERMATH_SECONDS
        await asyncio.sleep(1.5)
        for each in beside:
            if each.done():
                each.result()
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        if found.broken:
            raise ExceptionGroup("the storm itself failed", cast(Any, found.broken))
        evidence = await gather(
            fleet, world, watch, found.wishes, found.faults, settle_seconds=settle_seconds
        )
        return Outcome(
            counts={**found.counts(), **figures(evidence)},
            seconds=seconds,
            settle_seconds=settle_seconds,
            evidence=evidence,
            violations=violations(evidence),
        )
    finally:
        for each in beside:
            each.cancel()
        await fleet.close()


def _prepare(world: World, seed: int, seconds: float) -> list[Planned]:
    """Makes the repositories, and the plan over them."""
    random = Random(f"{seed} world")
    count = int(EVENTS * seconds / PROJECTS) + 10
    names = [f"{OWNER}/site-{number}" for number in range(PROJECTS)]
    poisoned, unfetchable = poison_count(seconds)
    make_real(world)
    return plan(
        seed,
        seconds,
        {name: world.make(name, sorts(random, count)) for name in names},
        poisoned=world.make(POISONED, sorts_of_poison(poisoned)),
        unfetchable=world.make(UNFETCHABLE, (Sort.PAGE,) * unfetchable),
    )


_SHOWN: Final = (
    ("acknowledged", "acked"),
    ("repeats", "repeats"),
    ("worker_kills", "worker kills"),
    ("bot_kills", "bot kills"),
    ("redis_kills", "redis kills"),
    ("pauses", "pauses"),
    ("s3_faults", "s3"),
    ("github_faults", "github"),
    ("ready", "ready"),
    ("superseded", "superseded"),
)


async def _tell(found: Storm, seconds: float) -> None:
    """One line a second on stderr."""
    began = time.monotonic()
    while True:
        await asyncio.sleep(1)
        counts, at = found.counts(), time.monotonic() - began
        what = "storm" if at < seconds else "settling"
        line = " ".join(f"{word} {counts[name]}" for name, word in _SHOWN)
        up = sum(slot.up for slot in found.fleet.slots)
        words = f"{at:4.0f} s {what}: {line} open {len(found.watch.open)} up {up}\n"
        sys.stderr.write(words)
        sys.stderr.flush()
