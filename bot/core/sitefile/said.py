"""What one of the repository's files says, before they are laid together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bot.core.sitefile.records import Entry, Headers, Redirect


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Only what the file says: a key that it leaves out is not there."""

    file: str
    build: dict[str, Any] = field(default_factory=dict)
    """Keys of `Build`. `root` and `output` are seen from the repository's top."""
    environment: dict[str, str] = field(default_factory=dict)
    site: dict[str, Any] = field(default_factory=dict)
    """Keys of `Site`."""
    projects: tuple[Entry, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    headers: tuple[Headers, ...] = ()
    warnings: tuple[str, ...] = ()
    ours: bool = False
    """Its steps are meant for whatever directory is worked in."""


def not_understood(file: str, path: str) -> str:
    """The line about a key that nobody here knows."""
    return f"{file}: `{_short(path)}` is not understood"


def not_served(file: str, path: str) -> str:
    """The line about a key whose time is yet to come."""
    return f"{file}: `{_short(path)}` is read, but not served yet"


def _short(path: str) -> str:
    # A name in a file may be anything, and the log has lines.
    return "".join(sign if sign.isprintable() else "�" for sign in path[:100])
