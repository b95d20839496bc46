"""The command that brings the ledger back: `restore`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from bot.cli.answers import Restore, read
from bot.cli.connect import connect
from bot.cli.options import AsJson
from bot.cli.output import age, plain, put, put_json, say
from bot.cli.progress import spinning

if TYPE_CHECKING:
    from bot.cli.server import Server

_PAUSE_SECONDS: Final = 0.3
_SAID_SECONDS: Final = 5.0
_SECONDS: Final = 300.0
"""The server looks through the bucket before it answers."""


def restore(
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also into a ledger that is not empty: what it lacks, nothing that is older.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring projects, aliases and ended deployments back from the bucket into an empty Redis.

    A bot begins by itself when it finds its Redis empty; then this waits for the end.
    """
    with connect() as server:
        asked = read(Restore, server.post("/restore", {"force": force}, seconds=_SECONDS))
        with spinning("restoring"):
            found = _followed(server, asked)
    if as_json:
        put_json(msgspec.to_builtins(found))
        return
    if found.state == "whole":
        put("nothing is lacking: the ledger holds all that the bucket does")
        return
    last = f"the last restoration, {age(found.ended_at)} ago: "
    put(
        (last if asked.state == "restored" else "")
        + f"restored {_count(found.projects, 'project')}, {_count(found.aliases, 'alias')}, "
        f"{_count(found.deployments, 'deployment')}"
        + (f" ({plain(found.ended_at)})" if found.ended_at else "")
    )


def _followed(server: Server, now: Restore) -> Restore:
    """Waits for the end of what goes on, and says how far it is."""
    said_at = 0.0
    while now.state == "restoring":
        if time.monotonic() > said_at + _SAID_SECONDS:
            said_at = time.monotonic()
            say(f"restoring: {now.done} of {now.of}" if now.of else "restoring: looking")
            if now.detail:
                say(plain(now.detail))
        time.sleep(_PAUSE_SECONDS)
        now = read(Restore, server.get("/restore"))
    return now


def _count(number: int, word: str) -> str:
    many = f"{word}es" if word == "alias" else f"{word}s"
    return f"{number:,} {word if number == 1 else many}"
