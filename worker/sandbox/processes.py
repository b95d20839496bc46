"""The processes of this machine, as /proc tells of them. What has gone meanwhile is left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Stat(NamedTuple):
    """What the kernel says of one process."""

    state: str
    """A letter: R, S, D, T, or Z and X for one that has ended."""
    parent: int
    session: int

    @property
    def ended(self) -> bool:
        """It waits to be reaped, and does nothing more."""
        return self.state in "ZX"


def ids() -> list[int]:
    """All that can be seen from here."""
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def stat(pid: int) -> Stat | None:
    """None where there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name before it may hold anything, a parenthesis too.
    state, parent, _, session = text.rpartition(")")[2].split()[:4]
    return Stat(state, int(parent), int(session))


def owner(pid: int) -> int | None:
    """The user that it belongs to; None where there is no such process."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
