"""What one look at one thing found."""

from __future__ import annotations

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was tried. `cure` says what to do where it is not as it should be.

    `detail` is empty where the name says it all.
    """

    name: str
    outcome: Literal["ok", "warning", "failed"]
    detail: str = ""
    cure: str = ""


def ok(name: str, detail: str = "") -> Check:
    """It is as it should be."""
    return Check(name=name, outcome="ok", detail=detail)


def warning(name: str, detail: str, cure: str) -> Check:
    """It works, but not as well as it might."""
    return Check(name=name, outcome="warning", detail=detail, cure=cure)


def failed(name: str, detail: str, cure: str) -> Check:
    """Without it Pushlane, or a part of it, does not work."""
    return Check(name=name, outcome="failed", detail=detail, cure=cure)
