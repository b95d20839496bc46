"""`scripts/chaos`: the storm, the kills of Redis, the soak, and the tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos import durable, failpoints, killing, soak, verdict
from tests.chaos.asked import arguments
from tests.chaos.storm import storm


async def _storm(asked: argparse.Namespace) -> int:
    """1 when an invariant does not hold, or too little has happened to tell."""
    directory = Path(tempfile.mkdtemp(prefix="pushlane-chaos-"))
    try:
        outcome = await storm(
            directory / "fleet",
            seconds=asked.seconds,
            workers=asked.workers,
            bots=asked.bots,
            seed=asked.seed,
            mutant=asked.mutant or "",
            keep_going=asked.keep_going,
        )
    finally:
        if asked.keep:
            sys.stderr.write(f"kept: {directory}\n")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    if asked.json:
        _say(verdict.as_json(outcome), as_json=True)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in verdict.in_words(outcome)))
    return 0 if verdict.held(outcome) else 1


async def _redis_kills(asked: argparse.Namespace) -> int:
    """1 when anything that was acknowledged is lost."""
    with tempfile.TemporaryDirectory(prefix="pushlane-durable-") as directory:
        figures = await durable.kill_redis(asked.redis_kills, Path(directory))
    _say({**asdict(figures), "lost": len(figures.lost)}, as_json=asked.json)
    return 1 if figures.lost else 0


async def _soak(asked: argparse.Namespace) -> int:
    """1 when anything has grown, or is left over."""
    found = await soak.soak(asked.seconds)
    _say({**found.figures(), "wrong": found.wrong()}, as_json=asked.json)
    return 1 if found.wrong() else 0


def _say(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write("".join(f"{name:32} {value}\n" for name, value in answer.items()))


def main() -> int:
    """The exit code: 0 when all is as it should be."""
    asked = arguments()
    if asked.failpoints:
        return asyncio.run(failpoints.table(as_json=asked.json))
    if asked.mutants:
        return asyncio.run(killing.table(as_json=asked.json))
    if asked.redis_kills:
        return asyncio.run(_redis_kills(asked))
    if asked.soak:
        return asyncio.run(_soak(asked))
    return asyncio.run(_storm(asked))


if __name__ == "__main__":
    sys.exit(main())
