"""However late looks and deliveries come, the newest push wins and none is built twice."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from bot.catchup.heads import compare
from bot.core.deployment import Push, Removal, Status
from bot.core.ledger import Compared, Heads, Ledger
from bot.core.ledger.rounds import NO_COMMIT
from tests.builders import START, commit

MAIN, OTHER = "refs/heads/main", "refs/heads/other"
ENDED = (Status.SUPERSEDED, Status.CANCELLED)


@dataclass(frozen=True, slots=True)
class Glance:
    """What a look has read, before it records anything."""

    heads: Heads
    pushed_at: int
    commit: str


@dataclass(slots=True, kw_only=True)
class Story:
    """One branch on GitHub, told by deliveries that are late or never come, and by looks."""

    ledger: Ledger
    chance: random.Random
    now: int = START
    head: str = NO_COMMIT
    pushes: int = 0
    late: list[Push | Removal] = field(default_factory=list)
    glances: list[Glance] = field(default_factory=list)

    def push(self, *, delete: bool = False) -> Push | Removal:
        """A push that nobody has told of yet, a second after the last one or more."""
        self.pushes += 1
        self.now += self.chance.randint(1, 3)
        before, self.head = self.head, NO_COMMIT if delete else commit(f"push {self.pushes}")
        told = {
            "guid": f"g{self.pushes}",
            "body_sha256": commit(f"body {self.pushes}"),
            "repository": "acme/site",
            "repository_id": 7,
            "ref": MAIN,
            "before": before,
            "pushed_at": self.now,
        }
        if delete:
            return Removal(**told)  # type: ignore[arg-type]
        return Push(**told, private=False, default_branch="main", after=self.head)  # type: ignore[arg-type]

    async def deliver(self, event: Push | Removal) -> None:
        """GitHub tells of it."""
        if isinstance(event, Push):
            await self.ledger.records.record(event)
        else:
            await self.ledger.records.remove(event)

    async def glance(self) -> Glance:
        """What a look reads now, in its order."""
        return Glance(await self.ledger.rounds.heads("site"), self.now, self.head)

    async def record(self, glance: Glance) -> None:
        """What a look then does with it, however much later."""
        found = {OTHER: "f" * 40}
        if glance.commit != NO_COMMIT:
            found[MAIN] = glance.commit
        findings = compare(found, glance.heads, seen=(), first=False, grace_seconds=-1)
        for missed in findings.missed:
            known = missed.known
            push = Push(
                guid="",
                body_sha256="",
                repository="acme/site",
                repository_id=7,
                private=False,
                default_branch="main",
                ref=missed.ref,
                before=known.commit if known else NO_COMMIT,
                after=missed.commit,
                pushed_at=glance.pushed_at,
            )
            compared = Compared(project="site", known=known.entry if known else "")
            await self.ledger.records.record(push, compared=compared)
        for gone in findings.gone:
            removal = Removal(
                guid="",
                body_sha256="",
                repository="acme/site",
                repository_id=7,
                ref=gone.ref,
                before=gone.known.commit,
                pushed_at=glance.pushed_at,
            )
            compared = Compared(project="site", known=gone.known.entry)
            await self.ledger.records.remove(removal, compared=compared)
        await self.ledger.rounds.look("site", forgotten=findings.forgotten)

    async def go_on(self) -> None:
        """Something happens."""
        match self.chance.random():
            case sort if sort < 0.4:
                push = self.push(delete=self.head != NO_COMMIT and self.chance.random() < 0.15)
                if self.chance.random() < 0.5:
                    self.late.append(push)
                elif self.chance.random() < 0.5:
                    await self.deliver(push)
            case sort if sort < 0.55 and self.late:
                await self.deliver(self.late.pop(self.chance.randrange(len(self.late))))
            case sort if sort < 0.8:
                self.glances.append(await self.glance())
            case _ if self.glances:
                await self.record(self.glances.pop(self.chance.randrange(len(self.glances))))


@pytest.mark.parametrize("seed", range(30))
async def test_the_newest_push_wins_and_none_has_two_deployments(ledger: Ledger, seed: int) -> None:
    story = Story(ledger=ledger, chance=random.Random(seed))
    await story.deliver(story.push())
    await ledger.rounds.look("site", noted={OTHER: "f" * 40})
    for _ in range(story.chance.randint(6, 20)):
        await story.go_on()
    for push in story.chance.sample(story.late, len(story.late)):
        await story.deliver(push)
    for glance in (*story.glances, await story.glance()):
        await story.record(glance)

    records, _ = await ledger.view.deployments(limit=100)
    doubled = {sha: n for sha, n in Counter(each.commit for each in records).items() if n > 1}
    assert not doubled
    known = (await ledger.rounds.heads("site")).known.get(MAIN)
    assert (known.commit if known else NO_COMMIT) == story.head
    standing = [each for each in records if each.status not in ENDED]
    newest = max(standing, key=lambda each: each.seq, default=None)
    assert (newest.commit if newest else NO_COMMIT) == story.head
