"""What the queue protocol promises, in plain Python: the model beside which the ledger is tried.

Written from docs/protocol.md, not from the scripts: it knows records, refs and aliases, and no
list, index or clock. `tick` orders what happens, as the ledger's seq does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from bot.core.deployment import (
    ACTIVE,
    ENDED,
    WAITING,
    Stage,
    Status,
    Trigger,
    branch_label,
    deployment_label,
)

HEADS = "refs/heads/"
STAGES = {
    Status.RECEIVED: Stage.FETCH,
    Status.FETCHING: Stage.FETCH,
    Status.QUEUED: Stage.BUILD,
    Status.BUILDING: Stage.BUILD,
    Status.PUBLISHING: Stage.BUILD,
}


@dataclass(kw_only=True)
class Expected:
    """A deployment as it ought to be."""

    id: str
    project: str
    ref: str
    commit: str
    trigger: Trigger
    production: bool
    tick: int
    status: Status = Status.RECEIVED
    claim: str = ""
    stop: str = ""
    delayed: bool = False
    found: bool = False
    """By the catch-up, and not delivered so far."""
    attempts: dict[Stage, int] = field(default_factory=lambda: dict.fromkeys(Stage, 0))
    ended_claim: str = ""
    advanced_by: str = ""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status not in ENDED


@dataclass
class Shown:
    """An alias as it ought to be. `tick` is that of the deployment, or of the branch's deletion."""

    deployment: str
    tick: int
    pinned: bool = False


@dataclass
class Ref:
    """What is known of a branch."""

    commit: str = ""
    """The newest commit; empty when the branch was deleted."""
    deployment: str = ""
    tick: int = 0
    advanced: int = 0
    """The tick of the newest push whose source was fetched."""


class Model:
    """All deployments, refs and aliases of some projects."""

    def __init__(self, *, attempts: int) -> None:
        self.attempts = attempts
        self.all: dict[str, Expected] = {}
        self.refs: dict[tuple[str, str], Ref] = {}
        self.aliases: dict[str, Shown] = {}
        self.history: dict[str, list[str]] = {}
        self.home: dict[str, str] = {}
        """The production branch's ref by project; empty while it is not known."""
        self.ticks = itertools.count(1)

    def ref(self, project: str, ref: str) -> Ref:
        """What is known of a ref, which may be nothing."""
        return self.refs.setdefault((project, ref), Ref())

    def of(self, project: str, ref: str) -> Iterator[Expected]:
        """What has not ended of a ref, oldest first."""
        found = [e for e in self.all.values() if e.open and (e.project, e.ref) == (project, ref)]
        yield from sorted(found, key=lambda each: each.tick)

    def add(
        self, id_: str, project: str, ref: str, *, commit: str = "", trigger: Trigger
    ) -> Expected:
        """A new record."""
        made = Expected(
            id=id_,
            project=project,
            ref=ref,
            commit=commit,
            trigger=trigger,
            production=ref in (self.home.get(project), "HEAD"),
            tick=next(self.ticks),
        )
        self.all[id_] = made
        if trigger is Trigger.PUSH:
            self.refs[project, ref] = Ref(commit, id_, made.tick, self.ref(project, ref).advanced)
        return made

    def busy(self, of: Expected) -> bool:
        """Whether another of its ref is in the same stage."""
        return any(
            each.status in ACTIVE and STAGES[each.status] is STAGES[of.status]
            for each in self.of(of.project, of.ref)
            if each is not of
        )

    def claimable(self, id_: str, stage: Stage) -> Expected | str:
        """What a claim by this doorbell takes, or why nothing."""
        asked = self.all[id_]
        if asked.status not in WAITING or STAGES[asked.status] is not stage or asked.delayed:
            return "stale"
        if self.busy(asked):
            return "busy"
        if stage is Stage.FETCH and asked.trigger is Trigger.PUSH:
            return next(
                each
                for each in reversed(list(self.of(asked.project, asked.ref)))
                if each.status is Status.RECEIVED
                and each.trigger is Trigger.PUSH
                and not each.delayed
            )
        return asked

    def stop(self, which: Expected, how: Status) -> None:
        """Asks it to end: one that waits does at once."""
        if which.status in WAITING:
            self.end(which, how)
        elif which.status in ACTIVE and which.stop != Status.CANCELLED:
            which.stop = how.value

    def end(self, which: Expected, status: Status) -> None:
        """Its one end."""
        assert which.open
        which.status, which.ended_claim = status, which.claim
        which.claim, which.stop, which.delayed = "", "", False

    def advance(self, which: Expected, *, commit: str, ref: str, home: str) -> None:
        """Its source is fetched: it waits for a build, and what is older makes way."""
        which.status, which.advanced_by, which.claim = Status.QUEUED, which.claim, ""
        which.commit, which.ref = commit, ref
        if home:
            self.home[which.project] = self.home.get(which.project) or home
            which.production = ref == self.home[which.project]
        known = self.ref(which.project, ref)
        if which.trigger is Trigger.PUSH:
            known.advanced = max(known.advanced, which.tick)
            for older in list(self.of(which.project, ref)):
                let_finish = older.status in ACTIVE and older.production
                if older.tick < which.tick and older.trigger is Trigger.PUSH and not let_finish:
                    self.stop(older, Status.SUPERSEDED)
        asked = which.trigger is Trigger.MANUAL and ref.startswith(HEADS)
        # What a person fetched is the newest, unless a push was recorded meanwhile.
        if asked and known.tick < which.tick and known.commit != commit:
            self.refs[which.project, ref] = Ref(commit, which.id, which.tick, known.advanced)

    def back(self, which: Expected, *, delayed: bool = False, counted: bool = True) -> None:
        """The claim ends without an end; the same, after a failure of ours, up to the maximum."""
        stage = STAGES[which.status]
        if not counted:
            which.attempts[stage] -= 1
        if which.stop:
            self.end(which, Status(which.stop))
        elif counted and which.attempts[stage] >= self.attempts:
            self.end(which, Status.ERRORED)
        elif (
            which.trigger is Trigger.PUSH
            and self.ref(which.project, which.ref).advanced > which.tick
        ):
            self.end(which, Status.SUPERSEDED)
        else:
            which.status = Status.RECEIVED if stage is Stage.FETCH else Status.QUEUED
            which.claim, which.delayed = "", delayed

    def ready(self, which: Expected) -> None:
        """It ends well, and its aliases move, only forward."""
        known = self.ref(which.project, which.ref)
        newest = which.trigger is not Trigger.REDEPLOY or known.commit == which.commit
        self._move(deployment_label(which.id, which.project), which)
        if which.ref.startswith(HEADS) and newest:
            self._move(branch_label(which.ref.removeprefix(HEADS), which.project), which)
            if which.production:
                self._move(which.project, which)
                self.history.setdefault(which.project, []).append(which.id)
        self.end(which, Status.READY)

    def _move(self, label: str, to: Expected) -> None:
        now = self.aliases.get(label)
        if now is None or (not now.pinned and now.tick < to.tick):
            self.aliases[label] = Shown(to.id, to.tick)

    def remove(self, project: str, ref: str) -> None:
        """The branch is deleted: what is of it stops, its alias is a tombstone."""
        tick = next(self.ticks)
        for each in list(self.of(project, ref)):
            self.stop(each, Status.CANCELLED)
        self.refs[project, ref] = Ref(tick=tick, advanced=self.ref(project, ref).advanced)
        self.aliases[branch_label(ref.removeprefix(HEADS), project)] = Shown("", tick)

    def newest(self, project: str, *, below: int | None = None, but: str = "") -> str:
        """The newest that was ready in production, of those before `below`; or empty."""
        found = [self.all[id_] for id_ in self.history.get(project, []) if id_ != but]
        found = [each for each in found if below is None or each.tick < below]
        return max(found, key=lambda each: each.tick).id if found else ""

    def point(self, project: str, id_: str, *, pinned: bool) -> None:
        """Production is moved by a person."""
        self.aliases[project] = Shown(id_, self.all[id_].tick, pinned)


def found(model: Model, project: str, ref: str, commit: str) -> Expected | None:
    """What the catch-up had found of a push that is delivered late."""
    alike = [e for e in model.all.values() if (e.project, e.commit) == (project, commit)]
    newest = max(alike, key=lambda each: each.tick, default=None)
    return newest if newest and newest.found and newest.ref == ref else None
