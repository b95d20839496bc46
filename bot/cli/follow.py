"""Follows one deployment to its end, over as many connections as that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from bot.cli.failures import Unreachable, wrong
from bot.cli.names import deployment_path
from bot.cli.server import Server

PATIENCE_SECONDS = 30.0
"""How long a server may be out of reach before the command gives up."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the build's log."""

    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The record, with another status than before."""

    record: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """The record as it will stay. The last event."""

    record: Any


@dataclass(frozen=True, slots=True)
class Away:
    """The connection broke; it is tried again."""


Event: TypeAlias = Line | Changed | Ended | Away


def follow(server: Server, id_: str) -> Iterator[Event]:
    """What happens to a deployment, from its first log line to its end, each line once.

    Raises:
        Rejected: The server refuses: no such deployment, say.
        Unreachable: It was out of reach for longer than `PATIENCE_SECONDS`.
    """
    path = f"{deployment_path(id_)}/log"
    last_id, pause = "", _FIRST_PAUSE
    away_since: float | None = None
    while True:
        try:
            with server.events(path, last_id=last_id) as events:
                away_since = None
                for event in events:
                    pause = _FIRST_PAUSE
                    last_id = event.id or last_id
                    match event.event:
                        case "message":
                            yield Line(event.data)
                        case "status":
                            yield Changed(_record(event.data))
                        case "end":
                            yield Ended(_record(event.data))
                            return
                        case _:
                            pass  # a newer server may say more
        except Unreachable as error:
            now = time.monotonic()
            away_since = now if away_since is None else away_since
            if now - away_since >= PATIENCE_SECONDS:
                raise Unreachable(
                    f"{error.message}; tried for {PATIENCE_SECONDS:.0f} s", code=error.code
                ) from error
        yield Away()
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _record(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise wrong(
            f"the server's stream is not understood ({error})", code="answer_unknown"
        ) from error
