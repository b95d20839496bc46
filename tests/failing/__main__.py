"""Wraps the steps, then becomes the real bot or worker."""

from __future__ import annotations

import importlib
import os
import sys
from functools import partial
from typing import Final, cast

from bot.collector import Collector, Retention
from tests.failing.mutants import MUTANT, apply
from tests.failing.points import Module, install
from tests.failing.rules import named

QUICK: Final = "FAILING_QUICK"
"""The variable by which what a test would only wait for comes sooner than in the product: a sweep
each half second, the end of all other leases after 3 s, and that of what is condemned after 1 s."""
_NONE_BUT_THE_NEWEST: Final = Retention(production=1, branch=1, days=0)


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
    if module == "worker":
        _set("worker.__main__", "_SWEEP_SECONDS", 0.5)
        return
    _set("bot.app", "_SWEEP_SECONDS", 0.5)
    _set("bot.core.reporter", "LEASE_SECONDS", 3.0)
    _set("bot.keeper.saving", "LEASE_SECONDS", 3.0)
    _set("bot.core.ledger.restores", "LEASE_SECONDS", 3.0)
    _set("bot.catchup.rounds", "LEASE_SECONDS", 3.0)
    _set("bot.core.ledger.collection", "LEASE_SECONDS", 3.0)
    _set("bot.collector.rounds", "_EXTEND_SECONDS", 0.5)
    # Of each branch and of production the newest release is kept, what is condemned for a second.
    _set("bot.app", "GRACE_SECONDS", 1.0 - 900.0)
    _set("bot.app", "Collector", partial(Collector, retention=_NONE_BUT_THE_NEWEST))


def _set(module: str, name: str, value: object) -> None:
    owner = importlib.import_module(module)
    assert hasattr(owner, name), f"{module} has no {name}"
    setattr(owner, name, value)


if __name__ == "__main__":
    main()
