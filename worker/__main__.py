"""`python -m worker`: reads the settings, proves the sandbox, builds until it is told to end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import Any

from bot.core import log as logs
from bot.core import settings as all_settings
from bot.core.bucket import Bucket
from bot.core.errors import Errored, SettingInvalid
from bot.core.ledger import DURABLE_SETTINGS, Ledger, open_ledger
from bot.core.secrets import Keyring
from bot.core.settings import Settings
from worker import toolchain
from worker.build import Workshop
from worker.caches import Store
from worker.loop import Worker
from worker.output import Limits
from worker.publish import Publisher
from worker.sandbox import Sandbox

log = logging.getLogger("worker")

_PRUNE_SECONDS = 3600.0
_SWEEP_SECONDS = 2.0
_CLOSE_SECONDS = 3.0
_ADVISORY = frozenset({"bubblewrap", "limits by cgroup"})
"""Findings of the self-test that are said, and refuse no start."""


def main() -> None:
    """The process. Exit code 0 after a signal, 2 for a setting that cannot be used.

    With `--self-test` it only prints what the sandbox's self-test finds, as one line of JSON.
    """
    try:
        settings = all_settings.load(os.environ)
        if sys.argv[1:] == ["--self-test"]:
            print(asyncio.run(_self_test(settings, dict(os.environ))))  # noqa: T201 - its answer
            return
        if not settings.redis_url:
            raise SettingInvalid(
                "PUSHLANE_REDIS_URL",
                "is not set; it takes redis://…, rediss://… or unix://…, the Redis of the bot "
                "(`pushlane up` brings one of its own)",
            )
        logs.set_up(settings.log_format, secrets=all_settings.secrets_of(settings, os.environ))
        all_settings.tell_unknown(os.environ)
        finished = asyncio.run(_live(settings, dict(os.environ)))
    except SettingInvalid as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the one line that a person reads
        sys.exit(2)
    if not finished:
        # A thread still hangs in a call to S3: Python would wait for it.
        logging.shutdown()
        os._exit(0)


async def _live(settings: Settings, environment: Mapping[str, str]) -> bool:
    """Works until a signal. Answers whether everything could be closed in time."""
    signals = _Signals(settings.stop_grace_seconds)
    async with AsyncExitStack() as stack:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool = settings.data_dir / "spool"
        spool.mkdir(exist_ok=True, mode=0o700)
        sandbox = await _proven_sandbox(settings, environment, stack)
        ledger = open_ledger(
            settings.redis_url,
            prefix=settings.redis_prefix,
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
        )
        stack.push_async_callback(ledger.aclose)
        bucket = Bucket(
            settings.s3_bucket,
            prefix=settings.s3_prefix,
            endpoint_url=settings.s3_endpoint_url,
        )
        worker = Worker(
            ledger=ledger,
            shop=Workshop(
                settings=settings,
                sandbox=sandbox,
                bucket=bucket,
                environment=environment,
                store=_store(settings),
            ),
            publisher=Publisher(
                bucket,
                ledger.aliases,
                ledger.collection,
                spool=spool,
                limits=Limits(
                    megabytes=settings.build_output_mb, files=settings.build_output_files
                ),
            ),
            secrets=all_settings.secrets_of(settings, environment),
            keyring=Keyring(settings.secret_key),
        )
        await _work(worker, signals)
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await bucket.aclose()
    except TimeoutError:
        return False
    return True


def _store(settings: Settings) -> Store | None:
    """Where builds keep what later ones need. Without walls a path inside is another each time."""
    if settings.sandbox == "none" or not settings.cache_mb:
        return None
    if os.geteuid() != 0:
        log.info("packages are installed in every build: only a worker that is root can keep them")
        return None
    directory = settings.data_dir / "caches"
    directory.mkdir(exist_ok=True, mode=0o700)
    return Store(directory, most_bytes=settings.cache_mb * 1_000_000)


async def _work(worker: Worker, signals: _Signals) -> None:
    settings = worker.shop.settings
    sweeping = asyncio.create_task(_sweep(worker.ledger), name="sweep")
    pruning = asyncio.create_task(_prune(settings), name="prune")
    hearing = asyncio.create_task(worker.ledger.changes.follow(), name="changes")
    building = worker.loop(ending=signals.first)
    loops = [
        asyncio.create_task(building.serve(), name=f"loop {number}")
        for number in range(settings.build_concurrency)
    ]
    told = asyncio.create_task(_tell_durability(worker.ledger, require=settings.require_durable))
    giving_up: asyncio.Task[Any] = asyncio.create_task(signals.last.wait())
    log.info("waiting for builds", extra={"concurrency": len(loops), "pid": os.getpid()})
    if settings.ready_file is not None:
        settings.ready_file.touch()
    try:
        watched: set[asyncio.Task[Any]] = {*loops, told, giving_up}
        while any(not loop.done() for loop in loops) and not giving_up.done():
            await asyncio.wait(
                {each for each in watched if not each.done()},
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in (*loops, told):
                if each.done():
                    each.result()
        if not all(loop.done() for loop in loops):
            log.info("giving back what is not done")
            building.give_back()
            # What waits at a doorbell is left to time out, which takes two seconds.
            await asyncio.wait(loops)
    finally:
        beside = (sweeping, pruning, hearing, told, giving_up, *loops)
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


async def _sandbox(
    settings: Settings, environment: Mapping[str, str], stack: AsyncExitStack
) -> Sandbox:
    """A sandbox that was started. Raises `SettingInvalid` where none can be made."""
    sandbox = Sandbox(
        kind=settings.sandbox,
        scratch=settings.data_dir / "scratch",
        egress=settings.egress,
        egress_hosts=settings.egress_hosts,
        environment=environment,
    )
    await sandbox.start()
    stack.push_async_callback(sandbox.aclose)
    return sandbox


async def _self_test(settings: Settings, environment: Mapping[str, str]) -> str:
    """`{"findings": [{"name", "ok", "detail", "advisory"}]}`; an advisory one refuses no start."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        sandbox = await _sandbox(settings, environment, stack)
        found = [
            {**asdict(finding), "advisory": finding.name in _ADVISORY}
            for finding in await sandbox.self_test()
        ]
    return json.dumps({"findings": found})


async def _proven_sandbox(
    settings: Settings, environment: Mapping[str, str], stack: AsyncExitStack
) -> Sandbox:
    """A sandbox that was tried. Raises `SettingInvalid` when it does not hold."""
    sandbox = await _sandbox(settings, environment, stack)
    await sandbox.kill_strays()
    for finding in await sandbox.self_test():
        if finding.ok:
            continue
        if finding.name not in _ADVISORY:
            raise SettingInvalid(
                "PUSHLANE_SANDBOX",
                f"is {settings.sandbox!r}, which does not hold here: {finding.name}: "
                f"{finding.detail}; see `pushlane doctor`",
            )
        log.warning("sandbox: %s: %s", finding.name, finding.detail)
    return sandbox


async def _tell_durability(ledger: Ledger, *, require: bool) -> None:
    """Says aloud what the Redis may lose, once it answers."""
    while True:
        try:
            found = await ledger.connection.durability()
        except Errored:
            await asyncio.sleep(2)
            continue
        if found == "may lose writes":
            if require:
                raise SettingInvalid(
                    "PUSHLANE_REQUIRE_DURABLE",
                    f"is on, and this Redis may lose acknowledged writes; set there: "
                    f"{DURABLE_SETTINGS}",
                )
            log.warning("this Redis may lose acknowledged writes; set there: %s", DURABLE_SETTINGS)
        return


async def _sweep(ledger: Ledger) -> None:
    while True:
        with suppress(Errored):
            found = await ledger.claims.sweep()
            if any(found.values()):
                log.info("swept", extra=found)
        await asyncio.sleep(_SWEEP_SECONDS)


async def _prune(settings: Settings) -> None:
    """Keeps the toolchains within their bound; what a build may be using stays."""
    while True:
        with suppress(OSError):
            removed = await asyncio.to_thread(
                toolchain.prune,
                settings.data_dir / "toolchains",
                most_bytes=settings.toolchains_mb << 20,
                spared_seconds=settings.build_timeout_seconds + 3600.0,
            )
            if removed:
                log.info("toolchains pruned", extra={"removed": removed})
        await asyncio.sleep(_PRUNE_SECONDS)


class _Signals:
    """SIGTERM and SIGINT: the first asks to end, a second or the end of the grace insists."""

    def __init__(self, grace_seconds: float) -> None:
        self.first = asyncio.Event()
        self.last = asyncio.Event()
        self._grace_seconds = grace_seconds
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._came)

    def _came(self) -> None:
        if self.first.is_set():
            self.last.set()
            return
        log.info("asked to end: no more builds are taken")
        self.first.set()
        self._loop.call_later(self._grace_seconds, self.last.set)


if __name__ == "__main__":
    main()
