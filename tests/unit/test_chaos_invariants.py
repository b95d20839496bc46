"""Each invariant of the fault suite sees its own violation, and nothing on a day without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec
import pytest

from bot.core.deployment import branch_label
from bot.core.release import Content, File, Manifest, Range
from tests.builders import commit
from tests.chaos.evidence import (
    AliasSeen,
    Asked,
    Ended,
    Event,
    Evidence,
    Hash,
    LogSpan,
    Page,
    Probe,
    Return,
    Sent,
    Sighting,
    Stop,
    Told,
)
from tests.chaos.invariants import CHECKS, violations
from tests.chaos.proxy import Exchange
from tests.chaos.world import Sort
from tests.standin import ZERO

ONE, TWO, OFF = "d" + "1" * 16, "d" + "2" * 16, "d" + "3" * 16
A, B, P = commit("A"), commit("B"), commit("P")
MAIN, TOPIC = "refs/heads/main", "refs/heads/topic"
BRANCH = branch_label("main", "site")
WORDS = {A: "[acme/site 0]", B: "[acme/site 1]"}


def record(id_: str, sha: str, seq: int, status: str = "ready", **more: str) -> dict[str, str]:
    """One that ended, with a release if it is ready."""
    found = {
        "status": status, "project": "site", "repository": "acme/site", "ref": MAIN,
        "before": ZERO, "commit": sha, "pushed_at": "100", "seq": str(seq), "trigger": "push",
        "production": "1", "fetch_attempts": "1", "build_attempts": "1", "claims": f"f{seq},b{seq}",
        "ended_claim": f"b{seq}", "received_at": "1000", "ended_at": str(2000 + seq),
        "version": "4",
    }  # fmt: skip
    if status == "ready":
        found["release"] = f"releases/{id_}"
    return found | more


def manifest(id_: str, claim: str) -> Manifest:
    """A release of one file, in a pack of 10 bytes."""
    return Manifest(
        deployment=id_, claim=claim, project="site", commit=A, created_at=1,
        packs=(f"packs/{id_}",), files={"index.html": File("x", "text/html", 10)},
        contents={"x": Content(identity=Range(0, 0, 10))},
    )  # fmt: skip


def alias(id_: str, seq: int, **more: str) -> dict[str, str]:
    return {
        "deployment": id_, "release": f"releases/{id_}", "seq": str(seq),
        "deployment_seq": str(seq), "pinned": "0",
    } | more  # fmt: skip


def told(sha: str, state: str, id_: str) -> Told:
    return Told(sha, "pushlane/site", state, state, f"http://localhost/deployments/{id_}")


def event(body: str, before: str, after: str, at: int, **more: Any) -> Event:
    return Event(
        body=body, before=before, after=after, pushed_at=at, order=(at, at),
        **{"repository": "acme/site", "ref": MAIN, **more},
    )  # fmt: skip


def sent(guid: str, body: str, deployment: str, *, at: float = 10.0, **more: Any) -> Sent:
    return Sent(
        guid=guid, body=body, began_at=at, seconds=0.01, status=202, deployment=deployment, **more
    )


def noted(deployment: str) -> dict[str, str]:
    return {"deployment": deployment, "outcome": "recorded"}


def a_quiet_day() -> Evidence:
    """Two pushes to main, both live in turn; one to a topic, cancelled by a person; one repeat."""
    return Evidence(
        events=(
            event("a", ZERO, A, 100, sort=Sort.PAGE),
            event("b", A, B, 200, sort=Sort.PAGE),
            event("off", ZERO, A, 300, ref=TOPIC, sort=Sort.PAGE),
        ),
        sent=(
            sent("g1", "a", ONE, at=10),
            sent("g1", "a", ONE, at=11),
            sent("g2", "b", TWO, at=20),
            sent("g3", "off", OFF, at=30),
        ),
        asked=(Asked("cancel", OFF, 31, 31.1, 202, {"deployment": {"id": OFF}}),),
        records={
            ONE: record(ONE, A, 1),
            TWO: record(TWO, B, 2, before=A, pushed_at="200"),
            OFF: record(OFF, A, 3, "cancelled", ref=TOPIC, production="0", pushed_at="300"),
        },
        deliveries={"g1": noted(ONE), "g2": noted(TWO), "g3": noted(OFF)},
        indexes={"waiting": (), "active": (), "unreported": (), "dead": (), "ref-open:site:x": (),
                 "deliveries": ("g1", "g2", "g3")},
        refs={f"site:{MAIN}": {"commit": B}},
        heads={("acme/site", MAIN): B, ("acme/site", TOPIC): A},
        markers=WORDS,
        projects={"site": {"version": "7"}},
        saved={
            "project:site": 7, "alias:site": 2, f"alias:{BRANCH}": 2,
            f"deployment:{ONE}": 4, f"deployment:{TWO}": 4, f"deployment:{OFF}": 4,
        },
        aliases={"site": alias(TWO, 2), BRANCH: alias(TWO, 2)},
        pointed={"site": alias(TWO, 2), BRANCH: alias(TWO, 2)},
        sightings={ONE: Sighting("ready", [("ready", "2001", "b1")], (1, 1))},
        aliases_seen={
            "site": (AliasSeen(11, 9, 1, 1, ONE, False), AliasSeen(21, 20, 2, 2, TWO, False))
        },
        manifests={f"releases/{ONE}": manifest(ONE, "b1"), f"releases/{TWO}": manifest(TWO, "b2")},
        packs={f"packs/{ONE}": 10, f"packs/{TWO}": 10},
        pages={"site": Page(200, WORDS[B]), BRANCH: Page(200, WORDS[B])},
        told=(
            told(A, "pending", ONE), told(A, "success", ONE), told(A, "error", OFF),
            told(B, "success", TWO),
        ),
        exchanges=(
            Exchange("bot-0 github", "POST", f"/repos/acme/site/statuses/{A}", 10, 403, 10.1, 3),
            Exchange("bot-0 github", "POST", f"/repos/acme/site/statuses/{A}", 13.2, 201, 13.3),
        ),
        lives={"bot-0": ((1.0, float("inf")),)},
        ended=(Ended("worker-0.1", "term", 0, 1.0),),
        terms=(20.0,),
        stops=(Stop(OFF, 31, 32, 3),),
        returns=(Return("kill", 40, 1.0, 5.0), Return("silence", 40, None, 10.0)),
        probes=(Probe(12, "bot-0.1", "site", 200, WORDS[A], True, False),),
        done_in_logs={ONE: 1},
        given_back_in_logs={},
        log_spans=(LogSpan(ONE, "f1", 1, 2), LogSpan(ONE, "b1", 3, 4)),
    )  # fmt: skip


def test_a_quiet_day_has_no_violation() -> None:
    assert violations(a_quiet_day()) == []


def with_record(id_: str, **changes: str) -> Callable[[Evidence], Evidence]:
    def changed(day: Evidence) -> Evidence:
        records: dict[str, Hash] = dict(day.records)
        records[id_] = {**records.get(id_, {}), **changes}
        return replace(day, records=records)

    return changed


def put(field: str, **changes: Any) -> Callable[[Evidence], Evidence]:
    """Puts into one of the mappings."""

    def changed(day: Evidence) -> Evidence:
        before: Mapping[Any, Any] = getattr(day, field)
        fields: Any = {field: {**before, **changes}}
        return replace(day, **fields)

    return changed


def gone(field: str, key: Any) -> Callable[[Evidence], Evidence]:
    def changed(day: Evidence) -> Evidence:
        kept = {name: value for name, value in getattr(day, field).items() if name != key}
        fields: Any = {field: kept}
        return replace(day, **fields)

    return changed


def more(field: str, *added: Any) -> Callable[[Evidence], Evidence]:
    def changed(day: Evidence) -> Evidence:
        fields: Any = {field: (*getattr(day, field), *added)}
        return replace(day, **fields)

    return changed


def both(*changes: Callable[[Evidence], Evidence]) -> Callable[[Evidence], Evidence]:
    def changed(day: Evidence) -> Evidence:
        for change in changes:
            day = change(day)
        return day

    return changed


def seen(*aliases: AliasSeen) -> Callable[[Evidence], Evidence]:
    return put("aliases_seen", site=aliases)


def poisoned(status: str, **changes: str) -> Callable[[Evidence], Evidence]:
    """A poisoned push on a branch of its own that ended so."""
    id_, ref = "d" + "4" * 16, "refs/heads/lone-0"
    made = record(
        id_, P, 9, status, ref=ref, production="0", build_attempts="5", ended_at="9000", before=ZERO
    )
    return both(
        more("events", event("p", ZERO, P, 100, ref=ref, sort=Sort.POISON)),
        more("sent", sent("gp", "p", id_)),
        put("deliveries", gp=noted(id_)),
        with_record(id_, **{**made, **changes}),
        put("indexes", dead=(id_,), deliveries=("g1", "g2", "g3", "gp")),
        put("saved", **{f"deployment:{id_}": 4}),
        more("told", told(P, "error", id_)),
    )


def test_poison_that_dies_as_it_should_is_no_violation() -> None:
    assert violations(poisoned("errored")(a_quiet_day())) == []


def answered(status: int, **changes: Any) -> Callable[[Evidence], Evidence]:
    """One more POST of the first push, that was answered so."""

    def changed(day: Evidence) -> Evidence:
        post = replace(day.sent[0], status=status, deployment="", **changes)
        return replace(day, sent=(*day.sent, post))

    return changed


def on_record(**changes: Any) -> Callable[[Evidence], Evidence]:
    """The first deployment was seen so in the course of time."""
    return put("sightings", **{ONE: Sighting("ready", **changes)})


def post_of(sha: str, at: float) -> Exchange:
    return Exchange("bot-0 github", "POST", f"/repos/acme/site/statuses/{sha}", at, 201, at + 0.1)


SECOND_AS_FIRST = sent("g2", "b", ONE, at=20)
FORWARD, BACK = AliasSeen(21, 20, 2, 2, TWO, False), AliasSeen(21, 20, 6, 1, ONE, False)
FIRST_AT_FIVE, SECOND_AT_FIVE = (
    AliasSeen(11, 9, 5, 1, ONE, False),
    AliasSeen(11, 9, 5, 2, TWO, False),
)
TWO_ENDS = [("ready", "1", "b1"), ("ready", "2", "b2")]
REDEPLOYS = (
    Asked("redeploy", ONE, 1, 2, 202, {"id": "x"}),
    Asked("redeploy", ONE, 3, 4, 202, {"id": "y"}, 1),
)
EMPTY = msgspec.structs.replace(manifest(TWO, "b2"), contents={})
Change: TypeAlias = Callable[[Evidence], Evidence]

CASES: list[tuple[str, str, Change]] = [
    ("I1", "never acknowledged", more("events", event("c", B, A, 400))),
    ("I1", "nothing is noted", gone("deliveries", "g2")),
    ("I1", "there is no record", gone("records", TWO)),
    ("I1", "of something else", with_record(TWO, commit=A)),
    ("I1", "noted with another", put("deliveries", g2=noted(ONE))),
    ("I1", "several records", with_record("d" + "5" * 16, **record("x", A, 1))),
    ("I2", "longer than 60 s", lambda day: replace(day, settle_seconds=61.0)),
    ("I2", "never ends", with_record(ONE, status="building")),
    ("I2", "active is not empty", put("indexes", active=(ONE,))),
    ("I2", "unreported is not empty", put("indexes", unreported=(f"site:{A}",))),
    ("I2", "ref-open:x is not empty", put("indexes", **{"ref-open:x": (ONE,)})),
    ("I2", "stage of site:x is held", put("refs", **{"site:x": {"build": ONE}})),
    ("I2", "lasts for ever", more("unbounded", "storm:{build-queue}:log:x")),
    ("I3", "ended twice", on_record(ends=TWO_ENDS)),
    ("I3", "and went on", on_record(ends=TWO_ENDS[:1], left_end=["queued"])),
    ("I3", "attempts fell", on_record(falls=[(50.0, "2 → 1")])),
    ("I3", "by the logs", put("done_in_logs", **{ONE: 2})),
    ("I3", "more attempts", with_record(ONE, build_attempts="6")),
    ("I4", "not ready", with_record(TWO, status="failed")),
    ("I4", "a release of another", put("aliases", site=alias(TWO, 2, release="releases/x"))),
    ("I4", "what is not whole", gone("manifests", f"releases/{TWO}")),
    ("I5", "seq of site fell", seen(FIRST_AT_FIVE, FORWARD)),
    ("I5", "nobody had asked", seen(SECOND_AT_FIVE, BACK)),
    ("I5", "newest success", put("aliases", site=alias(ONE, 1))),
    ("I5", "never made", gone("aliases", "site")),
    ("I5", "has no deployment", lambda day: replace(day, heads={("acme/site", "x"): A})),
    ("I5", "ended as superseded", with_record(TWO, status="superseded")),
    ("I5", "ended as failed", with_record(TWO, status="failed")),
    ("I5", "ended as skipped", with_record(TWO, status="skipped")),
    ("I5", "ended as cancelled", lambda day: replace(day, asked=())),
    ("I5", "does not show the head", put("pages", site=Page(200, WORDS[A]))),
    ("I6", "another claim", put("manifests", **{f"releases/{TWO}": manifest(TWO, "late")})),
    ("I6", "something else than its release", put("pages", site=Page(503, ""))),
    (
        "I6",
        "wrote to its log",
        more("log_spans", LogSpan(TWO, "f2", 1, 9), LogSpan(TWO, "b2", 5, 8)),
    ),
    ("I7", "led to several", more("sent", sent("g1", "a", TWO, at=12))),
    ("I7", "taken for a repeat", lambda day: replace(day, sent=(*day.sent[:2], SECOND_AS_FIRST))),
    ("I7", "done twice", more("asked", *REDEPLOYS)),
    ("I8", "showed what was cancelled", seen(AliasSeen(11, 9, 3, 3, OFF, False))),
    ("I8", "it has a release", with_record(OFF, release="releases/x")),
    ("I8", "lived on", more("stops", Stop(OFF, 31, 40, 3))),
    ("I8", "lives at rest", more("living", OFF)),
    ("I9", "too early", poisoned("errored", build_attempts="4")),
    ("I9", "no dead letter", both(poisoned("errored"), put("indexes", dead=()))),
    ("I9", "ended as failed", poisoned("failed")),
    ("I9", "nothing else went live", poisoned("errored", ended_at="1500")),
    ("I10", "disagree", more("inconsistencies", f"{ONE} waits as ready")),
    ("I10", "still in active", put("indexes", active=(ONE,))),
    ("I11", "503 came late", answered(503, seconds=2.2, slack=0.1)),
    ("I11", "no answer within", answered(504)),
    ("I11", "answered 500", answered(500)),
    ("I11", "were not back", more("returns", Return("kill", 40, 5.1, 5.0))),
    ("I11", "stopped serving", more("probes", Probe(13, "bot-0.1", "site", 404, "", True, False))),
    ("I11", "ended by itself", more("ended", Ended("bot-0.1", "", 1, 0.0))),
    ("I12", "half a site", put("packs", **{f"packs/{ONE}": 9})),
    ("I12", "half a site", put("manifests", **{f"releases/{TWO}": EMPTY})),
    ("I13", "last status", lambda day: replace(day, told=day.told[:3])),
    ("I13", "last status", more("told", told(B, "failure", TWO))),
    ("I13", "older state after", more("told", told(A, "pending", ONE), told(A, "error", OFF))),
    ("I13", "older state after", more("told", told(B, "pending", TWO), told(B, "success", TWO))),
    ("I13", "too early", more("exchanges", post_of(B, 11))),
    ("I14", "counted all the same", put("given_back_in_logs", **{ONE: 1})),
    ("I14", "ended badly", more("ended", Ended("bot-0.1", "term", -15, 1.0))),
    ("I15", "to be seen", more("leaks", "api token in worker-0.1.log")),
    ("S14", "deployment is not saved", gone("saved", f"deployment:{ONE}")),
    ("S14", "project is not saved", put("saved", **{"project:site": 8})),
    ("S14", "alias is not saved", put("saved", **{"alias:site": 1})),
    ("S14", "saved as it is not", put("pointed", site=alias(ONE, 2))),
]


@pytest.mark.parametrize(
    ("invariant", "words", "change"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES]
)
def test_a_made_up_violation_is_seen(
    invariant: str, words: str, change: Callable[[Evidence], Evidence]
) -> None:
    found = list(CHECKS[invariant](change(a_quiet_day())))
    assert any(each.invariant == invariant and words in each.what for each in found), found


def test_every_invariant_has_a_made_up_violation() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)


def test_what_excuses_is_no_violation() -> None:
    day = a_quiet_day()
    excused = (
        more("asked", Asked("rollback", "site", 20.5, 20.9, 200)),
        more("asked", Asked("cancel", OFF, 32, 33, 202, {"deployment": {"id": OFF, "v": 2}}, 0)),
        seen(AliasSeen(11, 9, 5, 2, TWO, False), AliasSeen(21, 20, 6, 1, ONE, True)),
        put("aliases", site=alias(ONE, 6, deployment_seq="1", pinned="1")),
        put("pointed", site=alias(ONE, 6, deployment_seq="1", pinned="1")),
        put("saved", **{"alias:site": 6}),
        put("pages", site=Page(200, WORDS[A])),
        more("probes", Probe(13, "bot-0.1", "site", 503, "", True, True)),
        put("sightings", **{TWO: Sighting("ready", falls=[(21.0, "2 → 1")])}),
    )
    assert violations(both(*excused)(day)) == []
