"""Wraps the steps, then becomes the real bot or worker."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final, cast

from bot.core import reporter
from tests.failing.mutants import MUTANT, apply
from tests.failing.points import Module, install
from tests.failing.rules import named

QUICK: Final = "FAILING_QUICK"
"""The variable by which what a test would only wait for comes sooner than in the product: a sweep
each half second, and the end of a report's lease after 3 s."""


def main() -> None:
    """The product's own `main`, with the steps wrapped."""
    module = cast(Module, sys.argv[1])
    assert module in ("bot", "worker"), module
    install(module)
    if name := os.environ.get(MUTANT):
        apply(named(name))
    if os.environ.get(QUICK):
        _hurry(module)
    sys.argv = [module]
    importlib.import_module(f"{module}.__main__").main()


def _hurry(module: Module) -> None:
    sweeper: Any = importlib.import_module({"bot": "bot.app", "worker": "worker.__main__"}[module])
    assert sweeper._SWEEP_SECONDS > 0
    sweeper._SWEEP_SECONDS = 0.5
    cast(Any, reporter).LEASE_SECONDS = 3.0


if __name__ == "__main__":
    main()
