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

from tests.chaos.storm import Outcome, storm


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the storm lasts")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--bots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1, help="the same plan for the same seed")
    parser.add_argument("--json", action="store_true", help="one JSON object last on stdout")
    parser.add_argument("--keep-going", action="store_true", help="keep logs and data; say where")
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


def main() -> int:
    """1 when an invariant does not hold."""
    arguments = _arguments()
    directory = Path(tempfile.mkdtemp(prefix="pushlane-chaos-"))
    try:
        outcome = asyncio.run(
            storm(
                directory / "fleet",
                seconds=arguments.seconds,
                workers=arguments.workers,
                bots=arguments.bots,
                seed=arguments.seed,
            )
        )
    finally:
        if arguments.keep_going:
            sys.stderr.write(f"kept: {directory}\n")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    answer = told(outcome)
    if arguments.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        shown = {name: value for name, value in answer.items() if name != "violations"}
        sys.stdout.write("".join(f"{name:24} {value}\n" for name, value in shown.items()))
        kinds = Counter(each.invariant for each in outcome.violations)
        sys.stdout.write(f"violations               {dict(kinds) or 'none'}\n")
        for each in outcome.violations:
            sys.stdout.write(f"{each.invariant} {each.what} {each.ids} {each.evidence}\n")
    return 1 if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
