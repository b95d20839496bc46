"""Wraps the steps, then becomes the real bot or worker."""

from __future__ import annotations

import os
import sys
from typing import Final, cast

from bot.core import reporter
from tests.failing.mutants import MUTANT, apply, named
from tests.failing.points import Module, install

REPORT_SECONDS: Final = "FAILING_REPORT_SECONDS"
"""The variable that shortens a report's lease, so that no test has to wait a minute for its end."""


def main() -> None:
    """The product's own `main`, with the steps wrapped."""
    module = cast(Module, sys.argv[1])
    assert module in ("bot", "worker"), module
    install(module)
    if name := os.environ.get(MUTANT):
        apply(named(name))
    if seconds := os.environ.get(REPORT_SECONDS):
        reporter.LEASE_SECONDS = float(seconds)  # type: ignore[misc]
    sys.argv = [module]
    if module == "bot":
        from bot.__main__ import main as begin
    else:
        from worker.__main__ import main as begin
    begin()


if __name__ == "__main__":
    main()
