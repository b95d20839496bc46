"""The commands that change what is there: `cancel`, `promote`, `rollback`, `unpin`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bot.cli.answers import Cancelled, Move, read
from bot.cli.connect import connect
from bot.cli.names import deployment_id, deployment_path, project_path
from bot.cli.options import AsJson, DeploymentId, Project
from bot.cli.output import plain, put, put_json, say


def cancel(what: DeploymentId, as_json: AsJson = False) -> None:
    """Call a deployment off. One that is being built ends within moments."""
    id_ = deployment_id(what)
    with connect() as server:
        answer = server.post(f"{deployment_path(id_)}/cancel")
    if as_json:
        put_json(answer)
        return
    stopping = read(Cancelled, answer).outcome == "stopping"
    put(f"{id_} {'is asked to stop' if stopping else 'is cancelled'}")


def promote(what: DeploymentId, as_json: AsJson = False) -> None:
    """Point production at a deployment that is ready. Nothing is built anew."""
    id_ = deployment_id(what)
    with connect() as server:
        answer = server.post(f"{deployment_path(id_)}/promote")
    _moved(answer, as_json=as_json)


def rollback(
    what: Project,
    to: Annotated[
        str, typer.Option("--to", metavar="ID", help="Not to the one before, but to this one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Point production at what it showed before, and pin it there."""
    body = {"to": deployment_id(to)} if to else {}
    with connect() as server:
        answer = server.post(f"{project_path(server, what)}/rollback", body)
    _moved(answer, as_json=as_json)


def unpin(what: Project, as_json: AsJson = False) -> None:
    """Let production follow its branch again."""
    with connect() as server:
        answer = server.post(f"{project_path(server, what)}/unpin")
    _moved(answer, as_json=as_json)


def _moved(answer: Any, *, as_json: bool) -> None:
    if as_json:
        put_json(answer)
        return
    move = read(Move, answer)
    was = f", was {plain(move.previous)}" if move.previous else ""
    if move.previous == move.deployment:
        was = " as before: nothing moved"
    slug = plain(move.alias)
    pinned = f"pinned: `pushlane unpin {slug}` lets it go" if move.pinned else "not pinned"
    say(f"{slug} shows {plain(move.deployment)}{was}; {pinned}")
    put(plain(move.url))
