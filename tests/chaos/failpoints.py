"""Kills a process at each named point, starts it again, and sees the deployment end right."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.chaos import ways
from tests.chaos import ways_of_keeping as keeping
from tests.chaos.crashes import FailingHouse, a_failing_house
from tests.chaos.servers import own_servers
from tests.chaos.ways import Way
from tests.failing.points import Module
from tests.standin import StandIn


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A process, the point at which it dies, and the way by which it comes there."""

    module: Module
    point: str
    way: type[Way]

    @property
    def name(self) -> str:
        """For people: `worker dies after upload`."""
        return f"{self.module} dies {self.point}"


FAILPOINTS: Final = (
    Failpoint("bot", "before record", Way),
    Failpoint("bot", "after record", Way),
    Failpoint("bot", "before remove", ways.Delete),
    Failpoint("bot", "after remove", ways.Delete),
    Failpoint("bot", "after wait", Way),
    Failpoint("bot", "after claim", Way),
    Failpoint("bot", "after resolve", ways.Deploy),
    Failpoint("bot", "after fetch", Way),
    Failpoint("bot", "after archive", Way),
    Failpoint("bot", "after append", Way),
    Failpoint("bot", "before advance", Way),
    Failpoint("bot", "after advance", Way),
    Failpoint("bot", "before finish", ways.Skip),
    Failpoint("bot", "after finish", ways.Skip),
    Failpoint("bot", "after extend", ways.SlowFetch),
    Failpoint("bot", "before retry", ways.FetchFails),
    Failpoint("bot", "after retry", ways.FetchFails),
    Failpoint("bot", "after give_back", ways.ToldToEnd),
    Failpoint("bot", "after sweep", ways.LeftBehind),
    Failpoint("bot", "after hasten", ways.BotStarts),
    Failpoint("bot", "after lease", Way),
    Failpoint("bot", "after post", Way),
    Failpoint("bot", "after told", Way),
    Failpoint("bot", "after told_so_far", ways.StatusFails),
    Failpoint("bot", "before later", ways.StatusFails),
    Failpoint("bot", "after later", ways.StatusFails),
    Failpoint("bot", "before request", ways.Deploy),
    Failpoint("bot", "after request", ways.Deploy),
    Failpoint("bot", "after cancel", ways.Cancel),
    Failpoint("bot", "after promote", ways.Promote),
    Failpoint("bot", "after rollback", ways.Rollback),
    Failpoint("bot", "after unpin", ways.Unpin),
    Failpoint("bot", "after lease_saves", Way),
    Failpoint("bot", "after put_saved", Way),
    Failpoint("bot", "before saved", Way),
    Failpoint("bot", "after saved", Way),
    Failpoint("bot", "after restore_begin", keeping.Lost),
    Failpoint("bot", "after merge", keeping.Lost),
    Failpoint("bot", "before restore_end", keeping.Lost),
    Failpoint("bot", "after restore_end", keeping.Lost),
    Failpoint("bot", "after condemn_release", keeping.Collect),
    Failpoint("bot", "after condemn", keeping.Collect),
    Failpoint("bot", "before delete", keeping.CollectWhatIsDue),
    Failpoint("bot", "after delete", keeping.CollectWhatIsDue),
    Failpoint("bot", "before collected", keeping.CollectWhatIsDue),
    Failpoint("bot", "after collected", keeping.CollectWhatIsDue),
    Failpoint("bot", "after heads", keeping.Untold),
    Failpoint("bot", "before record", keeping.Untold),
    Failpoint("bot", "after record", keeping.Untold),
    Failpoint("bot", "after look", keeping.Untold),
    Failpoint("bot", "before redeliver", keeping.Missed),
    Failpoint("bot", "after redeliver", keeping.Missed),
    Failpoint("worker", "after wait", Way),
    Failpoint("worker", "after claim", Way),
    Failpoint("worker", "after unpack", Way),
    Failpoint("worker", "after append", Way),
    Failpoint("worker", "after build", Way),
    Failpoint("worker", "after extend", ways.Slow),
    Failpoint("worker", "before advance", Way),
    Failpoint("worker", "after advance", Way),
    Failpoint("worker", "after pack", Way),
    Failpoint("worker", "after upload", Way),
    Failpoint("worker", "after save_log", Way),
    Failpoint("worker", "after manifest", Way),
    Failpoint("worker", "after publish", Way),
    Failpoint("worker", "before finish", Way),
    Failpoint("worker", "after finish", Way),
    Failpoint("worker", "before finish", ways.Fail),
    Failpoint("worker", "after finish", ways.Fail),
    Failpoint("worker", "before retry", ways.BucketFails),
    Failpoint("worker", "after retry", ways.BucketFails),
    Failpoint("worker", "after give_back", ways.ToldToEnd),
    Failpoint("worker", "after sweep", ways.LeftBehind),
)


@dataclass(frozen=True, slots=True)
class Survived:
    """What became of the deployment whose process died."""

    process: str
    dies: str
    way: str
    ends: str
    fetch_attempts: int
    build_attempts: int
    seconds: float


async def survive(house: FailingHouse, failpoint: Failpoint, *, seconds: float = 60) -> Survived:
    """One crash, from the push to the right end. AssertionError says what is wrong."""
    began = time.monotonic()
    way = failpoint.way(house, failpoint.module)
    await house.at_rest()
    await way.begin()
    house.order(failpoint.module, failpoint.point)
    going = asyncio.create_task(way.go())
    await house.died(failpoint.module, failpoint.point)
    await going
    await house.restart(failpoint.module)
    await way.mend()
    record = await way.right(seconds=seconds)
    return Survived(
        process=failpoint.module,
        dies=failpoint.point,
        way=failpoint.way.__name__,
        ends=record["status"],
        fetch_attempts=record["attempts"]["fetch"],
        build_attempts=record["attempts"]["build"],
        seconds=round(time.monotonic() - began, 1),
    )


@asynccontextmanager
async def a_standing_house(directory: Path, **settings: str) -> AsyncIterator[FailingHouse]:
    """A house with servers of its own, started. `settings` are further variables."""
    async with AsyncExitStack() as stack:
        redis_url, s3 = await stack.enter_async_context(own_servers(directory))
        github = await stack.enter_async_context(StandIn(directory / "github"))
        house = a_failing_house(
            directory,
            redis_url=redis_url,
            s3=s3,
            github=github,
            **settings,
        )
        stack.push_async_callback(asyncio.to_thread, house.close)
        house.start_bot()
        house.start_worker()
        await house.until_ready()
        yield house


async def table(*, as_json: bool) -> int:
    """Prints one line for each failpoint; 1 when one is not survived."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pushlane-failpoints-") as directory:
        async with a_standing_house(Path(directory)) as house:
            for failpoint in FAILPOINTS:
                try:
                    survived = await survive(house, failpoint)
                except AssertionError as error:
                    failed += 1
                    sys.stdout.write(f"{failpoint.name}: NOT SURVIVED: {error}\n")
                    await house.revive()
                    continue
                if as_json:
                    sys.stdout.write(json.dumps(asdict(survived)) + "\n")
                else:
                    attempts = f"{survived.fetch_attempts}+{survived.build_attempts}"
                    sys.stdout.write(
                        f"{survived.process:7} {survived.dies:18} {survived.way:12} "
                        f"{survived.ends:10} attempts {attempts:4} {survived.seconds:5.1f} s\n"
                    )
                sys.stdout.flush()
    sys.stdout.write(f"{len(FAILPOINTS)} failpoints, {failed} not survived\n")
    return 1 if failed else 0
