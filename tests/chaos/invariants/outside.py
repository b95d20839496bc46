"""What must hold towards the outside: outages, GitHub's statuses, ending on request, secrets."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.evidence import Evidence, Hash, Told, Violation
from tests.chaos.proxy import Exchange

REFUSED_SECONDS = 2.0
_UNDER_WAY_SECONDS = 0.3
"""Requests that began before a limit's answer had arrived."""
_NAMED = re.compile(r"\bd[0-9a-hjkmnp-tv-z]{16}\b")
_STATES = {
    "ready": "success",
    "skipped": "success",
    "superseded": "success",
    "failed": "failure",
    "errored": "error",
    "cancelled": "error",
}


def redis_away_is_said_soon_and_is_got_over(evidence: Evidence) -> Iterator[Violation]:
    """I11: Redis away: 503 within 2 s, workers back soon after its return, the gateway serves."""
    for sent in evidence.sent:
        late = sent.seconds > REFUSED_SECONDS + sent.slack
        if sent.status == 503 and late and not sent.excused:
            seconds = f"{sent.seconds:.2f} s, the machine late by {sent.slack:.2f}"
            yield Violation("I11", "503 came late", (sent.guid,), seconds)
        if sent.status == 504 and not sent.excused:
            yield Violation("I11", "a delivery got no answer within 10 s", (sent.guid,))
        if sent.status not in (502, 503, 504) and not sent.taken:
            yield Violation("I11", f"a delivery was answered {sent.status}", (sent.guid,))
    for back in evidence.returns:
        if back.seconds is not None and back.seconds > back.limit:
            what = f"after a {back.kind} of Redis the workers were not back in time"
            yield Violation("I11", what, (), f"{back.seconds:.1f} s of {back.limit:.1f}")
    for probe in evidence.probes:
        if probe.warm and probe.status != 200 and not probe.excused:
            what = f"the gateway stopped serving {probe.label}"
            yield Violation("I11", what, (probe.life,), f"{probe.status} {probe.words[:100]}")
    for ended in evidence.ended:
        if not ended.how:
            what = "a process ended by itself"
            yield Violation("I11", what, (ended.life,), f"exit code {ended.exit_code}")


def github_is_told_in_order_in_time_and_to_the_end(evidence: Evidence) -> Iterator[Violation]:
    """I13: the last status arrives, no call comes before its time, none out of order."""
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for id_, record in evidence.records.items():
        if record.get("commit"):
            key = (record["commit"], f"pushlane/{record['project']}")
            newest[key] = max(newest.get(key, (-1, "")), (int(record["seq"]), id_))
    told: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for status in evidence.told:
        told[status.sha, status.context].append(status)
    for key, (_, id_) in newest.items():
        record = evidence.records[id_]
        last = told[key][-1] if told[key] else None
        right = _STATES.get(record["status"])
        if last is None or last.state != right or _named(last) != id_:
            what = f"the last status of {key[0]} is not that of its newest deployment"
            yield Violation("I13", what, (id_,), f"{record['status']}, told {last}")
    for statuses in told.values():
        yield from _out_of_order(evidence, statuses)
    yield from _before_their_time(evidence)


def _named(status: Told) -> str:
    """The deployment to which a status leads."""
    found = _NAMED.search(status.target_url)
    return found[0] if found else ""


def _out_of_order(evidence: Evidence, statuses: list[Told]) -> Iterator[Violation]:
    place = (-1, False)
    for status in statuses:
        id_ = _named(status)
        record: Hash = evidence.records.get(id_, {})
        now = (int(record.get("seq", "-1")), status.state != "pending")
        if now < place:
            what = "GitHub was told an older state after a newer one"
            yield Violation("I13", what, (id_,), f"{[each.description for each in statuses]}")
        place = max(place, now)


def _before_their_time(evidence: Evidence) -> Iterator[Violation]:
    """Posts of the same process, made while a limit that it was told of went on."""
    by_link: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in evidence.exchanges:
        if exchange.method == "POST" and "/statuses/" in exchange.path:
            by_link[exchange.link].append(exchange)
    for link, exchanges in by_link.items():
        lives = evidence.lives.get(link.partition(" ")[0], ())
        until, told_at = 0.0, 0.0
        for exchange in sorted(exchanges, key=lambda each: each.began_at):
            reborn = any(told_at < began <= exchange.began_at for began, _ in lives)
            known = not reborn and exchange.began_at > told_at + _UNDER_WAY_SECONDS
            if known and exchange.began_at < until:
                early = f"{until - exchange.began_at:.2f} s before its time"
                yield Violation("I13", "GitHub was asked again too early", (link,), early)
            if exchange.status in (403, 429) and exchange.retry_after:
                told_at = exchange.answered_at
                until = max(until, told_at + exchange.retry_after)


def ending_on_request_costs_no_attempt(evidence: Evidence) -> Iterator[Violation]:
    """I14: SIGTERM consumes no attempt, and the process ends well."""
    for id_, count in evidence.given_back_in_logs.items():
        record = evidence.records.get(id_)
        if record is None:
            continue
        claims = len([claim for claim in record.get("claims", "").split(",") if claim])
        attempts = int(record.get("fetch_attempts", "0")) + int(record.get("build_attempts", "0"))
        if attempts + count > claims:
            what = "given back, and the attempt was counted all the same"
            yield Violation("I14", what, (id_,), f"{claims} claims, {attempts} attempts, {count}")
    for ended in evidence.ended:
        if ended.how == "term" and ended.exit_code != 0:
            what = "told to end, it ended badly"
            yield Violation("I14", what, (ended.life,), f"exit code {ended.exit_code}")


def no_secret_is_seen(evidence: Evidence) -> Iterator[Violation]:
    """I15: no secret in a record, a log, an argv or a status."""
    for leak in evidence.leaks:
        yield Violation("I15", "a secret is to be seen", (), leak)
