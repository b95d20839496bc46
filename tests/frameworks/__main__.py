"""`scripts/frameworks`: tries the pairs that have no result yet, and prints the table."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.acceptance.house import House
from tests.frameworks import kept, table
from tests.frameworks.catalogue import Catalogue, Pair, catalogue
from tests.frameworks.locks import LockFailed, with_lock
from tests.frameworks.repositories import files_of
from tests.frameworks.stage import standing, toolchains
from tests.frameworks.trying import Result, attempt

Row = Mapping[str, Any]


def arguments(known: Catalogue) -> argparse.Namespace:
    """What was asked for; `pairs` are names that exist."""
    parser = argparse.ArgumentParser(
        prog="scripts/frameworks",
        description="Builds every framework with every package manager, through the whole product.",
    )
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="some of them; default: all")
    parser.add_argument("--only", choices=["cold"], help="one push a pair, no second one")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout at the end")
    parser.add_argument("--anew", action="store_true", help="forget the results of earlier calls")
    parser.add_argument("--again", action="store_true", help="try those once more that failed")
    parser.add_argument("--list", action="store_true", help="name the pairs, and try none")
    asked = parser.parse_args()
    unknown = sorted(set(asked.pairs) - set(known.pairs))
    if unknown:
        parser.error(f"no such pair: {', '.join(unknown)}; --list names them")
    return asked


async def try_all(
    pairs: Sequence[Pair], known: Catalogue, asked: argparse.Namespace, console: Console
) -> list[Row]:
    """One row for each pair, in order; each result is kept as soon as it is there."""
    home, code = kept.home(), kept.version()
    results = kept.Results(home / "results.json", anew=asked.anew)
    keys = {pair.name: kept.key(pair, f"{code}{asked.only}") for pair in pairs}
    left = [pair for pair in pairs if _is_left(results.get(keys[pair.name]), again=asked.again)]
    if left:
        console.print(f"{len(pairs) - len(left)} pairs have a result, {len(left)} are to be tried")
        async with standing(home / "house") as house:
            for number, pair in enumerate(left, 1):
                console.print(f"[dim]{number:3}/{len(left)}[/dim] {pair.name} ", end="")
                made = await _one(house, known, pair, home, warm=asked.only != "cold")
                results.put(keys[pair.name], made.as_json())
                told = "[green]ok[/green]" if made.ok else "[red]not ok[/red]"
                console.print(f"{told} cold {made.cold.live_seconds:.1f} s", end="")
                console.print(f", warm {made.warm.live_seconds:.1f} s" if made.warm else "")
                if not made.ok:
                    console.print(f"        {made.why}", markup=False)
    return [row for pair in pairs if (row := results.get(keys[pair.name]))]


def _is_left(result: Row | None, *, again: bool) -> bool:
    return result is None or (again and not result["ok"])


async def _one(house: House, known: Catalogue, pair: Pair, home: Path, *, warm: bool) -> Result:
    try:
        files = await with_lock(
            pair, files_of(pair), kept=home / "locks", toolchains=toolchains(home / "house")
        )
        return await attempt(house, known, pair, files, warm=warm)
    except (LockFailed, AssertionError, OSError) as error:
        return Result(pair=pair.name, by=pair.by or "–", why=f"{error}"[:600] or repr(error))
    except Exception as error:  # noqa: BLE001  one pair's trouble is not the others'
        return Result(pair=pair.name, by=pair.by or "–", why=repr(error)[:600])


def main() -> int:
    """0 when every pair that was asked for is ok, else 1."""
    known = catalogue()
    asked = arguments(known)
    if asked.list:
        sys.stdout.write("".join(f"{name}\n" for name in known.pairs))
        return 0
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    pairs = [known.pairs[name] for name in asked.pairs] or list(known.pairs.values())
    home = kept.home()
    home.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where the shell that started this ignores it: all that runs here ends in order.
        signal.signal(number, signal.default_int_handler)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            console.print("another scripts/frameworks is under way here")
            return 2
        begun = time.monotonic()
        try:
            rows = asyncio.run(try_all(pairs, known, asked, console))
        except KeyboardInterrupt:
            return 130
    table.show(Console(highlight=False) if not asked.json else console, rows, known)
    console.print(f"[dim]{time.monotonic() - begun:.0f} s this time[/dim]")
    if asked.json:
        sys.stdout.write(json.dumps({
            "pairs": rows,
            "ok": sum(bool(row["ok"]) for row in rows),
            "detected_only": {name: site.without for name, site in known.detected_only.items()},
        }) + "\n")  # fmt: skip
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
