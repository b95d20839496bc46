"""Sees each mutant fail: the quick part of the suite is done with the rule taken out."""

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
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bot.core.ledger import Ledger, open_ledger
from bot.embedded import start_valkey
from tests.chaos.failpoints import Failpoint, a_standing_house, survive
from tests.chaos.ways import Way
from tests.failing.mutants import MUTANT, MUTANTS, Mutant, applied

_MODULES: Final = (
    "tests.integration.test_ledger_records",
    "tests.integration.test_ledger_claims",
    "tests.integration.test_ledger_aliases",
    "tests.integration.test_reporter_ledger",
)
_LONGEST_SECONDS: Final = 20.0

Test = Callable[[Ledger], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Killed:
    """A mutant, and the first test that fails with it; empty when none does."""

    mutant: str
    rule: str
    by: str
    words: str
    seconds: float


def quick_tests() -> Iterator[tuple[str, Test]]:
    """The tests of the ledger that need nothing else, by their names."""
    for name in _MODULES:
        module = importlib.import_module(name)
        for attribute, found in vars(module).items():
            if not attribute.startswith("test_"):
                continue
            for given in _parameters(found):
                if {"ledger", *given} == set(inspect.signature(found).parameters):
                    yield attribute, partial(found, **given)


def _parameters(test: Any) -> Iterator[dict[str, Any]]:
    """Each set of arguments that pytest would give."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in itertools.product(*(mark.args[1] for mark in marks)):
        yield {mark.args[0]: value for mark, value in zip(marks, values, strict=True)}


async def killed(mutant: Mutant, redis_url: str) -> Killed:
    """Does the quick tests with the rule taken out, until one fails."""
    began = time.monotonic()
    by = words = ""
    if not mutant.verb:
        by, words = await _killed_by_a_crash(mutant)
    else:
        with applied(mutant):
            for name, test in quick_tests():
                if (words := await _failure(test, redis_url)) != "":
                    by = name
                    break
    return Killed(mutant.name, mutant.rule, by, words, round(time.monotonic() - began, 1))


async def unkilled(redis_url: str) -> list[str]:
    """The quick tests that fail as the protocol is: there is to be none."""
    return [name for name, test in quick_tests() if await _failure(test, redis_url)]


async def _failure(test: Test, redis_url: str) -> str:
    """The first line of what is wrong; empty when the test passes."""
    ledger = open_ledger(
        redis_url, prefix=f"{secrets.token_hex(6)}:", lease_seconds=30, max_attempts=3
    )
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            await test(ledger)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
            raise
        return (str(error) or type(error).__name__).splitlines()[0][:100]
    finally:
        await ledger.aclose()
    return ""


async def _killed_by_a_crash(mutant: Mutant) -> tuple[str, str]:
    """A worker dies in its work, in a house of mutants."""
    failpoint = Failpoint("worker", "after claim", Way)
    with tempfile.TemporaryDirectory(prefix="pushlane-mutant-") as directory:
        async with a_standing_house(Path(directory), **{MUTANT: mutant.name}) as house:
            try:
                await survive(house, failpoint, seconds=12)
            except AssertionError as error:
                return failpoint.name, str(error).splitlines()[0][:100]
    return "", ""


async def table(*, as_json: bool) -> int:
    """Prints one line for each mutant; 1 when one lives."""
    lives = 0
    with tempfile.TemporaryDirectory(prefix="pushlane-mutants-") as directory:
        redis = await start_valkey(Path(directory), password=secrets.token_hex(8), port=0)
        try:
            url = redis.environ["PUSHLANE_REDIS_URL"]
            sound = await unkilled(url)
            assert not sound, f"these fail without any mutant: {sound}"
            for mutant in MUTANTS:
                found = await killed(mutant, url)
                lives += not found.by
                _say(found, as_json=as_json)
        finally:
            await redis.stop()
    sys.stdout.write(f"{len(MUTANTS)} mutants, {lives} that no test fails\n")
    return 1 if lives else 0


def _say(found: Killed, *, as_json: bool) -> None:
    told: dict[str, Any] = asdict(found)
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        by = found.by.removeprefix("test_").replace("_", " ") or "LIVES: no test fails"
        sys.stdout.write(f"{found.mutant:24} {by}\n")
    sys.stdout.flush()
