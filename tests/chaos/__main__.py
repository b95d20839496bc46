"""`scripts/chaos`: the storm, the failpoints' table, the mutants' table."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.chaos import failpoints, killing
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
    return parser.parse_args()


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
    """1 when an invariant does not hold."""
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
    if arguments.json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return 1 if outcome.violations else 0
    kinds = Counter(each.invariant for each in outcome.violations)
    answer["violations"] = dict(kinds) or "none"
    sys.stdout.write("".join(f"{name:32} {value}\n" for name, value in answer.items()))
    for each in outcome.violations:
        sys.stdout.write(f"{each.invariant} {each.what} {each.ids} {each.evidence[:1000]}\n")
    return 1 if outcome.violations else 0


def main() -> int:
    """The exit code: 0 when all is as it should be."""
    arguments = _arguments()
    if arguments.failpoints:
        return asyncio.run(failpoints.table(as_json=arguments.json))
    if arguments.mutants:
        return asyncio.run(killing.table(as_json=arguments.json))
    return asyncio.run(_storm(arguments))


if __name__ == "__main__":
    sys.exit(main())
