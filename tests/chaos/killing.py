"""Sees each mutant fail: the test of that rule is done with the rule taken out."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import json
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from bot.core.errors import Errored
from bot.core.ledger import open_ledger
from tests.chaos.failpoints import Failpoint, a_standing_house, survive
from tests.chaos.servers import own_servers
from tests.chaos.ways import Way
from tests.conftest import S3
from tests.failing.mutants import MUTANT, BrokenMutant, Mutant, applied
from tests.failing.rules import MUTANTS
from tests.keeping import a_bucket, kept

_LONGEST_SECONDS: Final = 20.0

Test = Callable[..., Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Servers:
    """What the tests need."""

    redis_url: str
    s3: S3
    sound: set[str] = field(default_factory=set)
    """Tests that were seen to pass without any mutant."""


@dataclass(frozen=True, slots=True)
class Killed:
    """A mutant, and what its test said of it; nothing when the test saw nothing wrong."""

    mutant: str
    rule: str
    by: str
    words: str
    seconds: float


def tests_of(by: str) -> list[Test]:
    """The test that is named `module::[Class::]test_…`, with each set of its parameters."""
    module, *path = by.split("::")
    found: Any = importlib.import_module(f"tests.integration.test_{module}")
    for name in path:
        found = getattr(found() if inspect.isclass(found) else found, name)
    return [partial(found, **given) for given in _parameters(found)]


def _parameters(test: Any) -> Iterator[dict[str, Any]]:
    """Each set of arguments that pytest would give."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in itertools.product(*(mark.args[1] for mark in marks)):
        yield {mark.args[0]: value for mark, value in zip(marks, values, strict=True)}


async def killed(mutant: Mutant, servers: Servers) -> Killed:
    """Does the mutant's test with the rule taken out; without, it has to pass.

    Raises `BrokenMutant` where the rule does not stand in the script, or the rest does not run.
    """
    began = time.monotonic()
    if not mutant.by:
        by, words = await _killed_by_a_crash(mutant)
    else:
        by, words = mutant.by.rpartition("::")[2], ""
        for test in tests_of(mutant.by):
            if mutant.by not in servers.sound:
                assert (wrong := await failure(test, servers)) == "", f"{by}: {wrong}"
            with applied(mutant):
                words = words or await failure(test, servers)
        servers.sound.add(mutant.by)
    return Killed(mutant.name, mutant.rule, by, words, round(time.monotonic() - began, 1))


async def failure(test: Test, servers: Servers) -> str:
    """The first line of what is wrong; empty when the test passes."""
    async with _fixtures(test, servers) as given:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await test(**given)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | asyncio.CancelledError | BrokenMutant):
                raise
            if isinstance(error, Errored) and error.code == "redis_refused":
                raise BrokenMutant(str(error)) from error
            return (str(error) or type(error).__name__).splitlines()[0][:100]
    return ""


@asynccontextmanager
async def _fixtures(test: Test, servers: Servers) -> AsyncIterator[dict[str, Any]]:
    """What pytest would give the test, each made new for it."""
    prefix = secrets.token_hex(6)
    url = servers.redis_url
    async with AsyncExitStack() as stack:
        given: dict[str, Any] = {}
        wanted = set(inspect.signature(test).parameters)
        if wanted & {"own", "bucket"}:
            given["bucket"] = bucket = a_bucket(servers.s3, prefix)
            stack.push_async_callback(bucket.aclose)
        if "own" in wanted:
            given["own"] = await stack.enter_async_context(kept(url, prefix, given["bucket"]))
        if "ledger" in wanted:
            given["ledger"] = open_ledger(
                url, prefix=f"{prefix}:", lease_seconds=30, max_attempts=3
            )
            stack.push_async_callback(given["ledger"].aclose)
        if "raw" in wanted:
            given["raw"] = raw = Redis.from_url(url)
            stack.push_async_callback(raw.aclose)
        yield {name: value for name, value in given.items() if name in wanted}


async def _killed_by_a_crash(mutant: Mutant) -> tuple[str, str]:
    """A worker dies in its work, in a house of mutants."""
    failpoint = Failpoint("worker", "after claim", Way)
    with tempfile.TemporaryDirectory(prefix="pushlane-mutant-") as directory:
        async with a_standing_house(Path(directory), **{MUTANT: mutant.name}) as house:
            try:
                await survive(house, failpoint, seconds=12)
            except AssertionError as error:
                return failpoint.name, str(error).splitlines()[0][:100]
    return failpoint.name, ""


async def table(*, as_json: bool) -> int:
    """Prints one line for each mutant; 1 when one lives, or is none."""
    with tempfile.TemporaryDirectory(prefix="pushlane-mutants-") as directory:
        lives = await _each(Path(directory), as_json=as_json)
    sys.stdout.write(f"{len(MUTANTS)} mutants, {lives} that no test fails\n")
    return 1 if lives else 0


async def _each(directory: Path, *, as_json: bool) -> int:
    """Says what became of each; how many live."""
    lives = 0
    async with own_servers(directory) as (redis_url, s3):
        servers = Servers(redis_url, s3)
        for mutant in MUTANTS:
            try:
                found = await killed(mutant, servers)
            except (AssertionError, BrokenMutant) as error:
                found = Killed(mutant.name, mutant.rule, f"NO MUTANT: {error}", "", 0.0)
            lives += not found.words
            _say(found, as_json=as_json)
    return lives


def _say(found: Killed, *, as_json: bool) -> None:
    told: dict[str, Any] = asdict(found)
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        by = found.by.removeprefix("test_").replace("_", " ")
        if not found.words:
            by = f"LIVES, in spite of: {by}"
        sys.stdout.write(f"{found.mutant:24} {by}\n")
    sys.stdout.flush()
