"""Every error that Pushlane raises on purpose, split by whose fault it is.

The class says who must act, `code` is stable and safe to match on, and the message tells a person
what to do next. `retryable` says whether trying again, unchanged, may succeed.
"""

from __future__ import annotations

import re
from typing import Final

NO_ROOM_WORDS: Final = re.compile(r"ENOSPC|No space left on device|Disk quota exceeded")
"""What programs say of a full disk."""


def short(text: str, longest: int) -> str:
    """A stranger's text for a message: on one line, at most `longest` characters.

    A status' description shows a message's first 131 characters: what to do must stand in them.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


class PushlaneError(Exception):
    """The root of the tree. Never raised itself."""

    code: str
    retryable: bool = False

    def __init__(self, message: str, *, code: str, retryable: bool | None = None) -> None:
        # A name in a repository need not be text; what is said of it is recorded as JSON.
        message = message.encode("utf-8", "backslashreplace").decode()
        super().__init__(message)
        self.message = message
        self.code = code
        if retryable is not None:
            self.retryable = retryable


class BuildFailed(PushlaneError):
    """The repository's fault: the deployment ends as `failed`, at once, and is not retried."""


class Errored(PushlaneError):
    """Our fault, or the network's: retried, and `errored` after the last attempt."""

    retryable = True


class Full(Errored):
    """There is no room for what is to be written: it is waited for, and no attempt counts."""


class Rejected(PushlaneError):
    """The caller's fault: a request that cannot be served. `http_status` is what HTTP answers."""

    def __init__(self, message: str, *, code: str, http_status: int = 400) -> None:
        super().__init__(message, code=code, retryable=False)
        self.http_status = http_status


class SettingInvalid(PushlaneError):
    """A setting that cannot be used; the process prints the one line and exits with 2."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}", code="setting_invalid", retryable=False)
        self.name = name


class Stopped(PushlaneError):
    """The claim was lost, or the deployment was asked to stop: end all work on it, write nothing.

    `reason` is `lost`, `cancelled` or `superseded`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"stopped: {reason}", code=f"stopped_{reason}", retryable=False)
        self.reason = reason


def disk_full(path: str = "") -> Full:
    """A disk of one of our machines has no room; `path` is what could not be written."""
    what = f"{path} cannot be written" if path else "nothing can be written"
    return Full(f"the disk is full, {what}: make room there", code="disk_full")
