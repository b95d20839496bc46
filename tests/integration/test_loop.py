"""A stage's loop and its lease: what becomes of a claim when Redis, work or process fails."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.core import keys
from bot.core.deployment import Deployment, Stage, Status
from bot.core.errors import BuildFailed, Errored, Full, PushlaneError, Stopped
from bot.core.lease import Lease, held
from bot.core.ledger import Ending, Ledger, open_ledger
from bot.core.loop import Loop, conclude, foreseen, persistently
from bot.embedded import Server, start_valkey
from tests.builders import a_push, claimed
from tests.front import until
from tests.ledgers import expire_lease, redis_of, status_of

SKIPPED = Ending(status=Status.SKIPPED, reason="done")


@pytest.fixture
async def ledger(valkey: str) -> AsyncIterator[Ledger]:
    found = open_ledger(valkey, prefix=f"{secrets.token_hex(6)}:", lease_seconds=3, max_attempts=3)
    yield found
    await found.aclose()


@dataclass(slots=True)
class Own:
    """A Valkey of the test's own, and a ledger in it."""

    server: Server
    ledger: Ledger


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[Own]:
    server = await start_valkey(tmp_path / "own", password="own", port=0)
    ledger = open_ledger(server.environ["PUSHLANE_REDIS_URL"], lease_seconds=3, max_attempts=3)
    made = Own(server, ledger)
    yield made
    await ledger.aclose()
    await made.server.stop()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def a_loop(ledger: Ledger, work: Callable[[Deployment, Lease], Awaitable[Deployment]]) -> Loop:
    async def entered(deployment: Deployment, lease: Lease, _: AsyncExitStack) -> Deployment:
        return await work(deployment, lease)

    return Loop(ledger=ledger, stage=Stage.FETCH, work=entered)


async def pushed(ledger: Ledger, *, branch: str = "main") -> str:
    return (await ledger.records.record(a_push(secrets.token_hex(4), branch=branch))).deployment


def failing(ledger: Ledger, error: Exception) -> Loop:
    """A loop whose work fails so, and is concluded as intake and the worker do."""

    async def work(deployment: Deployment, lease: Lease) -> Deployment:
        return await conclude(ledger, deployment, lease, foreseen(error, deployment))

    return a_loop(ledger, work)


async def attended(loop: Loop, id_: str) -> Deployment:
    await loop.attend(await claimed(loop.ledger, id_, loop.stage))
    found = await loop.ledger.view.deployment(id_)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BuildFailed("exit 1", code="build_failed"), Status.FAILED, "build_failed"),
        (Errored("S3 is away", code="bucket_away"), Status.RECEIVED, "bucket_away"),
        (Errored("too new", code="too_new", retryable=False), Status.ERRORED, "too_new"),
        (Full("the bucket is full", code="bucket_full"), Status.RECEIVED, "bucket_full"),
        (OSError(errno.ENOSPC, "No space left on device"), Status.RECEIVED, "disk_full"),
        (Errored("npm: ENOSPC: no space", code="registry_failed"), Status.RECEIVED, "disk_full"),
        (Stopped("cancelled"), Status.CANCELLED, ""),
        (Stopped("superseded"), Status.SUPERSEDED, ""),
        (ZeroDivisionError("secret words"), Status.RECEIVED, "internal"),
    ],
)
async def test_work_that_fails_ends_by_whose_fault_it_is(
    ledger: Ledger, error: Exception, status: Status, code: str
) -> None:
    found = await attended(failing(ledger, error), await pushed(ledger))
    assert (found.status, found.error_code, found.claim) == (status, code, "")
    assert (found.error_message != "") is (code != "")
    assert "secret words" not in found.error_message
    assert (found.due_at > 0) is (status is Status.RECEIVED)


async def test_after_the_last_attempt_it_is_given_up(ledger: Ledger) -> None:
    id_ = await pushed(ledger)
    loop = failing(ledger, Errored("S3 is away", code="bucket_away"))
    for _ in range(3):
        found = await attended(loop, id_)
        name = keys.deployment(ledger.connection.prefix, id_)
        await redis_of(ledger).hset(name, "due_at", "0")
    assert (found.status, found.fetch_attempts) == (Status.ERRORED, 3)
    assert found.error_message == "S3 is away (given up after 3 attempts)"
    assert (await ledger.view.queue()).dead == 1


async def test_where_there_is_no_room_it_is_tried_for_as_long_as_that_lasts(
    ledger: Ledger,
) -> None:
    id_ = await pushed(ledger)
    loop = failing(ledger, Full("the bucket is full", code="bucket_full"))
    for _ in range(7):
        found = await attended(loop, id_)
        assert (found.status, found.fetch_attempts) == (Status.RECEIVED, 0)
        assert 1_000 < found.due_at - time.time() * 1000 < 10_000
        name = keys.deployment(ledger.connection.prefix, id_)
        await redis_of(ledger).hset(name, "due_at", "0")


async def test_a_full_disk_is_the_reason_of_whatever_else_went_wrong(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = await claimed(ledger, await pushed(ledger), Stage.FETCH)
    broken = BuildFailed("`npm run build` ended with exit code 1", code="build_failed")
    assert foreseen(broken, deployment, directory=tmp_path) is broken
    assert foreseen(broken, deployment, directory=tmp_path / "gone") is broken
    monkeypatch.setattr("bot.core.loop._LEAST_BYTES", 1 << 62)
    assert foreseen(broken, deployment, directory=tmp_path).code == "disk_full"
    stopped = Stopped("cancelled")
    assert foreseen(stopped, deployment, directory=tmp_path) is stopped


async def test_work_that_breaks_leaves_the_claim_to_the_sweep(ledger: Ledger) -> None:
    async def work(_: Deployment, __: Lease) -> Deployment:
        raise ZeroDivisionError

    id_ = await pushed(ledger)
    assert (await attended(a_loop(ledger, work), id_)).status is Status.FETCHING
    await expire_lease(ledger, id_)
    await ledger.claims.sweep()
    assert await status_of(ledger, id_) is Status.RECEIVED


class TestServe:
    """Doorbells answered one after another, until the process is to end."""

    async def test_it_answers_each_and_ends_when_asked_to(self, ledger: Ledger) -> None:
        seen: list[str] = []

        async def work(deployment: Deployment, _: Lease) -> Deployment:
            seen.append(deployment.id)
            return await ledger.claims.finish(deployment, SKIPPED)

        loop = a_loop(ledger, work)
        ids = [await pushed(ledger, branch=f"b{number}") for number in range(3)]
        serving = asyncio.create_task(loop.serve())

        async def all_seen() -> bool:
            return len(seen) == 3

        await until(all_seen)
        began = time.monotonic()
        loop.ending.set()
        await serving
        assert time.monotonic() - began < 3
        assert seen == ids
        assert loop.under_way == set()

    async def test_what_is_claimed_while_it_ends_is_given_back(self, ledger: Ledger) -> None:
        async def work(_: Deployment, __: Lease) -> Deployment:
            raise AssertionError

        loop = a_loop(ledger, work)
        serving = asyncio.create_task(loop.serve())

        async def waits() -> bool:
            clients = await redis_of(ledger).client_list()
            return any(client["cmd"] == "blpop" for client in clients)

        await until(waits)
        loop.ending.set()
        id_ = await pushed(ledger)
        await serving
        found = await ledger.view.deployment(id_)
        assert found is not None
        assert (found.status, found.fetch_attempts) == (Status.RECEIVED, 0)

    async def test_what_is_under_way_can_be_given_back(self, ledger: Ledger) -> None:
        async def work(deployment: Deployment, lease: Lease) -> Deployment:
            await lease.stop.wait()
            return deployment

        id_ = await pushed(ledger)
        loop = a_loop(ledger, work)
        serving = asyncio.create_task(loop.serve())

        async def works() -> bool:
            return bool(loop.under_way)

        await until(works)
        loop.ending.set()
        for each in tuple(loop.under_way):
            each.cancel()
        await serving
        found = await ledger.view.deployment(id_)
        assert found is not None
        assert (found.status, found.fetch_attempts) == (Status.RECEIVED, 0)

    async def test_it_outlives_a_redis_that_goes_away(
        self, own: Own, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def work(deployment: Deployment, _: Lease) -> Deployment:
            return await own.ledger.claims.finish(deployment, SKIPPED)

        loop = a_loop(own.ledger, work)
        serving = asyncio.gather(*(loop.serve() for _ in range(3)))
        first = await pushed(own.ledger, branch="one")
        await until(lambda: is_skipped(own.ledger, first))
        await own.server.stop()

        async def has_noticed() -> bool:
            return "Redis is away" in caplog.text

        await until(has_noticed)
        own.server = await own.server.start()
        second = await pushed(own.ledger, branch="two")
        back = time.monotonic()
        await until(lambda: is_skipped(own.ledger, second))
        assert time.monotonic() - back < 5
        loop.ending.set()
        await serving
        said = [record.getMessage() for record in caplog.records]
        assert said.count("Redis is away, waiting for it") == 1, "once for all who wait"


async def is_skipped(ledger: Ledger, id_: str) -> bool:
    return await status_of(ledger, id_) is Status.SKIPPED


async def lease_end(ledger: Ledger, id_: str) -> float:
    """When the running claim's lease ends, in milliseconds since the epoch."""
    name = keys.named(ledger.connection.prefix, "active")
    return float(await redis_of(ledger).zscore(name, id_))


class TestLease:
    """The claim's time: prolonged, lost, or ended on request."""

    async def test_it_is_prolonged_for_as_long_as_the_work_goes_on(self, ledger: Ledger) -> None:
        id_ = await pushed(ledger)
        deployment = await claimed(ledger, id_, Stage.FETCH)
        async with held(ledger, deployment) as lease:
            first = await lease_end(ledger, id_)

            async def prolonged_twice() -> bool:
                return await lease_end(ledger, id_) > first + 1500

            await until(prolonged_twice)
            assert lease.reason == ""

    async def test_where_changes_are_heard_a_request_to_stop_ends_the_work_at_once(
        self, valkey: str, prefix: str
    ) -> None:
        ledger = open_ledger(valkey, prefix=f"{prefix}:", lease_seconds=60)
        hearing = asyncio.create_task(ledger.changes.follow())
        try:
            id_ = await pushed(ledger)
            deployment = await claimed(ledger, id_, Stage.FETCH)
            async with asyncio.timeout(5), held(ledger, deployment) as lease:
                while not lease.stop.is_set():
                    # Until the subscription stands a request is not heard.
                    await ledger.records.cancel(id_)
                    await asyncio.wait({asyncio.create_task(lease.stop.wait())}, timeout=0.1)
            assert lease.reason == "cancelled"
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            await ledger.aclose()

    async def test_asked_to_stop_it_ends_the_work_within_a_third(self, ledger: Ledger) -> None:
        id_ = await pushed(ledger)
        deployment = await claimed(ledger, id_, Stage.FETCH)
        async with held(ledger, deployment) as lease:
            await ledger.records.cancel(id_)
            asked = time.monotonic()
            with pytest.raises(Stopped, match="cancelled"):
                await lease.bound(asyncio.sleep(60))
            assert time.monotonic() - asked < 1.5
            with pytest.raises(Stopped, match="cancelled"):
                lease.check()

    async def test_a_lost_claim_ends_the_work_and_is_told_at_its_end(self, ledger: Ledger) -> None:
        id_ = await pushed(ledger)
        deployment = await claimed(ledger, id_, Stage.FETCH)

        async def work() -> None:
            async with held(ledger, deployment) as lease:
                await ledger.claims.give_back(deployment)
                await asyncio.wait_for(lease.stop.wait(), 5)

        with pytest.raises(Stopped, match="lost"):
            await work()

    @pytest.mark.parametrize("way", ["stopped", "frozen"])
    async def test_without_a_redis_it_counts_as_lost_after_two_thirds(
        self, own: Own, way: str
    ) -> None:
        deployment = await claimed(own.ledger, await pushed(own.ledger), Stage.FETCH)

        lasted = 0.0

        async def lost(lease: Lease, began: float) -> None:
            nonlocal lasted
            await asyncio.wait_for(lease.stop.wait(), 5)
            lasted = time.monotonic() - began

        async def work() -> None:
            async with held(own.ledger, deployment) as lease:
                began = time.monotonic()
                if way == "stopped":
                    await own.server.stop()
                    await lost(lease, began)
                    own.server = await own.server.start()
                else:
                    with frozen(own.server):
                        await lost(lease, began)

        with pytest.raises(Stopped, match="lost"):
            await work()
        assert 1.5 < lasted < 2.4

    async def test_a_short_absence_is_survived_and_the_end_is_written_after_it(
        self, own: Own
    ) -> None:
        tries = 0

        async def work(deployment: Deployment, lease: Lease) -> Deployment:
            async def finish() -> Deployment:
                nonlocal tries
                tries += 1
                return await own.ledger.claims.finish(deployment, SKIPPED)

            async def tried_thrice() -> bool:
                return tries > 2

            await own.server.stop()
            ending = asyncio.create_task(persistently(lease, finish))
            await until(tried_thrice)
            own.server = await own.server.start()
            return await ending

        found = await attended(a_loop(own.ledger, work), await pushed(own.ledger))
        assert (found.status, found.fetch_attempts) == (Status.SKIPPED, 1)

    async def test_bound_gives_what_the_work_gives(self) -> None:
        lease = Lease()

        async def work(error: PushlaneError | None) -> int:
            await asyncio.sleep(0)
            if error:
                raise error
            return 5

        assert await lease.bound(work(None)) == 5
        with pytest.raises(BuildFailed):
            await lease.bound(work(BuildFailed("x", code="x")))
        lease.end("superseded")
        lease.end("lost")
        assert lease.reason == "superseded"
