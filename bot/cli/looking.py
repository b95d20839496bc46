"""The commands that only look: `list`, `status`, `logs`, `projects`, `queue`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.answers import Page, Projects, Queue, Record, read
from bot.cli.connect import connect
from bot.cli.deploying import conclude, goes_on, watch
from bot.cli.failures import ExitCode
from bot.cli.names import deployment_path, newest, project
from bot.cli.options import AsJson, Deployment
from bot.cli.output import (
    age,
    log_line,
    plain,
    put,
    put_fields,
    put_json,
    put_table,
    say,
    seconds_in_words,
    shows_colour,
    title,
)
from bot.cli.paging import pages
from bot.core.deployment import Status
from bot.wording import ref_in_words, size_in_words

if TYPE_CHECKING:
    from bot.cli.server import Server

_STATUSES = ", ".join(Status)
_NO_LOG = (
    "there is nothing of its log: a build's is kept in the bucket, but the lines before it are in "
    "Redis only, for 7 days, and are lost with it"
)


def list_(
    of_project: Annotated[
        str, typer.Option("--project", metavar="PROJECT", help="Of one project only.")
    ] = "",
    branch: Annotated[str, typer.Option(metavar="BRANCH", help="Of one branch only.")] = "",
    status: Annotated[
        Status | None, typer.Option(metavar="STATUS", help=f"With this status only: {_STATUSES}.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Deployments, newest first; a * marks what is live."""
    with connect() as server:
        asked = {
            "project": project(of_project) if of_project else "",
            "branch": branch,
            "status": status or "",
        }
        found, cursor = pages(server, "/deployments", Page, asked=asked, limit=limit)
    if as_json:
        put_json({"deployments": found, "cursor": cursor})
        return
    if not found:
        say("no deployments" + (" match" if any(asked.values()) else " yet"))
        return
    heads = ("", "ID", "PROJECT", "BRANCH", "COMMIT", "STATUS", "AGE", "TOOK", "MESSAGE")
    rows = [_row(read(Record, each)) for each in found]
    put_table(heads, rows, elastic=("PROJECT", "BRANCH", "MESSAGE"))


def status(
    what: Deployment,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow it to its end first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One deployment: where it stands, what it took, where it is to be seen."""
    with connect() as server:
        answer = newest(server, what)
        if watching and not read(Record, answer).ended:
            answer = watch(server, answer)
    record = read(Record, answer)
    if as_json:
        put_json(answer)
    else:
        put_fields(_fields(record))
        put(plain(record.url))
    if record.wrecked:
        raise typer.Exit(ExitCode.FAILED)


def logs(
    what: Deployment,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the deployment has ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A build's log."""
    with connect() as server:
        record = read(Record, newest(server, what))
        if not following:
            lines = server.text(f"{deployment_path(record.id)}/log")
            if as_json:
                put_json({"deployment": record.id, "lines": list(lines)})
                return
            colour, empty = shows_colour(sys.stdout), True
            for line in lines:
                put(log_line(line, colour=colour))
                empty = False
            if empty:
                say(_NO_LOG if record.ended else "nothing is logged yet")
            return
        kept: list[str] | None = [] if as_json else None
        answer = _followed(server, record.id, kept)
    record = read(Record, answer)
    conclude(record)
    if kept is not None:
        put_json({"deployment": record.id, "lines": kept, "status": record.status})
    if not record.ready:
        raise typer.Exit(ExitCode.FAILED)


def projects(as_json: AsJson = False) -> None:
    """All projects, and what is live of each."""
    with connect() as server:
        answer = server.get("/projects")
    if as_json:
        put_json(answer)
        return
    found = read(Projects, answer).projects
    if not found:
        say("no projects yet; one is made by the first push, or by: pushlane deploy OWNER/NAME")
        return
    rows = [
        [
            plain(each.slug),
            plain(each.repository),
            plain(each.production_branch),
            plain(each.live or "-") + (" pinned" if each.pinned else ""),
            plain(each.url),
        ]
        for each in found
    ]
    put_table(("PROJECT", "REPOSITORY", "PRODUCTION", "LIVE", "URL"), rows)


def queue(as_json: AsJson = False) -> None:
    """How the queue does: what waits, what is being worked on."""
    with connect() as server:
        answer = server.get("/queue")
    if as_json:
        put_json(answer)
        return
    found = read(Queue, answer)
    put_fields(
        [
            ("verdict", plain(found.verdict)),
            ("waiting", f"{found.waiting}{_oldest(found)}"),
            *((plain(name), plain(" ".join(ids)) or "-") for name, ids in found.lists.items()),
            ("delayed", str(found.delayed)),
            ("dead", str(found.dead)),
            ("builds a minute", f"{found.builds_per_minute:g}"),
            ("active", str(len(found.active))),
        ]
    )
    for each in found.active:
        took = seconds_in_words(each.seconds)
        put(f"  {plain(each.id)}  {plain(each.project)}  {plain(each.status)} for {took}")


def _row(record: Record) -> list[str]:
    return [
        "*" if record.live else "",
        plain(record.id),
        plain(record.project),
        plain(ref_in_words(record.ref)),
        plain(record.commit[:7]),
        plain(record.status),
        age(record.received_at),
        seconds_in_words(record.seconds),
        title(record.message),
    ]


def _fields(record: Record) -> list[tuple[str, str]]:
    stages = (f"{plain(each.name)} {seconds_in_words(each.seconds)}" for each in record.stages)
    error = record.error
    kind = "tag" if record.ref.startswith("refs/tags/") else "branch"
    # Before it is ready these hosts may show nothing yet.
    branch = record.urls.branch if record.ready else ""
    production = record.urls.production if record.ready or record.live else ""
    return [
        ("deployment", plain(record.id)),
        ("status", plain(record.standing)),
        ("reason", plain(record.reason)),
        ("error", f"{plain(error.message)} ({plain(error.code)})" if error else ""),
        ("project", f"{plain(record.project)} ({plain(record.repository)})"),
        (kind, plain(ref_in_words(record.ref))),
        ("commit", f"{plain(record.commit[:7])} {title(record.message)}".strip()),
        ("author", plain(record.author)),
        ("received", f"{age(record.received_at)} ago"),
        ("stages", ", ".join(stages)),
        ("took", seconds_in_words(record.seconds) if record.ended else ""),
        ("framework", plain(record.framework)),
        ("files", f"{record.files}, {size_in_words(record.bytes)}" if record.files else ""),
        ("production", plain(production or "")),
        ("branch URL", plain(branch or "")),
        ("page", plain(record.urls.page)),
    ]


def _followed(server: Server, id_: str, kept: list[str] | None) -> Any:
    """Shows the log on stdout, or keeps it, until the end; answers the last record."""
    from bot.cli.follow import Ended, Line, follow

    colour = shows_colour(sys.stdout)
    answer: Any = None
    with goes_on(id_):
        for event in follow(server, id_):
            match event:
                case Line(text) if kept is not None:
                    kept.append(text)
                case Line(text):
                    put(log_line(text, colour=colour))
                case Ended(answer):
                    pass
    return answer


def _oldest(queue_: Queue) -> str:
    return f", the oldest for {seconds_in_words(queue_.oldest_seconds)}" if queue_.waiting else ""
