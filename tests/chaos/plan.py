"""What happens when: a plan of pushes, wishes of people and faults, the same for the same seed.

What an action meets (which worker holds which deployment, say) is the processes' own affair;
`pick`, a number from 0 to 1, then chooses among what there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from tests.chaos.world import Commit, Sort
from tests.standin import ZERO

BRANCHES: Final = ("main", "alpha", "fix/beta", "Gamma")

EVENTS: Final = 5.2
"""Pushes and deletions a second."""
_DELETIONS = 0.03
_BACK = 0.12
"""The share of pushes that go back to a commit that its branch had before."""
_AT_ONCE = 0.08
"""The share of pushes that follow the last one of their branch within its second."""
_LATE: Final = ((0.70, 0.0, 0.0), (0.90, 0.2, 3.0), (1.01, 3.0, 8.0))
"""How late a delivery comes: up to this share, from and to so many seconds."""
_REPEATED: Final = 0.30
_UNTOLD: Final = 0.05
"""The share of deliveries that never come, of branches that were told of before."""

# Mean seconds between two of each.
WORKER_KILL, REDIS_KILL, WORKER_FREEZE, BOT_KILL, BOT_FREEZE = 2.1, 22.0, 5.5, 30.0, 50.0
WORKER_TERM, BOT_TERM, REDIS_FAULT, S3_FAULT, GITHUB_FAULT = 30.0, 100.0, 11.0, 2.2, 1.6
FRONT_FAULT, WISH, REAL_PUSH, POISON, UNFETCHABLE_PUSH = 15.0, 1.7, 6.0, 100.0, 90.0

QUIET: Final = 12.0
"""No bot and no Redis is killed or cut off in the last so many seconds: a report whose reporter is
gone is leased for a minute still, and no longer than that may the storm take to settle."""
QUIET_POISON: Final = 20.0
"""And no poison is pushed: it needs all its attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A branch names another commit, or is gone (`after` ZERO)."""

    number: int
    repository: str
    ref: str
    before: str
    after: str
    second: int
    """GitHub's time of it, in seconds since the start."""
    late: float
    repeats: tuple[tuple[float, bool], ...] = ()
    """The delivery comes again so many seconds later, under the same GUID or another."""
    untold: bool = False
    """GitHub never delivers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPush:
    """Files are committed and pushed by git itself."""

    pick: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person asks for: cancel, redeploy, promote, rollback, unpin, deploy."""

    what: str
    pick: float
    twice: bool
    """The same request comes again, under the same Idempotency-Key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something goes wrong with a process or on a link."""

    what: str
    pick: float
    times: int = 1
    seconds: float = 0.0
    size: int = 0


Action: TypeAlias = Push | RealPush | Wish | Fault


@dataclass(frozen=True, slots=True)
class Planned:
    """An action and its time, in seconds since the start."""

    at: float
    action: Action


@dataclass(slots=True)
class _Branch:
    repository: str
    ref: str
    head: str = ZERO
    past: list[str] = field(default_factory=list)
    second: int = -1
    pushes_of_second: int = 0


def plan(
    seed: int,
    seconds: float,
    pools: dict[str, Sequence[Commit]],
    *,
    poisoned: Sequence[Commit],
    unfetchable: Sequence[Commit],
) -> list[Planned]:
    """Everything that is going to happen within `seconds`, in order.

    Each repository of `pools` is pushed to on all `BRANCHES`; each poisoned and unfetchable commit
    once, on a branch of its own.
    """
    actions = [
        *_pushes(Random(f"{seed} pushes"), seconds, pools),
        *_lone(Random(f"{seed} poison"), seconds, poisoned, POISON, 100_000),
        *_lone(Random(f"{seed} unfetchable"), seconds, unfetchable, UNFETCHABLE_PUSH, 200_000),
        *_others(Random(f"{seed} others"), seconds),
    ]
    return sorted(actions, key=lambda planned: planned.at)


def _times(random: Random, mean: float, seconds: float, *, first: float = 0.5) -> Iterator[float]:
    at = first + random.uniform(0, mean)
    while at < seconds:
        yield at
        at += random.uniform(0.4, 1.6) * mean


def _pushes(
    random: Random, seconds: float, pools: dict[str, Sequence[Commit]]
) -> Iterator[Planned]:
    fresh = {name: iter(pool) for name, pool in pools.items()}
    branches = [_Branch(name, f"refs/heads/{branch}") for name in pools for branch in BRANCHES]
    number = 0
    # The default branch is there first, as on GitHub.
    waiting = [branch for branch in branches if branch.ref.endswith("/main")]
    for at in _times(random, 1 / EVENTS, seconds, first=0.0):
        branch = waiting.pop(0) if waiting else random.choice(branches)
        main = branch.ref.endswith("/main")
        second = int(at)
        same = second == branch.second
        if same and (branch.pushes_of_second > 1 or branch.head == ZERO):
            continue
        if not same and branch.second >= 0 and random.random() < _AT_ONCE and branch.head != ZERO:
            yield _event(
                random, number, branch, second, at, _next(random, branch, fresh, same=True)
            )
            number += 1
            same = True
        deletes = not same and not main and branch.head != ZERO and random.random() < _DELETIONS
        after = ZERO if deletes else _next(random, branch, fresh, same=same)
        if after:
            yield _event(random, number, branch, second, at + 0.001, after)
            number += 1


def _next(
    random: Random, branch: _Branch, fresh: dict[str, Iterator[Commit]], *, same: bool
) -> str:
    """The commit that is pushed next. Within one second never one that the branch had before: what
    A→B→A and B→A→B leave behind cannot be told apart by seconds."""
    older = [sha for sha in branch.past if sha != branch.head]
    if older and not same and random.random() < _BACK:
        return random.choice(older)
    found = next(fresh[branch.repository], None)
    if found is not None:
        return found.sha
    return "" if same or not older else random.choice(older)


def _event(
    random: Random, number: int, branch: _Branch, second: int, at: float, after: str
) -> Planned:
    draw = random.random()
    late = next(random.uniform(low, high) for share, low, high in _LATE if draw < share)
    repeats = tuple(
        (random.uniform(0.05, 9.0), random.random() < 0.5)
        for _ in range(random.choice((1, 1, 2)) if random.random() < _REPEATED else 0)
    )
    # What a branch had before may be what a lagging server shows: the catch-up waits then.
    fresh = ZERO not in (branch.head, after) and after not in branch.past
    push = Push(
        number=number,
        repository=branch.repository,
        ref=branch.ref,
        before=branch.head,
        after=after,
        second=second,
        late=late,
        repeats=repeats,
        untold=fresh and random.random() < _UNTOLD,
    )
    branch.pushes_of_second = branch.pushes_of_second + 1 if second == branch.second else 1
    branch.second, branch.head = second, after
    if after != ZERO:
        branch.past = [*branch.past, after][-6:]
    return Planned(at, push)


def _lone(
    random: Random, seconds: float, commits: Sequence[Commit], mean: float, first: int
) -> Iterator[Planned]:
    """Each commit on a branch of its own, the first of them soon."""
    at = 2.0
    for commit in commits:
        if at > max(seconds - QUIET_POISON, 3.0):
            return
        push = Push(
            number=first + commit.number,
            repository=commit.repository,
            ref=f"refs/heads/lone-{commit.number}",
            before=ZERO,
            after=commit.sha,
            second=int(at),
            late=0.0,
        )
        yield Planned(at, push)
        at += random.uniform(0.8, 1.2) * mean


_WISHES: Final = ("cancel", "redeploy", "promote", "rollback", "unpin", "deploy")
_WISH_SHARES: Final = (30, 18, 14, 14, 14, 10)


def _others(random: Random, seconds: float) -> Iterator[Planned]:
    for at in _times(random, WISH, seconds, first=4.0):
        what = random.choices(_WISHES, weights=_WISH_SHARES)[0]
        yield Planned(at, Wish(what=what, pick=random.random(), twice=random.random() < 0.3))
    for at in _times(random, REAL_PUSH, seconds):
        yield Planned(at, RealPush(pick=random.random()))
    for what, mean, until in (
        ("worker kill", WORKER_KILL, seconds),
        ("worker freeze", WORKER_FREEZE, seconds),
        ("worker term", WORKER_TERM, seconds),
        ("bot kill", BOT_KILL, seconds - QUIET),
        ("bot freeze", BOT_FREEZE, seconds - QUIET),
        ("bot term", BOT_TERM, seconds - QUIET),
        ("redis kill", REDIS_KILL, seconds - QUIET),
    ):
        for at in _times(random, mean, until, first=min(3.0, seconds / 10)):
            yield Planned(
                at, Fault(what=what, pick=random.random(), seconds=random.uniform(0.3, 1.0))
            )
    yield from _on_links(random, seconds)


_LINKS: Final = (
    ("redis", REDIS_FAULT, "silence reset cut slow partition"),
    ("s3", S3_FAULT, "refuse refuse cut reset slow silence away"),
    ("github", GITHUB_FAULT, "refuse refuse cut reset slow silence limit after"),
    ("front", FRONT_FAULT, "cut reset slow"),
)


def _on_links(random: Random, seconds: float) -> Iterator[Planned]:
    for where, mean, kinds in _LINKS:
        until = seconds - QUIET if where == "redis" else seconds
        for at in _times(random, mean, until, first=min(2.0, seconds / 10)):
            yield Planned(
                at,
                Fault(
                    what=f"{where} {random.choice(kinds.split())}",
                    pick=random.random(),
                    times=random.choice((1, 1, 2, 3)),
                    seconds=random.uniform(0.5, 3.0),
                    size=random.choice((0, 1, 20, 200, 1000)),
                ),
            )


def poison_count(seconds: float) -> tuple[int, int]:
    """How many poisoned, and how many unfetchable, commits a plan of so many seconds can use."""
    room = max(seconds - QUIET_POISON, 3.0)
    return int(room / POISON * 1.25) + 1, int(room / UNFETCHABLE_PUSH * 1.25) + 1


def sorts_of_poison(count: int) -> tuple[Sort, ...]:
    """The sorts of so many poisoned commits."""
    return (Sort.POISON,) * count
