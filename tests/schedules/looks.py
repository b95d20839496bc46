"""The catch-up, which compares branches with the ledger; and a process that begins anew."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from bot.core.deployment import Trigger
from bot.core.ledger import Answer, Compared, open_ledger
from bot.core.ledger.rounds import NO_COMMIT
from tests.builders import a_push, a_removal, commit
from tests.schedules.model import HEADS
from tests.schedules.pushes import ATTEMPTS, MAIN, PROJECTS, Pushers, numbers


class Onlookers(Pushers):
    """Those who look at branches, whatever was delivered; and restarts."""

    @precondition(lambda self: any(project in self.model.home for project, _ in self.heads))
    @rule(number=numbers, overtaken=st.sampled_from([False, False, True]))
    def look(self, number: int, overtaken: bool) -> None:
        """One branch is looked at; where `overtaken`, something came between look and record."""
        seen = [each for each in self.heads if each[0] in self.model.home]
        project, ref = self.any_of(seen, number)
        name, _, _ = self.heads[project, ref]
        head = self.run(self.ledger.rounds.heads(project)).known.get(ref)
        there = commit(name) if name else NO_COMMIT
        if head and head.commit == there:
            return
        known = head.entry if head else ""
        compared = Compared(project=project, known=f"{known}?" if overtaken else known)
        before = head.commit if head else NO_COMMIT
        answer = self.find(project, ref, name, before, compared)
        if overtaken:
            assert answer.outcome == "overtaken"
            return
        self.found[project, ref] = max(
            each.number for each in self.events if (each.project, each.ref) == (project, ref)
        )
        # What comes in the second of a find and follows something else may be before or after it.
        self.second += 1
        newest = self.model.ref(project, ref)
        if not name:
            assert answer.outcome == "removed"
            self.model.remove(project, ref)
            self.gone.add((project, ref))
        elif newest.commit == there:
            assert answer == Answer(outcome="repeated", deployment=newest.deployment)
        else:
            assert answer.outcome == "recorded"
            self.model.home[project] = MAIN
            made = self.model.add(
                answer.deployment, project, ref, commit=there, trigger=Trigger.PUSH
            )
            made.found = True
            self.gone.discard((project, ref))

    def find(self, project: str, ref: str, name: str, before: str, compared: Compared) -> Answer:
        """Records a branch at `name`, or gone, at the time of its repository's last push."""
        at = max(second for (of, _), (_, second, _) in self.heads.items() if of == project)
        told = {"guid": "", "body_sha256": "", "repository": f"acme/{project}", "before": before}
        branch, id_ = ref.removeprefix(HEADS), PROJECTS[project]
        records = self.ledger.records
        if name:
            push = a_push(name, branch=branch, repository_id=id_, at=at)
            found: Answer = self.run(records.record(replace(push, **told), compared=compared))
        else:
            gap = a_removal(branch, before="", at=at, repository_id=id_)
            found = self.run(records.remove(replace(gap, **told), compared=compared))
        return found

    @rule()
    def restart(self) -> None:
        """Another process takes over, which knows nothing but what is in Redis."""
        prefix = self.ledger.connection.prefix
        self.run(self.ledger.aclose())
        self.ledger = open_ledger(self.url, prefix=prefix, lease_seconds=600, max_attempts=ATTEMPTS)
