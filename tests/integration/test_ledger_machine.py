"""Random schedules of every verb, on a real server, beside a model written from the rules.

After each step the ledger is what the model is. In the end honest workers, woken by doorbells
alone, bring everything to its end, and each branch shows its newest push.

LEDGER_MACHINE_EXAMPLES (60) and LEDGER_MACHINE_STEPS (40) make the run longer: docs/faults.md.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from bot.core import keys
from bot.core.deployment import (
    ACTIVE,
    ENDED,
    WAITING,
    Push,
    Stage,
    Status,
    Trigger,
    branch_label,
)
from bot.core.ledger import claims, connection
from tests.schedules.model import HEADS, STAGES
from tests.schedules.pushes import ATTEMPTS, PROJECTS
from tests.schedules.work import LISTS, Clock

LIMIT: Final = 5
"""At most so many ids of one project lie in a list."""


class Machine(Clock):
    """The whole, and what holds after each step."""

    @invariant()
    def holds(self) -> None:
        """The ledger is what the model is."""
        found: dict[str, Any] = self.run(self.snapshot())
        self.records_are_as_expected(found)
        self.indexes_hold_what_they_are_for(found)
        self.doorbells_are_where_they_belong(found)
        self.aliases_show_what_they_ought_to(found)

    async def snapshot(self) -> dict[str, Any]:
        """Records, lists, indexes and aliases at one moment, by the last part of their keys."""
        records = [f"deployment:{id_}" for id_ in self.model.all]
        aliases = [f"alias:{label}" for label in self.model.aliases]
        indexes = ["waiting", "active", "delayed", "rung"]
        indexes += [f"project-waiting:{project}" for project in PROJECTS]
        async with self.redis.pipeline(transaction=True) as pipe:
            for name in records + aliases:
                pipe.hgetall(self.key(name))
            for name in indexes:
                pipe.zrange(self.key(name), 0, -1)
            for name in LISTS:
                pipe.lrange(self.list_key(name), 0, -1)
            found = await pipe.execute()
        return dict(zip([*records, *aliases, *indexes, *LISTS], found, strict=True))

    def records_are_as_expected(self, found: dict[str, Any]) -> None:
        for wanted in self.model.all.values():
            record = found[f"deployment:{wanted.id}"]
            told = replace(
                wanted,
                status=Status(record["status"]),
                project=record["project"],
                ref=record["ref"],
                commit=record["commit"],
                trigger=Trigger(record["trigger"]),
                production=record["production"] == "1",
                claim=record.get("claim", ""),
                stop=record.get("stop", ""),
                attempts={each: int(record.get(f"{each}_attempts", "0")) for each in Stage},
            )
            assert told == wanted
            assert max(told.attempts.values()) <= ATTEMPTS
            if told.status is Status.READY:
                assert record["release"].endswith(f"-{wanted.ended_claim}.json")

    def indexes_hold_what_they_are_for(self, found: dict[str, Any]) -> None:
        everything = self.model.all.values()
        waiting = {each.id for each in everything if each.status in WAITING}
        assert set(found["waiting"]) == waiting
        assert set(found["active"]) == {each.id for each in everything if each.status in ACTIVE}
        assert set(found["delayed"]) == {each.id for each in everything if each.delayed}
        for project in PROJECTS:
            own = {id_ for id_ in waiting if self.model.all[id_].project == project}
            assert set(found[f"project-waiting:{project}"]) == own

    def doorbells_are_where_they_belong(self, found: dict[str, Any]) -> None:
        rung = set(found["rung"])
        counts: Counter[tuple[str, str]] = Counter()
        for id_ in rung:
            assert self.model.all[id_].status in WAITING
            counts[self.place_of(id_)] += 1
        for place in counts:
            new = [id_ for id_ in rung - self.rung if self.place_of(id_) == place]
            older = [i for i in rung if self.place_of(i) == place and i < max(new, default="")]
            # What comes back is older than those that were rung while it was away.
            assert len(new) != 1 or len(older) < LIMIT
        self.rung = rung
        for which in LISTS:
            ids = found[which]
            strays = [i for i in ids if i not in rung or self.place_of(i)[1] != which]
            assert set(strays) <= self.doubled
        for each in self.model.all.values():
            if each.status in WAITING and not each.delayed and not self.model.busy(each):
                full = counts[self.place_of(each.id)] >= LIMIT
                assert each.id in rung or full, f"nobody rings for {each}"

    def aliases_show_what_they_ought_to(self, found: dict[str, Any]) -> None:
        for label, wanted in self.model.aliases.items():
            alias = found[f"alias:{label}"]
            assert alias["deployment"] == wanted.deployment
            assert alias["pinned"] == str(int(wanted.pinned))
            before = self.moved.get(label, (0, ""))
            now = (int(alias["seq"]), alias["deployment"])
            assert now == before or now[0] > before[0]
            self.moved[label] = now
            if wanted.deployment:
                shown = self.model.all[wanted.deployment]
                assert shown.status is Status.READY
                assert alias["release"].endswith(f"{shown.id}-{shown.ended_claim}.json")

    def place_of(self, id_: str) -> tuple[str, str]:
        """Its project, and the list where its doorbell lies; none for what is not waiting."""
        each = self.model.all[id_]
        if each.status not in WAITING:
            return each.project, "none"
        if STAGES[each.status] is Stage.FETCH:
            return each.project, "fetch"
        high = each.production or each.trigger is not Trigger.PUSH
        return each.project, "high" if high else ""

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.settle()
        finally:
            self.run(self.sweep_up())
            self.runner.close()

    async def sweep_up(self) -> None:
        async for name in self.redis.scan_iter(f"{self.ledger.connection.prefix}*", count=1000):
            await self.redis.delete(name)
        await self.ledger.aclose()

    def settle(self) -> None:
        """All that held a claim is gone: honest workers, woken by doorbells, finish the rest."""
        for event in self.events:
            if not event.delivered:
                self.hand_over(event)
        for event in self.events:
            assert event.delivered or event.project not in self.model.home
        for _ in range(3 * len(self.model.all) + 5):
            self.expire(0, many=True)
            self.fall_due()
            self.ring_again()
            for stage, lists in ((Stage.FETCH, ("fetch",)), (Stage.BUILD, ("high", ""))):
                while self.listed(*lists):
                    held = self.take(stage, self.run(self.ledger.claims.wait(stage)))
                    if held:
                        self.bring(held)
                    if held and stage is Stage.BUILD:
                        self.end(held, Status.READY)
            if all(each.status in ENDED for each in self.model.all.values()):
                break
        self.holds()
        assert all(each.status in ENDED for each in self.model.all.values()), "stuck"
        self.each_branch_shows_its_newest_push()
        self.run(self.nothing_stays())
        self.run(self.each_commit_is_told())

    def each_branch_shows_its_newest_push(self) -> None:
        newest = {(each.project, each.ref): each for each in self.events if each.delivered}
        for (project, ref), event in newest.items():
            shown = self.model.aliases.get(branch_label(ref.removeprefix(HEADS), project))
            if not isinstance(event.told, Push):
                assert shown
                assert shown.deployment == ""
                continue
            last = self.model.all[event.answer]
            assert last.status is not Status.SUPERSEDED
            if last.status is Status.READY:
                assert shown
                assert self.model.all[shown.deployment].commit == event.told.after
        for project, shown in self.model.aliases.items():
            if project in PROJECTS and not shown.pinned:
                assert shown.deployment == self.model.newest(project)

    async def nothing_stays(self) -> None:
        """Every record is there, every index empty, and what may stay for ever is on the list."""
        prefix = self.ledger.connection.prefix
        base, kept = keys.base(prefix), {each.deployment for each in self.model.refs.values()}
        aliases = set()
        async for name in self.redis.scan_iter(f"{prefix}*", count=1000):
            plain = name.removeprefix(base).removeprefix(prefix)
            expires = await self.redis.ttl(name) > 0
            if plain.startswith("deployment:"):
                wanted = self.model.all[plain.removeprefix("deployment:")]
                stays = wanted.status is Status.READY or wanted.id in kept
                assert expires is not stays, wanted
            else:
                assert plain.startswith(keys.PERMANENT) or expires, plain
            if plain.startswith("alias:"):
                aliases.add(plain.removeprefix("alias:"))
            empty = ("ref-open:", "project-waiting:", "waiting", "active", "delayed", "rung")
            assert not plain.startswith((*empty, "build-queue", "high", "fetch")), plain
        assert aliases == set(self.model.aliases)
        assert await self.redis.zcard(self.key("deployments")) == len(self.model.all)

    async def each_commit_is_told(self) -> None:
        """What there is to tell of a commit is the end of its newest deployment."""
        untold = {(e.project, e.commit) for e in self.model.all.values() if e.commit}
        while untold:
            report, _ = await self.ledger.reports.lease(seconds=30)
            assert report, untold
            untold.remove((report.project, report.commit))
            alike = [
                each
                for each in self.model.all.values()
                if (each.project, each.commit) == (report.project, report.commit)
            ]
            assert report.deployment.id == max(alike, key=lambda each: each.tick).id
            assert report.deployment.status in ENDED
            await self.ledger.reports.told(report, "told")
        assert (await self.ledger.reports.lease(seconds=30))[0] is None


@pytest.mark.timeout(3600)
def test_any_schedule_of_verbs_keeps_the_invariants_and_comes_to_its_end(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BACKOFF_SECONDS", claims.BACKOFF_CAP_SECONDS)
    # A machine that is busy is no fault.
    monkeypatch.setattr(connection, "CALL_SECONDS", 60)
    monkeypatch.setattr(Machine, "url", valkey)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(os.environ.get("LEDGER_MACHINE_EXAMPLES", "60")),
            stateful_step_count=int(os.environ.get("LEDGER_MACHINE_STEPS", "40")),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
