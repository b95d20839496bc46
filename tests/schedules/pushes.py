"""Those who push, whose deliveries come late, twice and out of order, and those who ask."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from bot.core import keys
from bot.core.deployment import (
    ACTIVE,
    WAITING,
    Deployment,
    Push,
    Removal,
    Stage,
    Status,
    Trigger,
)
from bot.core.errors import Rejected
from bot.core.ledger import Answer, Ledger, Request, open_ledger
from tests.builders import ZERO, a_push, a_removal, commit
from tests.schedules.model import HEADS, Model, found

T = TypeVar("T")
ATTEMPTS: Final = 3
PROJECTS: Final = {"site": 7, "blog": 8}
MAIN: Final = "refs/heads/main"
numbers = st.integers(0, 10_000)
projects = st.sampled_from(sorted(PROJECTS))
names = st.sampled_from("ABCD")
often = st.sampled_from([True, True, True, False])
branches = st.sampled_from(["main", "main", "main", "one", "one", "one", "b3", "b4", "b5", "b6"])


@dataclass(eq=False)
class Event:
    """What happened to a branch on GitHub."""

    project: str
    ref: str
    told: Push | Removal
    number: int
    delivered: bool = False
    answer: str = ""


class Base(RuleBasedStateMachine):
    """The ledger, the model, and what happened so far."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.ledger: Ledger = open_ledger(
            self.url, prefix=f"m{secrets.token_hex(6)}:", lease_seconds=600, max_attempts=ATTEMPTS
        )
        self.model = Model(attempts=ATTEMPTS)
        self.heads: dict[tuple[str, str], tuple[str, int, list[str]]] = {}
        self.events: list[Event] = []
        self.found: dict[tuple[str, str], int] = {}
        """The newest event of a branch that the catch-up has seen the end of, by number."""
        self.gone: set[tuple[str, str]] = set()
        """Branches of which it has found the deletion."""
        self.second = 1
        self.popped: list[tuple[Stage, str]] = []
        self.doubled: set[str] = set()
        self.rung: set[str] = set()
        self.held: list[Deployment] = []
        self.moved: dict[str, tuple[int, str]] = {}

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    @property
    def redis(self) -> Any:
        return cast(Any, self.ledger.connection.redis)

    def key(self, name: str) -> str:
        return keys.named(self.ledger.connection.prefix, name)

    def any_of(self, some: list[T], number: int) -> T:
        return some[number % len(some)]


class Pushers(Base):
    """Those who push, and the deliveries of it."""

    @rule(project=projects, branch=branches, name=names, same=st.booleans(), soon=often)
    def push(self, project: str, branch: str, name: str, same: bool, soon: bool) -> None:
        ref = HEADS + branch
        before, at, inside = self.heads.get((project, ref), ("", 0, []))
        if before == name:
            return
        # Which of three in one second was the last, or of A→B and B→A, nobody can tell.
        crowded = at == self.second and (len(inside) > 2 or name in inside)
        if not same or crowded:
            self.second += 1
        inside = [*inside, name] if at == self.second else [before, name]
        self.heads[project, ref] = (name, self.second, inside)
        told = a_push(
            name,
            before=before or ZERO,
            branch=branch,
            repository=f"acme/{project}",
            repository_id=PROJECTS[project],
            at=self.second,
        )
        self.events.append(Event(project, ref, told, len(self.events)))
        if soon:
            self.hand_over(self.events[-1])

    @precondition(lambda self: any(name for name, _, _ in self.heads.values()))
    @rule(number=numbers, same=st.booleans(), soon=st.booleans())
    def delete(self, number: int, same: bool, soon: bool) -> None:
        alive = [each for each, (name, _, _) in self.heads.items() if name]
        project, ref = self.any_of(alive, number)
        before, at, inside = self.heads[project, ref]
        # Made again and deleted again in one second, while the first deletion is still to come.
        crowded = at == self.second and (len(inside) > 2 or inside[0] == "")
        if not same or crowded:
            self.second += 1
        inside = [*inside, ""] if at == self.second else [before, ""]
        self.heads[project, ref] = ("", self.second, inside)
        told = msgspec.structs.replace(
            a_removal(
                ref.removeprefix(HEADS),
                before=before,
                at=self.second,
                repository_id=PROJECTS[project],
            ),
            repository=f"acme/{project}",
        )
        self.events.append(Event(project, ref, told, len(self.events)))
        if soon:
            self.hand_over(self.events[-1])

    @precondition(lambda self: any(not each.delivered for each in self.events))
    @rule(number=numbers, again=st.booleans())
    def deliver(self, number: int, again: bool) -> None:
        event = self.any_of([each for each in self.events if not each.delivered], number)
        self.hand_over(event)
        if again:
            self.repeat(event)

    @precondition(lambda self: any(each.answer for each in self.events))
    @rule(number=numbers)
    def redeliver(self, number: int) -> None:
        self.repeat(self.any_of([each for each in self.events if each.answer], number))

    def repeat(self, event: Event) -> None:
        if isinstance(event.told, Push):
            again = self.run(self.ledger.records.record(event.told))
            assert again == Answer(outcome="repeated", deployment=event.answer)
        elif event.delivered:
            assert self.run(self.ledger.records.remove(event.told)).outcome == "repeated"

    def hand_over(self, event: Event) -> None:
        branch = (event.project, event.ref)
        newest = max(
            (e.number for e in self.events if e.delivered and (e.project, e.ref) == branch),
            default=-1,
        )
        overtaken = event.number < newest or event.number <= self.found.get(branch, -1)
        if isinstance(event.told, Removal):
            if not self.remove(event, event.told, overtaken=overtaken):
                return
        else:
            self.record(event, event.told, overtaken=overtaken)
        event.delivered = True

    def remove(self, event: Event, told: Removal, *, overtaken: bool) -> bool:
        """Delivers a deletion; false when it is of no project."""
        answer = self.run(self.ledger.records.remove(told))
        if event.project not in self.model.home:
            assert answer.outcome == "unknown"
            return False
        if not overtaken:
            assert answer.outcome == "removed"
            self.model.remove(event.project, event.ref)
        elif (event.project, event.ref) in self.gone:
            assert answer.outcome == "repeated"
        else:
            assert answer.outcome == "late"
        if not overtaken:
            self.gone.discard((event.project, event.ref))
        return True

    def record(self, event: Event, told: Push, *, overtaken: bool) -> None:
        """Delivers a push."""
        project, ref, model = event.project, event.ref, self.model
        answer = self.run(self.ledger.records.record(told))
        event.answer = answer.deployment
        model.home[project] = MAIN
        before = model.ref(project, ref)
        same = model.all.get(before.deployment) if before.commit == told.after else None
        same = same or (found(model, project, ref, told.after) if overtaken else None)
        if same:
            assert answer == Answer(outcome="repeated", deployment=same.id)
            same.found = False
            return
        assert answer.outcome == ("superseded" if overtaken else "recorded")
        made = model.add(answer.deployment, project, ref, commit=told.after, trigger=Trigger.PUSH)
        if overtaken:
            model.refs[project, ref] = before
            model.end(made, Status.SUPERSEDED)
        else:
            self.gone.discard((project, ref))


class People(Base):
    """Those who ask for a deployment, call one off, or move production."""

    @rule(project=projects, what=st.sampled_from(["", "main", "one", "sha", "tag"]))
    def request(self, project: str, what: str) -> None:
        home = self.model.home.get(project, "")
        ref = {"": "", "sha": commit("A"), "tag": "refs/tags/v1"}.get(what, HEADS + what)
        sha = commit("A") if what == "sha" else ""
        asked = Request(
            repository=f"acme/{project}", ref=ref, commit=sha, idempotency_key=secrets.token_hex(4)
        )
        answer = self.run(self.ledger.records.request(asked))
        assert answer.outcome == "recorded"
        again = self.run(self.ledger.records.request(asked))
        assert again == Answer(outcome="repeated", deployment=answer.deployment)
        self.model.home.setdefault(project, "")
        self.model.add(
            answer.deployment, project, ref or home or "HEAD", commit=sha, trigger=Trigger.MANUAL
        )

    @precondition(lambda self: any(each.commit for each in self.model.all.values()))
    @rule(number=numbers)
    def redeploy(self, number: int) -> None:
        old = self.any_of([each for each in self.model.all.values() if each.commit], number)
        asked = Request(
            project=old.project,
            ref=old.ref,
            commit=old.commit,
            trigger=Trigger.REDEPLOY,
            redeploy_of=old.id,
        )
        answer = self.run(self.ledger.records.request(asked))
        assert answer.outcome == "recorded"
        self.model.add(
            answer.deployment, old.project, old.ref, commit=old.commit, trigger=Trigger.REDEPLOY
        )

    @precondition(lambda self: self.model.all)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        which = self.any_of(list(self.model.all.values()), number)
        outcome = "cancelled" if which.status in WAITING else "ended"
        outcome = "stopping" if which.status in ACTIVE else outcome
        assert self.run(self.ledger.records.cancel(which.id, reason="on request")) == outcome
        self.model.stop(which, Status.CANCELLED)

    @precondition(lambda self: Status.READY in {e.status for e in self.model.all.values()})
    @rule(number=numbers)
    def promote(self, number: int) -> None:
        everything = list(self.model.all.values())
        ready = [each for each in everything if each.status is Status.READY]
        which = self.any_of(ready if ready and number % 4 else everything, number)
        if which.status is not Status.READY:
            with pytest.raises(Rejected, match="no release"):
                self.run(self.ledger.aliases.promote(which.id))
            return
        pinned = which.id != self.model.newest(which.project)
        assert self.run(self.ledger.aliases.promote(which.id)).pinned is pinned
        self.model.point(which.project, which.id, pinned=pinned)

    @precondition(lambda self: self.model.history)
    @rule(project=projects, unpin=st.booleans())
    def point(self, project: str, unpin: bool) -> None:
        live = self.model.aliases.get(project)
        wanted = self.model.newest(project)
        if live and not unpin:
            inside = live.deployment in self.model.history.get(project, [])
            below = live.tick if inside else None
            wanted = self.model.newest(project, below=below, but=live.deployment)
        aliases = self.ledger.aliases
        move = aliases.unpin(project) if unpin else aliases.rollback(project)
        if not wanted:
            with pytest.raises(Rejected):
                self.run(move)
            return
        found = self.run(move)
        assert (found.deployment, found.pinned) == (wanted, not unpin)
        self.model.point(project, wanted, pinned=not unpin)
