"""What must hold of records and indexes: one for each delivery, one end, nothing left over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from bot.core.deployment import ENDED
from tests.chaos.evidence import Event, Evidence, Hash, Sent, Violation
from tests.chaos.world import UNFETCHABLE, Sort
from tests.standin import ZERO

ENDS = frozenset(status.value for status in ENDED)
SETTLE_SECONDS = 60.0
GIVE_BACK_SECONDS = 15.0
"""So long after its SIGTERM a process may still give back: its grace, and Redis away."""
_INDEXES = (
    "waiting", "active", "delayed", "rung", "unreported", "unsaved", "high", "fetch", "build-queue",
)  # fmt: skip


def attempts_of(record: Hash) -> tuple[int, int]:
    """Of fetching, and of building."""
    return int(record.get("fetch_attempts", "0")), int(record.get("build_attempts", "0"))


def each_acknowledged_delivery_has_one_record(evidence: Evidence) -> Iterator[Violation]:
    """I1: a delivery answered 2xx has exactly one record."""
    events = {event.body: event for event in evidence.events}
    taken = {sent.body for sent in evidence.sent if sent.taken}
    listed = set(evidence.indexes.get("deliveries", ()))
    for event in evidence.events:
        if event.body not in taken:
            yield Violation("I1", "a push was never acknowledged", (), f"{event}")
    for sent in evidence.sent:
        if not sent.taken or sent.body not in events:
            continue
        noted = evidence.deliveries.get(sent.guid)
        if noted is None or sent.guid not in listed:
            yield Violation("I1", "lost: acknowledged, and nothing is noted", (sent.guid,))
            continue
        event = events[sent.body]
        if event.after == ZERO:
            continue
        record = evidence.records.get(sent.deployment)
        if record is None:
            what = "lost: acknowledged, and there is no record"
            yield Violation("I1", what, (sent.guid, sent.deployment))
        elif (record["ref"], record["commit"], record["repository"]) != (
            event.ref, event.after, event.repository,
        ):  # fmt: skip
            what = "the record is of something else"
            yield Violation("I1", what, (sent.deployment,), f"{event} {record}")
        elif noted["deployment"] != sent.deployment:
            three = (sent.guid, sent.deployment, noted["deployment"])
            yield Violation("I1", "the delivery is noted with another deployment", three)
    yield from _recorded_twice(evidence)


def _recorded_twice(evidence: Evidence) -> Iterator[Violation]:
    made = defaultdict(list)
    for id_, record in evidence.records.items():
        if record.get("trigger") == "push":
            made[_identity(record)].append(id_)
    for event in evidence.events:
        ids = made[event.repository, event.ref, event.before, event.after, str(event.pushed_at)]
        if len(ids) > 1:
            yield Violation("I1", "twice: one push has several records", tuple(ids))


def _identity(record: Hash) -> tuple[str, str, str, str, str]:
    return (
        record["repository"], record["ref"], record.get("before", ""), record["commit"],
        record.get("pushed_at", ""),
    )  # fmt: skip


def every_record_ends_and_every_index_is_empty(evidence: Evidence) -> Iterator[Violation]:
    """I2: after the faults every record ends, and every index is empty."""
    if evidence.settle_seconds > SETTLE_SECONDS:
        seconds = f"{evidence.settle_seconds:.1f} s"
        yield Violation("I2", f"it took longer than {SETTLE_SECONDS:.0f} s to settle", (), seconds)
    for id_, record in evidence.records.items():
        if record.get("status") not in ENDS:
            yield Violation("I2", "lost: it never ends", (id_,), f"{dict(record)}")
    for name, members in evidence.indexes.items():
        if members and (name in _INDEXES or ":" in name):
            yield Violation("I2", f"{name} is not empty", members[:20], f"{len(members)}")
    for name in evidence.unbounded:
        yield Violation("I2", "a key that lasts for ever and is not to", (name,))
    for name, ref in evidence.refs.items():
        for stage in ("fetch", "build"):
            if ref.get(stage):
                yield Violation("I2", f"the {stage} stage of {name} is held", (ref[stage],))


def there_is_one_end_and_attempts_stay_in_bounds(evidence: Evidence) -> Iterator[Violation]:
    """I3: at most one accepted end; attempts rise and stay at or below the maximum."""
    for id_, seen in evidence.sightings.items():
        if len(seen.ends) > 1:
            yield Violation("I3", "ended twice", (id_,), f"{seen.ends}")
        if seen.left_end:
            yield Violation("I3", "it had ended, and went on", (id_,), f"{seen.left_end}")
        for at, fall in seen.falls:
            if not any(at - GIVE_BACK_SECONDS < term < at for term in evidence.terms):
                what = "attempts fell, and nobody had to give anything back"
                yield Violation("I3", what, (id_,), fall)
    for id_, count in evidence.done_in_logs.items():
        if count > 1:
            yield Violation("I3", "ended twice, by the logs", (id_,), f"{count} times")
    for id_, record in evidence.records.items():
        if max(attempts_of(record)) > evidence.max_attempts:
            yield Violation("I3", "more attempts than may be", (id_,), f"{attempts_of(record)}")


def repeats_are_one_and_real_pushes_are_none(evidence: Evidence) -> Iterator[Violation]:
    """I7: repeats lead to one deployment; a real push is never taken for a repeat."""
    answers: dict[str, set[str]] = defaultdict(set)
    for sent in evidence.sent:
        if sent.deployment:
            answers[sent.body].add(sent.deployment)
    for ids in answers.values():
        if len(ids) > 1:
            what = "twice: one push, delivered again, led to several deployments"
            yield Violation("I7", what, tuple(sorted(ids)))
    yield from _mistaken(evidence)
    for asked in evidence.asked:
        if asked.twin < 0:
            continue
        first = evidence.asked[asked.twin]
        same = first.status != asked.status or _named(first.answer) == _named(asked.answer)
        if 200 <= first.status < 300 and 200 <= asked.status < 300 and not same:
            what = f"{asked.what} under one Idempotency-Key was done twice"
            yield Violation("I7", what, (asked.target,), f"{first.answer} {asked.answer}")


def _named(answer: object) -> object:
    """The deployment that an answer is about."""
    if not isinstance(answer, dict):
        return None
    about = answer.get("id") or answer.get("deployment")
    return about.get("id") if isinstance(about, dict) else about


def _mistaken(evidence: Evidence) -> Iterator[Violation]:
    """Pushes that came in order and were answered with an older push's deployment."""
    first_sent: dict[str, Sent] = {}
    first_taken: dict[str, Sent] = {}
    for sent in sorted(evidence.sent, key=lambda each: each.began_at):
        first_sent.setdefault(sent.body, sent)
        if sent.taken:
            first_taken.setdefault(sent.body, sent)
    by_ref: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in evidence.events:
        by_ref[event.repository, event.ref].append(event)
    for events in by_ref.values():
        for place, event in enumerate(events):
            if event.body not in first_taken or event.after in (ZERO, event.before):
                continue
            if event.before not in (ZERO, *(each.after for each in events[:place])):
                # It takes back a push that nobody was told of.
                continue
            taken, sent = first_taken[event.body], first_sent[event.body]
            before = [first_taken.get(each.body) for each in events[:place]]
            after = [first_sent.get(each.body) for each in events[place + 1 :]]
            in_order = all(
                each is not None and each.began_at + each.seconds < sent.began_at for each in before
            ) and all(
                each is None or each.began_at > taken.began_at + taken.seconds for each in after
            )
            older = {each.deployment for each in before if each is not None}
            if in_order and taken.deployment in older:
                what = "a real push was taken for a repeat"
                yield Violation("I7", what, (taken.deployment,), f"{event}")


def poison_dies_after_its_attempts_while_others_flow(evidence: Evidence) -> Iterator[Violation]:
    """I9: poison dies after exactly the maximum while others flow; nothing dies before."""
    poisoned = {
        (event.repository, event.ref, event.after): event
        for event in evidence.events
        if event.sort is Sort.POISON or event.repository == UNFETCHABLE
    }
    dead = set(evidence.indexes.get("dead", ()))
    cancelled = {asked.target for asked in evidence.asked if asked.what == "cancel"}
    for id_, record in evidence.records.items():
        errored = record["status"] == "errored"
        attempts = attempts_of(record)
        if errored and evidence.max_attempts not in attempts:
            yield Violation("I9", "given up too early", (id_,), f"{dict(record)}")
        if errored and id_ not in dead:
            yield Violation("I9", "given up, and no dead letter", (id_,))
        if (record["repository"], record["ref"], record["commit"]) not in poisoned:
            continue
        if record["status"] == "cancelled" and id_ in cancelled:
            continue
        if not errored:
            yield Violation("I9", f"poison ended as {record['status']}", (id_,), f"{dict(record)}")
            continue
        begun, ended = int(record["received_at"]), int(record["ended_at"])
        flowed = any(
            other["status"] == "ready" and begun < int(other["ended_at"]) < ended
            for other in evidence.records.values()
        )
        if not flowed:
            what = "nothing else went live while poison was tried"
            yield Violation("I9", what, (id_,), f"in {(ended - begun) / 1000:.1f} s")


def indexes_fit_the_records(evidence: Evidence) -> Iterator[Violation]:
    """I10: waiting exactly where in `waiting`, active exactly where in `active`."""
    for line in evidence.inconsistencies:
        yield Violation("I10", "an index and a record disagree", (line.split()[0],), line)
    for name, members in evidence.indexes.items():
        if name in ("waiting", "active"):
            for id_, count in Counter(members).items():
                if evidence.records.get(id_, {}).get("status") in ENDS:
                    yield Violation("I10", f"ended, and still in {name}", (id_,), f"{count}")
