"""Does what the plan says is to go wrong, and counts what it met."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos import processes
from tests.chaos.evidence import Return
from tests.chaos.fleet import LEASE_SECONDS, Fleet
from tests.chaos.plan import Fault
from tests.chaos.proxy import Proxy
from tests.chaos.slots import Slot
from tests.chaos.watch import Watch
from tests.chaos.world import UNFETCHABLE
from tests.standin.faults import Fault as Ordered

BACK_SECONDS: Final = 5.0
BACK_FROM_SILENCE_SECONDS: Final = 10.0
_FIND_SECONDS: Final = 3.0
_MANY: Final = 1000


@dataclass(slots=True)
class Faults:
    """The hands of the storm."""

    fleet: Fleet
    watch: Watch
    poisoned: set[str] = field(default_factory=set)
    """Deployments whose worker is killed whenever they are built."""
    counts: Counter[str] = field(default_factory=Counter)
    returns: list[Return] = field(default_factory=list)
    ordered: list[Ordered] = field(default_factory=list)
    _redis: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def do(self, fault: Fault) -> None:
        """One fault, from its beginning to its end."""
        where, _, what = fault.what.partition(" ")
        match where:
            case "worker" | "bot":
                await self._to_a_process(fault, where, what)
            case "redis":
                await self._to_redis(fault, what)
            case "s3":
                await self._to_s3(fault, what)
            case "github":
                await self._to_github(fault, what)
            case _:
                await self._to_link(self.fleet.front, fault, what)

    async def poison(self) -> None:
        """Kills, for ever, whoever builds what is poisoned."""
        killed: set[tuple[str, int]] = set()
        while True:
            await asyncio.sleep(0.1)
            for id_ in self.poisoned & set(self.watch.builds):
                for pid in self.watch.builds[id_]:
                    slot = self._holder(pid)
                    if slot is None or slot.process is None:
                        continue
                    life = (slot.name, slot.process.pid)
                    if life not in killed and slot.kill():
                        killed.add(life)
                        self.counts["worker_kills"] += 1
                        self.counts["poison_kills"] += 1
                    break

    def forbid_fetching(self) -> None:
        """One repository cannot be fetched, now or ever."""
        self.fleet.github.faults.add(
            "*", f"^/{UNFETCHABLE}(\\.git)?/", 503, times=None, body={"message": "ordered"}
        )

    def end(self) -> None:
        """Mends everything but the poison."""
        for proxy in self.fleet.proxies:
            proxy.restore()
        self.fleet.github.faults.clear()
        self.forbid_fetching()

    def hits(self, where: str) -> int:
        """How many faults the links to `s3`, `github` or `redis` have met."""
        met = sum(
            sum(links[where].hits.values()) for links in self.fleet.links.values() if where in links
        )
        return met + (sum(each.hits for each in self.ordered) if where == "github" else 0)

    def _holder(self, pid: int) -> Slot | None:
        above = set(processes.parents(pid))
        for slot in self.fleet.workers:
            if slot.process is not None and slot.process.pid in above:
                return slot
        return None

    async def _to_a_process(self, fault: Fault, module: str, what: str) -> None:
        slots = self.fleet.workers if module == "worker" else self.fleet.bots
        slot = await self._one_up(slots, fault.pick)
        if slot is None:
            return
        match what:
            case "kill":
                self.counts[f"{module}_kills"] += slot.kill()
            case "term":
                self.counts[f"{module}_terms"] += slot.terminate()
            case _:
                frozen = await slot.freeze(LEASE_SECONDS + 0.5 + 2 * fault.seconds)
                self.counts["pauses" if module == "worker" else "bot_pauses"] += frozen

    async def _one_up(self, slots: Sequence[Slot], pick: float) -> Slot | None:
        """One that is up, waited for a little; None when none comes up."""
        end = time.time() + _FIND_SECONDS
        weather = self.fleet.weather
        while time.time() < end:
            ready = [
                slot
                for slot in slots
                if slot.up
                and not weather.between(time.time(), time.time() + 1, "frozen", where=slot.name)
            ]
            if ready:
                return ready[int(pick * len(ready))]
            await asyncio.sleep(0.05)
        return None

    async def _to_redis(self, fault: Fault, what: str) -> None:
        links = {name: found["redis"] for name, found in self.fleet.links.items()}
        weather = self.fleet.weather
        match what:
            case "kill":
                async with self._redis:
                    await self.fleet.kill_redis(seconds=fault.seconds)
                    self.counts["redis_kills"] += 1
                self.returns.append(await self.watch.until_back("kill", BACK_SECONDS))
            case "silence":
                async with self._redis:
                    with weather.spell("redis silent"):
                        await _all(links.values(), lambda link: link.silence(1 + fault.seconds))
                    self.counts["redis_silences"] += 1
                back = await self.watch.until_back("silence", BACK_FROM_SILENCE_SECONDS)
                self.returns.append(back)
            case "partition":
                if slot := await self._one_up(self.fleet.slots, fault.pick):
                    with weather.spell("partition", slot.name):
                        await links[slot.name].silence(LEASE_SECONDS + fault.seconds)
                    self.counts["partitions"] += 1
            case "slow":
                await _all(links.values(), lambda link: link.slow(fault.seconds, latency=0.2))
                self.counts["redis_slow"] += 1
            case "reset":
                with weather.spell("redis cut"):
                    for link in links.values():
                        link.reset()
                    self.counts["redis_resets"] += 1
                    await asyncio.sleep(1)
            case _:
                name = sorted(links)[int(fault.pick * len(links))]
                with weather.spell("redis cut"):
                    links[name].cut(times=fault.times, after=fault.size)
                    self.counts["redis_cuts"] += fault.times
                    await asyncio.sleep(1)

    async def _to_s3(self, fault: Fault, what: str) -> None:
        links = [found["s3"] for found in self.fleet.links.values()]
        if what == "away":
            for link in links:
                link.refuse(times=_MANY)
            await asyncio.sleep(fault.seconds)
            for link in links:
                link.forgive()
            return
        await self._to_link(links[int(fault.pick * len(links))], fault, what)

    async def _to_github(self, fault: Fault, what: str) -> None:
        faults = self.fleet.github.faults
        match what:
            case "limit":
                self.ordered.append(faults.secondary_limit(1 + fault.times, times=fault.times))
            case "after":
                dropped = faults.add(
                    "POST", "^/repos/.*/statuses/", times=fault.times, drop_connection="after"
                )
                self.ordered.append(dropped)
            case _:
                links = [
                    found["github"] for found in self.fleet.links.values() if "github" in found
                ]
                await self._to_link(links[int(fault.pick * len(links))], fault, what)

    async def _to_link(self, link: Proxy, fault: Fault, what: str) -> None:
        match what:
            case "refuse":
                link.refuse(times=fault.times, status=503 if fault.pick < 0.6 else 500)
            case "cut":
                link.cut(times=fault.times, after=fault.size)
            case "reset":
                link.reset()
            case "silence":
                await link.silence(fault.seconds)
            case _:
                await link.slow(fault.seconds, latency=0.1 + fault.pick / 2)


async def _all(links: Iterable[Proxy], begin: Callable[[Proxy], Awaitable[None]]) -> None:
    await asyncio.gather(*(begin(link) for link in links))
