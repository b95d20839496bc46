"""`scripts/chaos`: the storm, the kills of Redis, the soak, and the tables."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.chaos import durable, failpoints, killing, soak
from tests.chaos.storm import Outcome, storm


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the storm lasts")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--bots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1, help="the same plan for the same seed")
    parser.add_argument("--json", action="store_true", help="one JSON object last on stdout")
    parser.add_argument(
        "--keep-going", action="store_true", help="do not end at the first violation that is seen"
    )
    parser.add_argument("--keep", action="store_true", help="leave logs and stores, and say where")
    parser.add_argument(
        "--mutant", default="", help="let the storm meet a protocol without one of its rules"
    )
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--failpoints", action="store_true", help="a crash at each named point")
    tables.add_argument("--mutants", action="store_true", help="which test sees which mutant")
    tables.add_argument(
        "--redis-kills", type=int, metavar="N", help="what is lost when Redis is killed N times"
    )
    tables.add_argument(
        "--soak", action="store_true", help="steady pushes without faults: what grows, what is left"
    )
    return parser.parse_args()


_LEAST: Final = {
    "acknowledged": 150,
    "repeats": 20,
    "worker_kills": 5,
    "redis_kills": 1,
    "pauses": 1,
    "s3_faults": 5,
    "github_faults": 5,
    "untold": 1,
}
"""In forty seconds, also on a slow machine."""


def too_calm(outcome: Outcome) -> list[str]:
    """What has not happened often enough for an absence of violations to mean something."""
    least = {name: count * outcome.seconds / 40 for name, count in _LEAST.items()}
    return [
        f"{outcome.counts.get(name, 0):g} {name.replace('_', ' ')} of {count:g}"
        for name, count in least.items()
        if outcome.counts.get(name, 0) < count and outcome.seconds >= 40
    ]


def told(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON says it."""
    found = outcome.violations
    return {
        "seconds": outcome.seconds,
        "settle_seconds": round(outcome.settle_seconds, 1),
        **dict(sorted(outcome.counts.items())),
        "lost": sum(each.what.startswith("lost") for each in found),
        "ended_twice": sum(each.what.startswith(("ended twice", "twice")) for each in found),
        "stale": sum(each.what.startswith("stale") for each in found),
        "violations": [asdict(each) for each in found],
    }


async def _storm(arguments: argparse.Namespace) -> int:
    """1 when an invariant does not hold, or too little has happened to tell."""
    directory = Path(tempfile.mkdtemp(prefix="pushlane-chaos-"))
    try:
        outcome = await storm(
            directory / "fleet",
            seconds=arguments.seconds,
            workers=arguments.workers,
            bots=arguments.bots,
            seed=arguments.seed,
            mutant=arguments.mutant,
            keep_going=arguments.keep_going,
        )
    finally:
        if arguments.keep:
            sys.stderr.write(f"kept: {directory}\n")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    answer = told(outcome)
    if calm := too_calm(outcome):
        sys.stderr.write(f"too calm to show anything: {', '.join(calm)}\n")
    status = 1 if outcome.violations or calm else 0
    if arguments.json:
        _say(answer, as_json=True)
        return status
    kinds = Counter(each.invariant for each in outcome.violations)
    _say({**answer, "violations": dict(kinds) or "none"}, as_json=False)
    for each in outcome.violations:
        sys.stdout.write(f"{each.invariant} {each.what} {each.ids} {each.evidence[:1000]}\n")
    return status


async def _redis_kills(arguments: argparse.Namespace) -> int:
    """1 when anything that was acknowledged is lost."""
    with tempfile.TemporaryDirectory(prefix="pushlane-durable-") as directory:
        figures = await durable.kill_redis(arguments.redis_kills, Path(directory))
    _say({**asdict(figures), "lost": len(figures.lost)}, as_json=arguments.json)
    return 1 if figures.lost else 0


async def _soak(arguments: argparse.Namespace) -> int:
    """1 when anything has grown, or is left over."""
    found = await soak.soak(arguments.seconds)
    _say({**found.figures(), "wrong": found.wrong()}, as_json=arguments.json)
    return 1 if found.wrong() else 0


def _say(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write("".join(f"{name:32} {value}\n" for name, value in answer.items()))


def main() -> int:
    """The exit code: 0 when all is as it should be."""
    arguments = _arguments()
    if arguments.failpoints:
        return asyncio.run(failpoints.table(as_json=arguments.json))
    if arguments.mutants:
        return asyncio.run(killing.table(as_json=arguments.json))
    if arguments.redis_kills:
        return asyncio.run(_redis_kills(arguments))
    if arguments.soak:
        return asyncio.run(_soak(arguments))
    return asyncio.run(_storm(arguments))


if __name__ == "__main__":
    sys.exit(main())
