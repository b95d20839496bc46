"""Each rule of the protocol that a mutant lacks, and the test that sees it."""

from __future__ import annotations

from typing import Final

from tests.failing.mutants import Mutant
from tests.failing.rules import keeping, queue

MUTANTS: Final = (
    *queue.MUTANTS,
    Mutant("sweep: call", "the sweep: nobody calls it"),
    *keeping.MUTANTS,
)


def named(name: str) -> Mutant:
    """The mutant of this name; KeyError when there is none."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]
