"""How the command ends when something is wrong: which error means which exit code."""

from __future__ import annotations

from enum import IntEnum

from bot.core.errors import Errored, PushlaneError, Rejected, SettingInvalid


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    """The deployment did not end ready, or something here is broken."""
    WRONG = 2
    """Wrong usage: also what is not there, not allowed, or not possible now."""
    UNREACHABLE = 3
    """The server cannot be reached, or cannot serve."""
    INTERRUPTED = 130
    """Ctrl-C."""


class Unreachable(Errored):
    """The server does not answer, or answers that it cannot serve now."""

    def __init__(self, message: str, *, code: str = "server_unreachable") -> None:
        super().__init__(message, code=code)


def wrong(message: str, *, code: str = "usage") -> Rejected:
    """What the user is to put right; the command ends with 2."""
    return Rejected(message, code=code)


def exit_code(error: PushlaneError) -> ExitCode:
    """The exit code that an error ends the command with."""
    match error:
        case Unreachable():
            return ExitCode.UNREACHABLE
        case Rejected() | SettingInvalid():
            return ExitCode.WRONG
        case _:
            return ExitCode.FAILED
