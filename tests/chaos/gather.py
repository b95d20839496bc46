"""Gathers, at rest, what the invariants are judged on: Redis, the bucket, sites, statuses, logs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, cast

from bot.core import keys
from tests.chaos import processes, stored
from tests.chaos.evidence import Ended, Event, Evidence, Hash, LogSpan, Page, Sent, Told
from tests.chaos.faults import Faults
from tests.chaos.fleet import LEASE_SECONDS, MAX_ATTEMPTS, PREFIX, Fleet
from tests.chaos.post import REAL, logs_of
from tests.chaos.watch import BASE, Watch
from tests.chaos.wishes import Wishes
from tests.chaos.world import World, marker
from tests.standin import ZERO, Delivery

_LISTS: Final = ("high", "fetch", "dead")
_SETS: Final = ("waiting", "active", "delayed", "rung", "unreported", "unsaved", "deliveries")
_EMPTY: Final = ("ref-open:", "project-waiting:")
_DONE: Final = re.compile(
    r"done deployment=(\S+) .*?status=(ready|failed|errored|cancelled|superseded|skipped)\b"
)
_GIVEN_BACK: Final = re.compile(r" info +given back deployment=(\S+)")


async def gather(
    fleet: Fleet,
    world: World,
    watch: Watch,
    wishes: Wishes,
    faults: Faults,
    *,
    settle_seconds: float,
) -> Evidence:
    """Reads everything. The bots must serve; nothing else may be going on."""
    watch.still_living()
    keys_ = [key async for key in _keys(fleet)]
    hashes = await _hashes(fleet, keys_)
    records = _below(hashes, "deployment:")
    aliases = _below(hashes, "alias:")
    held = await stored.read(fleet, records)
    spans = await _log_spans(fleet, records)
    done, given_back = _from_logs(fleet.directory)
    leaks = {*watch.leaks, *await _leaks(fleet, keys_, hashes, held.texts)}
    markers = {commit.sha: commit.marker for commit in world.commits.values()}
    markers |= _real_markers(fleet)
    return Evidence(
        lease_seconds=LEASE_SECONDS,
        max_attempts=MAX_ATTEMPTS,
        settle_seconds=settle_seconds,
        events=events_of(fleet.github.deliveries, world),
        sent=tuple(sent_of(delivery, fleet, watch) for delivery in fleet.github.deliveries),
        asked=tuple(wishes.asked),
        records=records,
        deliveries=_below(hashes, "delivery:"),
        projects=_below(hashes, "project:"),
        unbounded=await _unbounded(fleet, keys_),
        sorts={commit.sha: commit.sort for commit in world.commits.values()},
        indexes=await _indexes(fleet, keys_),
        refs=_below(hashes, "ref:"),
        heads=world.heads(),
        markers=markers,
        aliases=aliases,
        sightings=watch.sightings,
        aliases_seen={label: tuple(seen) for label, seen in watch.aliases.items()},
        manifests=held.manifests,
        packs=held.packs,
        saved=held.saved,
        pointed=held.pointed,
        pages=await _pages(fleet, watch.labels),
        told=tuple(
            Told(each.sha, each.context, each.state, each.description or "", each.target_url or "")
            for each in fleet.github.statuses()
        ),
        exchanges=tuple(
            exchange
            for links in fleet.links.values()
            if "github" in links
            for exchange in links["github"].exchanges
        ),
        lives={
            slot.name: tuple((life.began_at, life.ended_at or float("inf")) for life in slot.lives)
            for slot in fleet.slots
        },
        ended=tuple(_ended(fleet)),
        terms=tuple(life.told_at for slot in fleet.slots for life in slot.lives if life.told_at),
        stops=tuple(watch.stopped),
        returns=tuple(faults.returns),
        probes=tuple(watch.probes),
        inconsistencies=tuple(sorted(watch.inconsistencies)),
        done_in_logs=done,
        given_back_in_logs=given_back,
        log_spans=tuple(spans),
        living=tuple(sorted(set(processes.builds()) & set(records))),
        leaks=tuple(sorted(leaks)),
    )


def events_of(deliveries: Iterable[Delivery], world: World) -> tuple[Event, ...]:
    """Each different body that was delivered, in GitHub's order."""
    found: dict[str, Event] = {}
    for delivery in deliveries:
        if delivery.event != "push":
            continue
        body, payload = hashlib.sha256(delivery.body).hexdigest(), delivery.payload
        commit = world.commits.get(payload["after"])
        pushed_at = int(payload["repository"]["pushed_at"])
        # Real pushes of one second came in their order: the stand-in tells of one after another.
        found.setdefault(
            body,
            Event(
                body=body,
                repository=payload["repository"]["full_name"],
                ref=payload["ref"],
                before=payload["before"],
                after=payload["after"],
                pushed_at=pushed_at,
                order=(pushed_at, int(payload.get("storm", delivery.id))),
                sort=commit.sort if commit else None,
            ),
        )
    return tuple(sorted(found.values(), key=lambda event: event.order))


def sent_of(delivery: Delivery, fleet: Fleet, watch: Watch) -> Sent:
    """One POST, with its answer and what excuses it."""
    began_at, ended_at = delivery.delivered_at, delivery.delivered_at + delivery.duration
    id_ = ""
    if delivery.status_code == 202:
        id_ = str(delivery.answer["deployment"])
    about = [
        life
        for slot in fleet.bots
        for life in slot.lives
        if (life.asked_at and life.asked_at < ended_at + 0.5)
        and (not life.ended_at or life.ended_at > began_at - 0.5)
    ]
    ill = fleet.weather.between(began_at - 0.5, ended_at + 0.5, "frozen", "down", "front")
    on_bots = {slot.name for slot in fleet.bots}
    return Sent(
        guid=delivery.guid,
        body=hashlib.sha256(delivery.body).hexdigest(),
        began_at=began_at,
        seconds=delivery.duration,
        status=delivery.status_code,
        deployment=id_,
        slack=watch.slack(began_at, ended_at),
        excused=bool(about) or any(not s.where or s.where in on_bots for s in ill),
    )


def _real_markers(fleet: Fleet) -> dict[str, str]:
    """The pages of what git itself pushed: each message ends in the number of its page."""
    found = {}
    for delivery in fleet.github.deliveries:
        payload = delivery.payload
        name = payload["repository"]["full_name"]
        if name in REAL and payload["after"] != ZERO:
            number = int(payload["head_commit"]["message"].split()[-1])
            found[payload["after"]] = marker(name, number)
    return found


async def _keys(fleet: Fleet) -> AsyncIterator[str]:
    redis = fleet.direct_redis()
    try:
        async for key in redis.scan_iter(count=1000):
            yield str(key)
    finally:
        await redis.aclose()


async def _unbounded(fleet: Fleet, keys_: Iterable[str]) -> tuple[str, ...]:
    """The keys that have neither a TTL nor a place among the permanent ones; records aside."""
    wanted = [
        key
        for key in keys_
        if not key.removeprefix(BASE)
        .removeprefix(f"{PREFIX}:")
        .startswith((*keys.PERMANENT, "deployment:"))
    ]
    redis = cast(Any, fleet.direct_redis())
    try:
        pipe = redis.pipeline(transaction=False)
        for key in wanted:
            pipe.ttl(key)
        lives = await pipe.execute() if wanted else ()
    finally:
        await redis.aclose()
    return tuple(key for key, seconds in zip(wanted, lives, strict=True) if seconds == -1)


async def _hashes(fleet: Fleet, keys_: Iterable[str]) -> dict[str, Hash]:
    """Every hash, by its key without the base."""
    redis = cast(Any, fleet.direct_redis())
    wanted = [key for key in keys_ if key.startswith(BASE)]
    found: dict[str, Hash] = {}
    try:
        for start in range(0, len(wanted), 1000):
            part = wanted[start : start + 1000]
            pipe = redis.pipeline(transaction=False)
            for key in part:
                pipe.type(key)
            kinds = await pipe.execute()
            part = [key for key, kind in zip(part, kinds, strict=True) if kind == "hash"]
            pipe = redis.pipeline(transaction=False)
            for key in part:
                pipe.hgetall(key)
            for key, fields in zip(part, await pipe.execute() if part else (), strict=True):
                found[key.removeprefix(BASE)] = fields
    finally:
        await redis.aclose()
    return found


def _below(hashes: Mapping[str, Hash], prefix: str) -> dict[str, Hash]:
    return {
        name.removeprefix(prefix): fields
        for name, fields in hashes.items()
        if name.startswith(prefix)
    }


async def _indexes(fleet: Fleet, keys_: Iterable[str]) -> dict[str, tuple[str, ...]]:
    redis = cast(Any, fleet.direct_redis())
    try:
        found = {name: tuple(await redis.lrange(BASE + name, 0, -1)) for name in _LISTS}
        found["build-queue"] = tuple(await redis.lrange(f"{PREFIX}:build-queue", 0, -1))
        for name in _SETS:
            found[name] = tuple(await redis.zrange(BASE + name, 0, -1))
        for key in keys_:
            name = key.removeprefix(BASE)
            if name.startswith(_EMPTY):
                found[name] = tuple(await redis.zrange(key, 0, -1))
    finally:
        await redis.aclose()
    return found


async def _log_spans(fleet: Fleet, records: Mapping[str, Hash]) -> list[LogSpan]:
    redis = cast(Any, fleet.direct_redis())
    wanted = [
        (id_, claim)
        for id_, record in records.items()
        for claim in record.get("claims", "").split(",")
        if claim
    ]
    found = []
    try:
        pipe = redis.pipeline(transaction=False)
        for id_, claim in wanted:
            pipe.xrange(f"{BASE}log:{id_}:{claim}", count=1)
            pipe.xrevrange(f"{BASE}log:{id_}:{claim}", count=1)
        answers = await pipe.execute() if wanted else []
        for place, (id_, claim) in enumerate(wanted):
            first, last = answers[2 * place], answers[2 * place + 1]
            if first and last:
                span = (int(entry[0][0].partition("-")[0]) for entry in (first, last))
                found.append(LogSpan(id_, claim, *span))
    finally:
        await redis.aclose()
    return found


async def _pages(fleet: Fleet, labels: Iterable[str]) -> dict[str, Page]:
    found = {}
    for label in sorted(labels):
        answer = await fleet.page(label)
        found[label] = Page(answer.status_code, answer.text)
    return found


def _ended(fleet: Fleet) -> Iterable[Ended]:
    for slot in fleet.slots:
        for life in slot.lives:
            if life.ended_at and life.ended_by != "kill":
                # One that was told before it was up has no handler yet.
                asked = life.ended_by if life.up_at and life.asked_at > life.up_at else "early"
                how = asked if life.ended_by else ""
                seconds = life.ended_at - (life.asked_at or life.ended_at)
                yield Ended(life.name, how, life.exit_code, seconds)


def _from_logs(directory: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each deployment was said to have ended, and to have been given back."""
    done, given_back = Counter[str](), Counter[str]()
    for path in logs_of(directory):
        text = path.read_text(errors="replace")
        done.update(found[0] for found in _DONE.findall(text))
        given_back.update(_GIVEN_BACK.findall(text))
    return done, given_back


async def _leaks(
    fleet: Fleet,
    keys_: Iterable[str],
    hashes: Mapping[str, Hash],
    texts: Iterable[tuple[str, str]],
) -> set[str]:
    """Where which secret is to be seen."""
    found = set[str]()

    def look(where: str, text: str) -> None:
        found.update(f"{name} in {where}" for name, word in fleet.secrets.items() if word in text)

    for name, fields in hashes.items():
        look(f"the hash {name}", "\n".join(fields.values()))
    redis = cast(Any, fleet.direct_redis())
    try:
        for key in keys_:
            if ":log:" in key:
                lines = await redis.xrange(key)
                look(key, "\n".join(fields.get("line", "") for _, fields in lines))
    finally:
        await redis.aclose()
    for name, text in texts:
        look(name, text)
    for path in logs_of(fleet.directory):
        look(path.name, path.read_text(errors="replace"))
    for status in fleet.github.statuses():
        look("a status", f"{status.description} {status.target_url}")
    return found
