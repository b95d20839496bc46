"""Looks on from outside while the storm goes on: Redis past all proxies, sites, processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

import httpx2
from redis.exceptions import RedisError

from bot.core import keys
from bot.core.deployment import ENDED, branch_label
from tests.chaos import processes
from tests.chaos.evidence import AliasSeen, Probe, Return, Sighting, Stop
from tests.chaos.fleet import LEASE_SECONDS, PREFIX, Fleet
from tests.chaos.metronome import beats

BASE = keys.base(f"{PREFIX}:")
_ENDS = frozenset(status.value for status in ENDED)
_FIELDS = (
    "status", "ended_at", "ended_claim", "fetch_attempts", "build_attempts", "stop", "project",
    "ref", "trigger", "error_code",
)  # fmt: skip
_CONSISTENT = """
-- Which ids are in an index that does not fit their status, or missing from one that does.
local base, found = ARGV[1], {}
local waiting = {received = true, queued = true}
local active = {fetching = true, building = true, publishing = true}
local function status(id) return redis.call('HGET', base .. 'deployment:' .. id, 'status') or '' end
for _, id in ipairs(redis.call('ZRANGE', base .. 'waiting', 0, -1)) do
  if not waiting[status(id)] then table.insert(found, id .. ' waits as ' .. status(id)) end
end
for _, id in ipairs(redis.call('ZRANGE', base .. 'active', 0, -1)) do
  if not active[status(id)] then table.insert(found, id .. ' is active as ' .. status(id)) end
end
for i = 2, #ARGV do
  local id, now = ARGV[i], status(ARGV[i])
  if waiting[now] and not redis.call('ZSCORE', base .. 'waiting', id) then
    table.insert(found, id .. ' is ' .. now .. ' and not among the waiting')
  end
  if active[now] and not redis.call('ZSCORE', base .. 'active', id) then
    table.insert(found, id .. ' is ' .. now .. ' and not among the active')
  end
end
return found
"""


@dataclass(slots=True)
class Watch:
    """What was seen so far. `follow` looks on until it is cancelled."""

    fleet: Fleet
    sightings: dict[str, Sighting] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    """Deployments that have not ended, as far as was seen."""
    ready: list[str] = field(default_factory=list)
    projects: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    """Production's and the branches' hosts."""
    aliases: dict[str, list[AliasSeen]] = field(default_factory=dict)
    inconsistencies: set[str] = field(default_factory=set)
    stops: dict[str, float] = field(default_factory=dict)
    stopped: list[Stop] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    leaks: set[str] = field(default_factory=set)
    lags: list[tuple[float, float]] = field(default_factory=list)
    builds: dict[str, list[int]] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)
    _seen_aliases_at: float = 0.0

    async def follow(self) -> None:
        """Looks on at all of it."""
        async with asyncio.TaskGroup() as together:
            together.create_task(self._hear())
            together.create_task(self._look())
            together.create_task(self._probe())
            together.create_task(self._watch_processes())
            together.create_task(self._watch_clock())

    @property
    def wrong(self) -> bool:
        """Whether anything was seen already that no time can mend."""
        twice = any(len(seen.ends) > 1 or seen.left_end for seen in self.sightings.values())
        return bool(self.inconsistencies or self.leaks or twice)

    def slack(self, began_at: float, ended_at: float) -> float:
        """How late the machine was at worst, about that time."""
        about = [lag for at, lag in self.lags if began_at - 1.5 <= at <= ended_at + 1.5]
        return max(about, default=0.0)

    async def until_back(self, kind: str, limit: float) -> Return:
        """How long after this moment a worker takes or holds a build again."""
        at = time.time()
        redis = self.fleet.direct_redis()
        try:
            first: tuple[set[str], set[str]] | None = None
            while time.time() < at + 2 * limit:
                with suppress(RedisError, OSError):
                    listed, held = await _building(cast(Any, redis), (at + LEASE_SECONDS) * 1000)
                    if first is None and (listed or held):
                        first = listed, held
                    if held or (first is not None and first[0] - listed):
                        return Return(kind, at, time.time() - at, self._limit(at, limit))
                await asyncio.sleep(0.1)
            seconds = time.time() - at if first is not None else None
            return Return(kind, at, seconds, self._limit(at, limit))
        finally:
            await redis.aclose()

    def _limit(self, at: float, limit: float) -> float:
        """The limit, with what else was wrong at the time: it counts from when a worker was up."""
        now = time.time()
        weather = self.fleet.weather
        again = weather.between(at, now, "redis down", "redis silent")
        up_at = max((spell.ended_at for spell in again if spell.ended_at < now), default=at)
        for slot in self.fleet.workers:
            out = weather.between(up_at, now, "frozen", "down", "partition", where=slot.name)
            if not out:
                return up_at - at + limit + self.slack(at, now)
        return float("inf")

    async def _hear(self) -> None:
        redis = cast(Any, self.fleet.direct_redis())
        while _goes_on():
            try:
                async with redis.pubsub() as hearing:
                    await hearing.subscribe(f"{PREFIX}:{keys.CHANGED}")
                    while _goes_on():
                        message = await hearing.get_message(timeout=1)
                        if message and message["type"] == "message":
                            kind, _, name = message["data"].partition(":")
                            if kind == "deployment":
                                self._changed.add(name)
            except (RedisError, OSError):
                await asyncio.sleep(0.1)

    async def _look(self) -> None:
        redis = cast(Any, self.fleet.direct_redis())
        beat = 0
        while _goes_on():
            await asyncio.sleep(0.25)
            changed, self._changed = self._changed, set()
            try:
                await self._read(redis, sorted(changed))
                await self._read_aliases(redis)
                beat += 1
                if beat % 4 == 0:
                    found = await redis.eval(_CONSISTENT, 0, BASE, *sorted(self.open))
                    self.inconsistencies |= set(found)
                    # What was said while nobody could hear it.
                    active = await redis.zrange(f"{BASE}active", 0, -1)
                    waiting = await redis.zrange(f"{BASE}waiting", 0, -1)
                    self._changed |= {*active, *waiting, *self.open}
            except (RedisError, OSError):
                self._changed |= changed

    async def _read(self, redis: Any, ids: Sequence[str]) -> None:
        pipe = redis.pipeline(transaction=False)
        for id_ in ids:
            pipe.hmget(f"{BASE}deployment:{id_}", _FIELDS)
        for id_, found in zip(ids, await pipe.execute() if ids else (), strict=True):
            if found[0] is not None:
                self._see(id_, dict(zip(_FIELDS, (word or "" for word in found), strict=True)))

    def _see(self, id_: str, found: dict[str, str]) -> None:
        seen = self.sightings.setdefault(id_, Sighting())
        status = found["status"]
        attempts = (int(found["fetch_attempts"] or 0), int(found["build_attempts"] or 0))
        fell = attempts[0] < seen.attempts[0] or attempts[1] < seen.attempts[1]
        # What waits for its project's other fetches counts no attempt.
        if fell and found["error_code"] != "project_busy":
            seen.falls.append((time.time(), f"{seen.attempts} → {attempts}"))
        if seen.ends and status not in _ENDS:
            seen.left_end.append(status)
        seen.status, seen.attempts = status, attempts
        self.projects.add(found["project"])
        self.labels.add(found["project"])
        if found["ref"].startswith("refs/heads/"):
            branch = found["ref"].removeprefix("refs/heads/")
            self.labels.add(branch_label(branch, found["project"]))
        if status in _ENDS:
            end = (status, found["ended_at"], found["ended_claim"])
            if end not in seen.ends:
                seen.ends.append(end)
                if status == "ready":
                    self.ready.append(id_)
            self.open.discard(id_)
        else:
            self.open.add(id_)
            if found["stop"]:
                self.stops.setdefault(id_, time.time())

    async def _read_aliases(self, redis: Any) -> None:
        labels = sorted(self.labels)
        pipe = redis.pipeline(transaction=False)
        for label in labels:
            pipe.hmget(f"{BASE}alias:{label}", "seq", "deployment_seq", "deployment", "pinned")
        found = await pipe.execute() if labels else ()
        now, before = time.time(), self._seen_aliases_at
        for label, (seq, of, deployment, pinned) in zip(labels, found, strict=True):
            if seq is None:
                continue
            seen = AliasSeen(now, before, int(seq), int(of), deployment, pinned == "1")
            known = self.aliases.setdefault(label, [])
            if not known or (known[-1].seq, known[-1].deployment) != (seen.seq, seen.deployment):
                known.append(seen)
        self._seen_aliases_at = now

    async def _probe(self) -> None:
        random, warm = Random(), set[tuple[str, str]]()
        while True:
            await asyncio.sleep(0.2)
            shown = sorted(self.projects & set(self.aliases))
            slots = [slot for slot in self.fleet.bots if slot.up and slot.life]
            if not shown or not slots:
                continue
            slot, label = random.choice(slots), random.choice(shown)
            life = slot.life
            assert life is not None
            at, status, words = time.time(), 0, ""
            with suppress(httpx2.HTTPError):
                answer = await self.fleet.page(label, port=slot.port)
                status, words = answer.status_code, answer.text[:200]
            link = self.fleet.links[slot.name]["s3"]
            ill = self.fleet.weather.between(at, time.time(), "frozen", where=slot.name)
            excused = bool(ill or life.asked_at or life.ended_at) or link.faulty_until > at
            key = (life.name, label)
            away = self.fleet.weather.between(at, at, "redis down", "redis silent")
            self.probes.append(
                Probe(at, life.name, label, status, words, key in warm, excused, bool(away))
            )
            if status == 200:
                warm.add(key)

    async def _watch_processes(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(0.4)
            self.builds = await asyncio.to_thread(processes.builds)
            for id_, asked_at in list(self.stops.items()):
                if id_ not in self.builds:
                    self._gone(id_, asked_at, time.time())
            beat += 1
            if beat % 3 == 0:
                secrets = self.fleet.secrets
                self.leaks |= await asyncio.to_thread(processes.argv_leaks, secrets)

    def still_living(self) -> None:
        """At rest: what was asked to stop and still lives never went."""
        for id_, asked_at in list(self.stops.items()):
            self._gone(id_, asked_at, float("inf"))

    def _gone(self, id_: str, asked_at: float, gone_at: float) -> None:
        del self.stops[id_]
        until = min(gone_at, time.time())
        weather = self.fleet.weather
        # A worker that is frozen, killed or cut off hears of it after that.
        spells = weather.between(
            asked_at - LEASE_SECONDS, until,
            "frozen", "down", "partition", "redis down", "redis silent", "redis cut",
        )  # fmt: skip
        since = max((min(spell.ended_at, until) for spell in spells), default=asked_at)
        slack = self.slack(asked_at, until) + 0.4
        limit = max(since - asked_at, 0) + LEASE_SECONDS / 3 + 2 + slack
        self.stopped.append(Stop(id_, asked_at, gone_at, limit))

    async def _watch_clock(self) -> None:
        async for late in beats():
            self.lags.append((time.time(), late))


def _goes_on() -> bool:
    """Whether nobody has cancelled this task.

    redis-py sends by asyncio.wait_for, which before Python 3.12 loses a cancellation at times:
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


async def _building(redis: Any, later_than: float) -> tuple[set[str], set[str]]:
    """The ids in the build lists, and those that a worker holds by a lease of after that time."""
    pipe = redis.pipeline(transaction=True)
    pipe.lrange(f"{BASE}high", 0, -1)
    pipe.lrange(f"{PREFIX}:{keys.QUEUE}", 0, -1)
    pipe.zrangebyscore(f"{BASE}active", later_than, "+inf")
    high, normal, active = await pipe.execute()
    pipe = redis.pipeline(transaction=False)
    for id_ in active:
        pipe.hget(f"{BASE}deployment:{id_}", "status")
    statuses = await pipe.execute() if active else []
    held = {id_ for id_, status in zip(active, statuses, strict=True) if status != "fetching"}
    return {*high, *normal}, held
