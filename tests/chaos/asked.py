"""What `scripts/chaos` is asked for: its options, and what of them makes no sense."""

from __future__ import annotations

import argparse
import math
import sys
from difflib import get_close_matches
from typing import Final, NoReturn

from tests.failing.rules import MUTANTS

_ABOUT: Final = """\
The fault suite on real processes: pushes, kills, freezes and networks that fail; then every
invariant. Without one of the commands below it is the storm.

how long it takes, on two cores:
  the storm             its --seconds, and one to three minutes more to start, settle and check
  --failpoints          13 minutes
  --mutants             11 minutes
  --redis-kills N       a second for each kill, and a few seconds more
  --soak                its --seconds, and up to two minutes more
"""
_LAST: Final = "exit code: 0 all is as it should be, 1 it is not, 2 wrong usage"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Wrong usage is one line."""
        sys.stderr.write(f"error: {message.removeprefix('argument ')}; see: {self.prog} --help\n")
        sys.exit(2)


def arguments() -> argparse.Namespace:
    """What the command line says. Exits with 2 when it makes no sense."""
    parser = _Parser(
        prog="scripts/chaos",
        description=_ABOUT,
        epilog=_LAST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    storm = parser.add_argument_group("the storm")
    storm.add_argument(
        "--seconds", type=_seconds, default=60.0, metavar="S", help="how long it blows (60)"
    )
    storm.add_argument("--workers", type=_count, default=4, metavar="N", help="so many (4)")
    storm.add_argument("--bots", type=_count, default=2, metavar="N", help="so many (2)")
    storm.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same plan for the same seed (1)"
    )
    storm.add_argument(
        "--keep-going", action="store_true", help="do not end at the first violation that is seen"
    )
    storm.add_argument("--keep", action="store_true", help="leave logs and stores, and say where")
    storm.add_argument(
        "--mutant",
        type=_mutant,
        metavar="NAME",
        help="meet a protocol without one of its rules",
    )
    others = parser.add_argument_group("commands").add_mutually_exclusive_group()
    others.add_argument("--failpoints", action="store_true", help="a crash at each named point")
    others.add_argument("--mutants", action="store_true", help="which test sees which mutant")
    others.add_argument(
        "--redis-kills", type=_count, metavar="N", help="what is lost when Redis is killed N times"
    )
    others.add_argument(
        "--soak",
        action="store_true",
        help="steady pushes without faults for --seconds: what grows, what is left",
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout, one object a line")
    return parser.parse_args()


def _seconds(text: str) -> float:
    seconds = _number(text, float, "takes seconds")
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"takes seconds, more than 0, and not {text}")
    return seconds


def _count(text: str) -> int:
    count = _number(text, int, "takes a whole number")
    if count < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, and not {text}")
    return int(count)


def _number(text: str, kind: type[float | int], takes: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{takes}, and not {text!r}") from None


def _mutant(name: str) -> str:
    names = [mutant.name for mutant in MUTANTS]
    if name in names:
        return name
    near = ", ".join(repr(each) for each in get_close_matches(name, names, cutoff=0.4))
    where = f"did you mean {near}?" if near else "tests/failing/rules/ names them"
    raise argparse.ArgumentTypeError(f"there is no mutant {name!r}: {where}")
