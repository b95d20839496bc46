"""Pushes as GitHub tells of them: signed, late, repeated, and again until they are acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.fleet import Fleet
from tests.chaos.plan import Push
from tests.chaos.world import World, marker
from tests.standin import ZERO, Delivery, Worktree, push_payload
from tests.standin.pushes import shape_in_push

_PAUSES = (0.3, 0.6, 1.0, 2.0)
REAL = ("acme/real-0", "acme/real-1")
"""Repositories that are pushed to by git itself."""


@dataclass(slots=True)
class Post:
    """Sends what was pushed, and counts."""

    fleet: Fleet
    world: World
    started_at: int
    counts: Counter[str] = field(default_factory=Counter)
    real_numbers: Counter[str] = field(default_factory=Counter)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    worktrees: dict[str, Worktree] = field(default_factory=dict)
    pushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def push(self, push: Push) -> None:
        """The push happens now; its delivery comes when it may, if at all."""
        pushed_at = self.started_at + push.second
        self.world.point(push.repository, push.ref, push.after, pushed_at=pushed_at)
        self.counts["deletions" if push.after == ZERO else "pushes"] += 1
        if push.untold:
            self.counts["untold"] += 1
            return
        body = self._body(push)
        self._begin(self._deliver(f"storm-{push.number}", body, push.late, push.repeats))

    async def real_push(self, pick: float) -> None:
        """A commit is made and pushed by git; the stand-in tells of it by itself."""
        repository = REAL[int(pick * 10) % len(REAL)]
        async with self.pushing:
            number = self.real_numbers[repository] = self.real_numbers[repository] + 1
            await asyncio.to_thread(self._commit_and_push, repository, number)
        self.counts["real_pushes"] += 1

    def _commit_and_push(self, repository: str, number: int) -> None:
        if repository not in self.worktrees:
            path = self.fleet.directory / "work" / repository.replace("/", "-")
            self.worktrees[repository] = Worktree(
                path, self.fleet.github.clone_url(repository), token=self.fleet.github.token
            )
        worktree = self.worktrees[repository]
        worktree.write({"index.html": f"<h1>{marker(repository, number)}</h1>\n"})
        worktree.commit(f"Change {number}")
        worktree.push("main")

    async def redeliver_failed(self) -> int:
        """Redelivers what the stand-in could not deliver by itself; how many those were.

        The storm's own pushes see to themselves.
        """
        newest: dict[str, Delivery] = {}
        for delivery in self.fleet.github.deliveries:
            if not delivery.guid.startswith("storm-"):
                before = newest.get(delivery.guid)
                if before is None or not _taken(before):
                    newest[delivery.guid] = delivery
        failed = [guid for guid, delivery in newest.items() if not _taken(delivery)]
        for guid in failed:
            await self.fleet.github.redeliver(guid)
        return len(failed)

    async def _deliver(
        self, guid: str, body: bytes, late: float, repeats: tuple[tuple[float, bool], ...]
    ) -> None:
        if late:
            self.counts["late"] += 1
            await asyncio.sleep(late)
        await self._until_taken(guid, body)
        for number, (seconds, same) in enumerate(repeats):
            again = guid if same else f"{guid}-again-{number}"
            self._begin(self._repeat(again, body, seconds))

    async def _until_taken(self, guid: str, body: bytes) -> None:
        attempt = 0
        while not _taken(await self.fleet.github.send_event("push", body, guid=guid)):
            # GitHub itself never sends again: a person does, or the catch-up has it done.
            self.counts["redelivered"] += 1
            await asyncio.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            attempt += 1

    async def _repeat(self, guid: str, body: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if _taken(await self.fleet.github.send_event("push", body, guid=guid)):
            self.counts["repeats"] += 1

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.under_way.discard(task)
        if not task.cancelled():
            task.result()

    def _body(self, push: Push) -> bytes:
        github = self.fleet.github
        commit = self.world.commits.get(push.after)
        payload = push_payload(
            repository=shape_in_push(github.repository(push.repository), github.world),
            ref=push.ref,
            before=push.before,
            after=push.after,
            pushed_at=self.started_at + push.second,
            message=f"Change {commit.number}" if commit else "",
            html=github.url,
            api=github.api_url,
            # What tells two pushes apart that are alike in all else.
            storm=push.number,
        )
        return json.dumps(payload).encode()


def _taken(delivery: Delivery) -> bool:
    return 200 <= delivery.status_code < 300


def make_real(world: World) -> None:
    """The empty repositories that git pushes to."""
    for repository in REAL:
        world.github.create_repository(repository)


def logs_of(directory: Path) -> list[Path]:
    """Every log file of the fleet's processes."""
    return sorted((directory / "logs").glob("*.log"))
