"""Those who are woken by doorbells and work, and the sweep that puts back what they leave.

Doorbells are popped and lost, doubled, or answered much later; holders of claims freeze, lose their
lease and go on all the same; answers are lost and verbs repeated.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from bot.core import keys
from bot.core.deployment import ACTIVE, TRANSITIONS, WAITING, Deployment, Stage, Status
from bot.core.errors import Errored, Stopped
from bot.core.ledger import Ending, Verdict
from tests.builders import commit
from tests.schedules.looks import Onlookers
from tests.schedules.model import HEADS
from tests.schedules.pushes import MAIN, People, numbers

LISTS: Final = ("fetch", "high", "")
"""The lists of doorbells; the last is `build-queue`."""
_ENDS: Final = sorted([Status.READY, Status.FAILED, Status.ERRORED, Status.SKIPPED])


class Workers(Onlookers, People):
    """Those who are woken by doorbells, and work, or do not."""

    @precondition(lambda self: self.rung)
    @rule(stage=st.sampled_from(Stage))
    def pop(self, stage: Stage) -> None:
        if self.listed(*(("fetch",) if stage is Stage.FETCH else ("high", ""))):
            self.popped.append((stage, self.run(self.ledger.claims.wait(stage))))

    @precondition(lambda self: any(each.status in WAITING for each in self.model.all.values()))
    @rule(stage=st.sampled_from(Stage), far=st.sampled_from([0, 1, 2, 2, 2, 2]))
    def work(self, stage: Stage, far: int) -> None:
        """The stage as it ought to go, or the beginning of it."""
        if not self.listed(*(("fetch",) if stage is Stage.FETCH else ("high", ""))):
            return
        held = self.take(stage, self.run(self.ledger.claims.wait(stage)))
        if held and far > 0:
            self.bring(held)
        if held and far > 1 and stage is Stage.BUILD:
            self.end(held, Status.READY)

    @precondition(lambda self: any(each.status in WAITING for each in self.model.all.values()))
    @rule(fetches=st.integers(0, 4), builds=st.integers(0, 4))
    def flow(self, fetches: int, builds: int) -> None:
        for _ in range(fetches):
            self.work(Stage.FETCH, 2)
        for _ in range(builds):
            self.work(Stage.BUILD, 2)

    @precondition(lambda self: self.popped)
    @rule(number=numbers, kept=st.booleans())
    def claim(self, number: int, kept: bool) -> None:
        bell = self.any_of(self.popped, number)
        if not kept:
            self.popped.remove(bell)
        self.take(*bell)

    @precondition(lambda self: self.popped)
    @rule(number=numbers)
    def lose(self, number: int) -> None:
        self.popped.remove(self.any_of(self.popped, number))

    @precondition(lambda self: self.model.all)
    @rule(number=numbers, which=st.sampled_from(LISTS))
    def double(self, number: int, which: str) -> None:
        id_ = self.any_of(list(self.model.all), number)
        self.doubled.add(id_)
        self.run(self.redis.rpush(self.list_key(which), id_))

    @precondition(lambda self: self.held)
    @rule(number=numbers, verb=st.sampled_from(["extend", "append", "retry", "give_back"]))
    def hold(self, number: int, verb: str) -> None:
        held = self.holder(number)
        wanted = self.model.all[held.id]
        alive = wanted.claim == held.claim
        verbs = self.ledger.claims
        if verb == "extend":
            verdict = Verdict(wanted.stop or "go") if alive else Verdict.LOST
            assert self.run(verbs.extend(held)) is verdict
        elif verb == "append":
            assert self.run(self.ledger.logs.append(held, ["a line"])) is alive
        elif verb == "give_back":
            self.run(verbs.give_back(held))
            self.run(verbs.give_back(held))
            if alive:
                self.model.back(wanted, counted=False)
        elif alive:
            self.run(verbs.retry(held, Errored("away", code="away")))
            self.model.back(wanted, delayed=True)
        else:
            with pytest.raises(Stopped, match="lost"):
                self.run(verbs.retry(held, Errored("away", code="away")))

    @precondition(lambda self: self.held)
    @rule(number=numbers, again=st.booleans())
    def advance(self, number: int, again: bool) -> None:
        held = self.holder(number)
        self.bring(held)
        if again:
            self.bring(held)

    @precondition(lambda self: self.held)
    @rule(number=numbers, status=st.sampled_from(_ENDS), again=st.booleans())
    def finish(self, number: int, status: Status, again: bool) -> None:
        held = self.holder(number)
        self.end(held, status)
        if again:
            self.end(held, status)

    def take(self, stage: Stage, id_: str) -> Deployment | None:
        wanted = self.model.claimable(id_, stage)
        found = self.run(self.ledger.claims.claim(id_, stage))
        if isinstance(wanted, str):
            assert (found.deployment, found.why) == (None, wanted)
            return None
        assert found.deployment
        assert found.deployment.id == wanted.id
        wanted.status = Status.FETCHING if stage is Stage.FETCH else Status.BUILDING
        wanted.claim = found.deployment.claim
        wanted.attempts[stage] += 1
        taken: Deployment = found.deployment
        self.held.append(taken)
        return taken

    def bring(self, held: Deployment) -> None:
        """Advances it; where git does not know its branch, it fails instead."""
        wanted = self.model.all[held.id]
        fetching = held.status is Status.FETCHING
        to = Status.QUEUED if fetching else Status.PUBLISHING
        sha, ref, home = wanted.commit, wanted.ref, ""
        if fetching and not sha:
            ref, home = MAIN if ref == "HEAD" else ref, MAIN
            name = self.heads.get((wanted.project, ref), ("", 0, []))[0]
            sha = commit(name) if name or ref.startswith("refs/tags/") else ""
            if not sha:
                self.end(held, Status.FAILED)
                return
        fields = (
            {"commit": sha, "ref": ref, "default_branch": home.removeprefix(HEADS)}
            if fetching
            else {}
        )
        why = ""
        done = wanted.advanced_by == held.claim if fetching else False
        if not done and wanted.claim != held.claim:
            why = "lost"
        elif not done and wanted.status is held.status:
            why = wanted.stop
        verb = self.ledger.claims.advance(held, to, **fields)
        if why:
            with pytest.raises(Stopped, match=why):
                self.run(verb)
            return
        self.run(verb)
        if fetching and not done:
            self.model.advance(wanted, commit=sha, ref=ref, home=home)
        elif not fetching:
            wanted.status = Status.PUBLISHING

    def end(self, held: Deployment, status: Status) -> None:
        wanted = self.model.all[held.id]
        release = f"releases/7/{held.id}-{held.claim}.json" if status is Status.READY else ""
        ending = Ending(status=status, release=release)
        repeated = wanted.ended_claim == held.claim
        legal = wanted.claim == held.claim and (wanted.stop or wanted.status in TRANSITIONS[status])
        if not (repeated or legal):
            with pytest.raises(Stopped, match="lost"):
                self.run(self.ledger.claims.finish(held, ending))
            return
        found = self.run(self.ledger.claims.finish(held, ending))
        if not repeated and wanted.stop:
            self.model.end(wanted, Status(wanted.stop))
        elif not repeated and status is Status.READY:
            self.model.ready(wanted)
        elif not repeated:
            self.model.end(wanted, status)
        assert found.status is wanted.status
        if not repeated and found.status is Status.READY and found.production:
            live = self.model.aliases.get(found.project)
            assert found.reason or (live and live.deployment == found.id)

    def holder(self, number: int) -> Deployment:
        """Often one whose claim is the running one."""
        alive = [each for each in self.held if self.model.all[each.id].claim == each.claim]
        return self.any_of(alive if alive and number % 4 else self.held, number)

    def list_key(self, which: str) -> str:
        return self.key(which) if which else keys.queue(self.ledger.connection.prefix)

    def listed(self, *which: str) -> list[str]:
        found = (self.run(self.redis.lrange(self.list_key(name), 0, -1)) for name in which)
        return [id_ for ids in found for id_ in ids]


class Clock(Workers):
    """Time that passes, and the sweep."""

    @precondition(lambda self: any(each.status in ACTIVE for each in self.model.all.values()))
    @rule(number=numbers, many=st.booleans())
    def expire(self, number: int, many: bool) -> None:
        active = [each for each in self.model.all.values() if each.status in ACTIVE]
        lost = active if many or not active else [self.any_of(active, number)]
        for each in lost:
            self.run(self.redis.zadd(self.key("active"), {each.id: 1}))
        assert self.run(self.ledger.claims.sweep())["expired"] == len(lost)
        for each in lost:
            self.model.back(each)

    @precondition(lambda self: any(each.delayed for each in self.model.all.values()))
    @rule()
    def fall_due(self) -> None:
        delayed = [each for each in self.model.all.values() if each.delayed]
        for each in delayed:
            self.run(self.redis.zadd(self.key("delayed"), {each.id: 1}))
            self.run(self.redis.hset(self.key(f"deployment:{each.id}"), "due_at", 1))
            each.delayed = False
        assert self.run(self.ledger.claims.sweep())["due"] == len(delayed)

    @precondition(lambda self: self.model.all)
    @rule()
    def ring_again(self) -> None:
        rung = self.run(self.redis.zrange(self.key("rung"), 0, -1))
        for id_ in rung:
            self.run(self.redis.zadd(self.key("rung"), {id_: 1}))
        for _ in range(3):
            self.run(self.ledger.claims.sweep())
        listed = self.listed(*LISTS)
        if set(listed) <= set(rung) and len(listed) == len(set(listed)):
            assert set(listed) == set(rung)
