"""What becomes of each object, by what the ledger knows and by what the manifests name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.collector import verdicts
from bot.collector.retention import DAY_MS
from bot.collector.verdicts import Known, Verdict
from bot.core import release
from bot.core.bucket import Entry
from bot.core.deployment import Status
from bot.core.ledger import Trace

NOW = 1_790_000_000_000
HOUR = 3_600_000
ID, OTHER = "d0123456789abcdef", "d0000000000000000"
CLAIM, FENCED = "a" * 16, "b" * 16
MANIFEST = release.manifest_name("7", ID, CLAIM)
PACK = release.pack_name("7", ID, CLAIM)
LOG = release.log_name("7", ID, CLAIM)
SOURCE = f"sources/7/{'c' * 64}.tar.zst"


def a_trace(status: Status = Status.READY, **more: object) -> Trace:
    fields: dict[str, object] = {
        "id": ID,
        "status": status,
        "repository": "acme/site",
        "repository_id": 7,
        "ref": "refs/heads/main",
        "seq": 1,
        "claim": CLAIM if status in (Status.BUILDING, Status.PUBLISHING) else "",
        "source": SOURCE,
        "release": MANIFEST if status is Status.READY else "",
        "ended_at": NOW - 20 * DAY_MS,
    }
    return Trace(**{**fields, **more})  # type: ignore[arg-type]


def known(*traces: Trace, going: bool = False, **more: object) -> Known:
    found = Known(
        traces={trace.id: trace for trace in traces},
        going={ID} if going else set(),
        old=NOW - 2 * HOUR,
        recent=NOW - 14 * DAY_MS,
        quiet=NOW,
        now=NOW,
    )
    return replace(found, **more)  # type: ignore[arg-type]


def an_entry(name: str, *, hours_ago: float = 20 * 24) -> Entry:
    return Entry(name, 1000, NOW - int(hours_ago * HOUR))


@pytest.mark.parametrize(
    ("trace", "going", "verdict"),
    [
        (a_trace(), False, Verdict.KEEP),
        (a_trace(), True, Verdict.REMOVE),
        (a_trace(Status.PUBLISHING), False, Verdict.KEEP),
        (a_trace(Status.PUBLISHING, claim=FENCED), False, Verdict.REMOVE),
        (a_trace(Status.QUEUED), False, Verdict.REMOVE),
        (a_trace(Status.FAILED), False, Verdict.REMOVE),
        (a_trace(release=release.manifest_name("7", ID, FENCED)), False, Verdict.REMOVE),
        (a_trace(id=OTHER), False, Verdict.UNKNOWN),
    ],
    ids=lambda value: getattr(value, "status", value),
)
def test_a_manifest_stays_while_its_release_is_kept_or_its_claim_may_still_be_accepted(
    trace: Trace, going: bool, verdict: Verdict
) -> None:
    assert verdicts.of_manifest(an_entry(MANIFEST), known(trace, going=going)) is verdict


def test_what_a_fenced_claim_wrote_just_now_is_not_judged_yet() -> None:
    fenced = known(a_trace(Status.FAILED))
    for name, judge in ((MANIFEST, verdicts.of_manifest), (PACK, verdicts.of_pack)):
        assert judge(an_entry(name, hours_ago=1), fenced) is Verdict.KEEP
        assert judge(an_entry(name, hours_ago=3), fenced) is Verdict.REMOVE


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (known(a_trace(), named={PACK}), Verdict.KEEP),
        (known(a_trace(), named={PACK}, left={PACK}, condemned={PACK: 1}), Verdict.KEEP),
        (known(a_trace(), going=True), Verdict.REMOVE),
        (known(a_trace(Status.BUILDING)), Verdict.KEEP),
        (known(a_trace(Status.BUILDING), condemned={PACK: 1}), Verdict.KEEP),
        (known(), Verdict.UNKNOWN),
        (known(left={PACK}), Verdict.REMOVE),
        (known(condemned={PACK: 1}), Verdict.REMOVE),
        (known(a_trace(), going=True, named=None), Verdict.UNKNOWN),
    ],
)
def test_a_pack_goes_with_the_last_manifest_that_names_it(facts: Known, verdict: Verdict) -> None:
    assert verdicts.of_pack(an_entry(PACK), facts) is verdict


@pytest.mark.parametrize(
    ("facts", "days_ago", "verdict"),
    [
        (known(a_trace()), 300, Verdict.KEEP),
        (known(a_trace(), going=True), 300, Verdict.REMOVE),
        (known(a_trace(Status.BUILDING)), 300, Verdict.KEEP),
        (known(a_trace(Status.FAILED)), 20, Verdict.REMOVE),
        (known(a_trace(Status.FAILED, ended_at=NOW - 13 * DAY_MS)), 20, Verdict.KEEP),
        (known(), 30, Verdict.UNKNOWN),
        (known(), 32, Verdict.REMOVE),
        (known(undecided={ID}), 32, Verdict.UNKNOWN),
    ],
)
def test_a_log_stays_as_long_as_its_release_or_the_days_of_the_retention(
    facts: Known, days_ago: int, verdict: Verdict
) -> None:
    assert verdicts.of_log(an_entry(LOG, hours_ago=24 * days_ago), facts) is verdict


@pytest.mark.parametrize(
    ("trace", "days_ago", "verdict"),
    [
        (a_trace(), 20, Verdict.REMOVE),
        (a_trace(), 13, Verdict.KEEP),
        (a_trace(ended_at=NOW - 13 * DAY_MS), 20, Verdict.KEEP),
        (a_trace(Status.QUEUED), 20, Verdict.KEEP),
        (a_trace(Status.BUILDING), 20, Verdict.KEEP),
        (a_trace(source=""), 20, Verdict.REMOVE),
    ],
)
def test_a_source_stays_while_it_is_needed_and_the_days_of_the_retention_after(
    trace: Trace, days_ago: int, verdict: Verdict
) -> None:
    facts = known(trace)
    facts = replace(facts, in_use=verdicts.in_use(facts.traces, recent=facts.recent))
    assert verdicts.of_source(an_entry(SOURCE, hours_ago=24 * days_ago), facts) is verdict


@pytest.mark.parametrize(
    "name",
    [
        "packs/7/readme.txt",
        f"packs/7/{ID}.pack",
        f"packs/7/{ID}-{CLAIM}.pack.part",
        f"packs/7/x/{ID}-{CLAIM}.pack",
        f"packs/7/{ID.upper()}-{CLAIM}.pack",
    ],
)
def test_what_bears_no_name_of_ours_is_left_alone(name: str) -> None:
    facts = known(a_trace(), going=True)
    judges = (verdicts.of_manifest, verdicts.of_pack, verdicts.of_log, verdicts.of_source)
    for judge in judges:
        assert judge(an_entry(name, hours_ago=10_000), facts) is Verdict.UNKNOWN


IDS = st.sampled_from([f"d{n:016}" for n in range(6)])
CLAIMS = st.sampled_from([f"{n:016x}" for n in range(3)])
NAMES = st.builds(release.pack_name, st.just("7"), IDS, CLAIMS)
AGES = st.integers(0, 90 * 24)
TRACES = st.lists(
    st.builds(
        lambda id_, status, claim: a_trace(
            status, id=id_, claim=claim, release=release.manifest_name("7", id_, claim)
        ),
        IDS,
        st.sampled_from(Status),
        CLAIMS,
    ),
    unique_by=lambda trace: trace.id,
)


@given(TRACES, st.sets(IDS), st.sets(NAMES), st.sets(NAMES), st.sets(NAMES), NAMES, AGES)
def test_no_pack_goes_that_is_named_or_that_a_running_claim_wrote(
    traces: list[Trace],
    going: set[str],
    named: set[str],
    left: set[str],
    condemned: set[str],
    name: str,
    hours: int,
) -> None:
    facts = known(*traces, named=named, left=left, condemned=dict.fromkeys(condemned, 1))
    facts = replace(facts, going=going)
    verdict = verdicts.of_pack(an_entry(name, hours_ago=hours), facts)
    owner = verdicts.owner_of(name)
    assert owner is not None
    trace = facts.traces.get(owner.deployment)
    running = trace is not None and not trace.ended and trace.claim == owner.claim
    if name in named or running:
        assert verdict is Verdict.KEEP
    if verdict is Verdict.UNKNOWN:
        assert trace is None


@given(st.sets(NAMES), NAMES, AGES)
def test_a_ledger_that_knows_nothing_takes_no_manifest_and_no_pack(
    named: set[str], name: str, hours: int
) -> None:
    empty = known(named=named)
    assert verdicts.of_pack(an_entry(name, hours_ago=hours), empty) is not Verdict.REMOVE
    manifest = name.replace("packs/", "releases/").replace(".pack", ".json")
    assert verdicts.of_manifest(an_entry(manifest, hours_ago=hours), empty) is Verdict.UNKNOWN
