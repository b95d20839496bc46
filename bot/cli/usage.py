"""Where Typer is overruled: a flag's help names no type, and wrong usage is an error of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from bot.cli.failures import wrong
from bot.core.errors import Rejected


class Verb(TyperCommand):
    """A verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options, as they are shown."""
        return _shown(super().get_params(ctx))


class Verbs(TyperGroup):
    """The command itself, with all its verbs."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own options, as they are shown."""
        return _shown(super().get_params(ctx))


def whole_lines(verb: Callable[..., None]) -> str:
    """A verb's docstring, each paragraph on one line: so it is wrapped where the terminal ends."""
    paragraphs = (inspect.getdoc(verb) or "").split("\n\n")
    return "\n\n".join(" ".join(each.split()) for each in paragraphs)


def wrong_usage(error: TyperException) -> Rejected:
    """Wrong usage on one line, with where to read on."""
    said = " ".join(error.format_message().split()).rstrip(".")
    said = said.replace("Value error, ", "")  # Pydantic's, by which Typer reads values
    ctx = getattr(error, "ctx", None)
    verb = ctx.command_path if ctx else "pushlane"
    return wrong(f"{said[:1].lower()}{said[1:]}; see: {verb} --help")


def _shown(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if isinstance(each, TyperOption) and each.is_flag:
            each.metavar = ""  # else <bool>, as if it took a value
    return parameters
