"""`deploy` and `redeploy`: ask for a deployment, and stay with it to its end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.answers import Failure, Record, read
from bot.cli.connect import connect
from bot.cli.failures import ExitCode, Unreachable
from bot.cli.names import deployment_path, newest, target
from bot.cli.options import AsJson, Deployment, Logs, Wait
from bot.cli.output import log_line, plain, put, put_json, say, seconds_in_words, shows_colour
from bot.core.deployment import Status

if TYPE_CHECKING:
    from bot.cli.server import Server

_TAIL_LINES = 20
"""How much of a failed build's log is shown."""


def deploy(
    what: Annotated[
        str, typer.Argument(metavar="OWNER/NAME[@REF]", help="REF: a branch, a tag or a commit.")
    ],
    wait: Wait = True,
    logs: Logs = False,
    as_json: AsJson = False,
) -> None:
    """Bring a commit live; the newest of the production branch, when no REF is given."""
    asked = target(what)
    with connect() as server:
        answer = server.post("/deployments", asked)
        _see_through(server, answer, wait=wait, logs=logs, as_json=as_json)


def redeploy(
    what: Deployment, wait: Wait = True, logs: Logs = False, as_json: AsJson = False
) -> None:
    """Build a deployment's commit anew."""
    with connect() as server:
        old = read(Record, newest(server, what))
        answer = server.post(f"{deployment_path(old.id)}/redeploy")
        _see_through(server, answer, wait=wait, logs=logs, as_json=as_json)


def watch(server: Server, answer: Any, *, logs: bool = False) -> Any:
    """Shows a deployment's stages on stderr until its end; answers its last record.

    With `logs` its log is shown too, else only the end of it, and only when it failed.
    """
    from bot.cli.follow import Away, Changed, Ended, Line, follow
    from bot.cli.progress import Progress

    record = read(Record, answer)
    colour = shows_colour(sys.stderr)
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with goes_on(record.id), Progress() as progress:
        progress.show(record)
        for event in follow(server, record.id):
            match event:
                case Line(text) if logs:
                    progress.line(log_line(text, colour=colour))
                case Line(text):
                    tail.append(log_line(text, colour=colour))
                case Changed(answer) | Ended(answer):
                    progress.show(read(Record, answer))
                case Away():
                    progress.note("reconnecting")
    conclude(read(Record, answer), tail=tail)
    return answer


@contextmanager
def goes_on(id_: str) -> Iterator[None]:
    """Says to whoever leaves, or loses the server, that the deployment does not end with that."""
    words = f"the deployment goes on; follow it by: pushlane logs -f {id_}"
    try:
        yield
    except KeyboardInterrupt:
        say(words)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except Unreachable as error:
        raise Unreachable(f"{error.message}; {words}", code=error.code) from error


def conclude(record: Record, *, tail: Iterable[str] = ()) -> None:
    """Says on stderr how a deployment ended; after `tail`, when it failed."""
    status = plain(record.status)
    reason = f": {plain(record.reason)}" if record.reason else ""
    match record.status:
        case Status.READY:
            live = f", live at {plain(record.urls.production or record.url)}" if record.live else ""
            say(f"ready in {seconds_in_words(record.seconds)}{live}{reason}")
        case Status.FAILED | Status.ERRORED:
            error = record.error or Failure(code="unknown", message="no reason given")
            words = plain(error.message)
            for line in tail:
                if not words or not line.endswith(words):  # as the log's last line does
                    say(f"  {line}")
            say(f"{status}: {words} ({plain(error.code)})")
        case _:
            say(f"{status}{reason}")


def _see_through(server: Server, answer: Any, *, wait: bool, logs: bool, as_json: bool) -> None:
    record = read(Record, answer)
    say(f"{plain(record.project)}: deployment {plain(record.id)}")
    if wait:
        answer = watch(server, answer, logs=logs)
        record = read(Record, answer)
    others = _beside(server, record, logs=logs) if wait else []
    if as_json:
        put_json(answer)
    else:
        # Of a repository that is nothing but its further projects there is no site of its own.
        shown = others if others and record.status == Status.SKIPPED else [record, *others]
        for each in shown:
            put(plain(each.url))
    ready = record.ready or (others and record.status == Status.SKIPPED)
    if wait and not (ready and all(each.ready for each in others)):
        raise typer.Exit(ExitCode.FAILED)


def _beside(server: Server, record: Record, *, logs: bool) -> list[Record]:
    """Stays with the deployments of the repository's further projects, one after the other."""
    found = []
    for id_ in record.beside:
        answer = server.get(deployment_path(id_))
        each = read(Record, answer)
        say(f"{plain(each.project)}: deployment {plain(each.id)}")
        found.append(read(Record, watch(server, answer, logs=logs)))
    return found
