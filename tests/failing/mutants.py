"""The protocol with one rule taken out: each mutant is a change of a script's text, or of a call.

Nothing in the product can be switched so: the text is changed where it is read, by a test.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from bot.core.ledger import connection

MUTANT: Final = "FAILING_MUTANT"
"""The variable by which `python -m tests.failing` is told which mutant to be."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is taken out. `old` stands exactly once in the verb's text, prelude included."""

    name: str
    rule: str
    """What the protocol loses."""
    verb: str = ""
    """The script that is changed; `prelude` and `epoch` are in all of them."""
    old: str = ""
    new: str = ""
    by: str = ""
    """The test that sees it: `ledger_claims::test_…` of `tests/integration/test_ledger_claims.py`.
    Without one, a crash of a worker does."""


class BrokenMutant(Exception):
    """It does not lack its rule: that stands elsewhere, or the script does not run at all."""


NEVER: Final = "if false then"
SHARED: Final = ("prelude", "epoch")


def text_of(mutant: Mutant, verb: str) -> str:
    """The verb's script with the rule taken out where it stands there."""
    text, _ = _original(verb)
    if mutant.verb not in (verb, *SHARED):
        return text
    if text.count(mutant.old) != 1:
        raise BrokenMutant(f"{mutant.name}: {mutant.old!r} stands not once in {verb}")
    return text.replace(mutant.old, mutant.new)


_original: Final = connection._script


def apply(mutant: Mutant) -> Callable[[], None]:
    """Takes the rule out of this process; what it answers puts it back."""
    if mutant.name == "sweep: call":
        return _nobody_sweeps()

    @cache
    def script(verb: str) -> tuple[str, str]:
        text = text_of(mutant, verb)
        return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    connection._script = script

    def back() -> None:
        connection._script = _original

    return back


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The rule is out while the body lasts."""
    back = apply(mutant)
    try:
        yield
    finally:
        back()


def _nobody_sweeps() -> Callable[[], None]:
    """The loops of bot and worker that call the sweep wait for ever."""
    import bot.app
    import worker.__main__

    owners: tuple[Any, ...] = (bot.app.Bot, worker.__main__)
    before = [owner._sweep for owner in owners]

    async def for_ever(_: object) -> None:
        await asyncio.Event().wait()

    for owner in owners:
        owner._sweep = for_ever

    def back() -> None:
        for owner, original in zip(owners, before, strict=True):
            owner._sweep = original

    return back
