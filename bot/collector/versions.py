"""What is saved of the ledger: of each thing only the newest version is ever restored. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from bot.collector.verdicts import LONGEST_RECORD_MS
from bot.core import saved
from bot.core.bucket import Entry


class Version(NamedTuple):
    """One version of a thing."""

    number: int
    entry: Entry


def sift(entries: Iterable[Entry], newest: dict[str, Version]) -> list[Entry]:
    """Takes the newest version of each thing into `newest`, by its name; answers all others.

    A thing is named as in `Saved.what`. What bears no name of ours is passed over.
    """
    older: list[Entry] = []
    for entry in entries:
        found = saved.of_name(entry.name)
        if found is None:
            continue
        what, number = found
        other = newest.get(what)
        if other is not None and other.number > number:
            older.append(entry)
            continue
        newest[what] = Version(number, entry)
        if other is not None:
            older.append(other.entry)
    return older


def doubtful(
    newest: Mapping[str, Version], *, before: int, undecided: AbstractSet[str]
) -> list[str]:
    """The things which the ledger may have let go by its own rules, and which may then go.

    `before` is when what is judged was written at the latest, in ms. A project and its secrets
    are for a person to remove; an `undecided` deployment has a release that the ledger does not
    know.
    """
    found = []
    for what, version in newest.items():
        kind, _, name = what.partition(":")
        old = version.entry.modified_at < before - LONGEST_RECORD_MS
        if old and kind not in ("project", "secrets") and name not in undecided:
            found.append(what)
    return found
