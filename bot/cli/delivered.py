"""`deliveries` and `redeliver`: what became of what GitHub delivered, and taking it up again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bot.cli.answers import Deliveries, Delivery, Redelivered, Refused, Restore, read
from bot.cli.connect import connect
from bot.cli.failures import wrong
from bot.cli.names import delivery_path, project
from bot.cli.names import repository as repository_name
from bot.cli.options import AsJson
from bot.cli.output import (
    age,
    at_terminal,
    plain,
    put,
    put_fields,
    put_json,
    put_table,
    say,
    seconds_since,
)
from bot.cli.paging import pages
from bot.wording import ref_in_words, size_in_words

if TYPE_CHECKING:
    from bot.cli.server import Server

_HELP: Final = "The X-GitHub-Delivery of a delivery, or its first 8 letters or more."
_SHORT: Final = 8
_WHOLE: Final = 36
"""Letters of a GUID, as GitHub makes them."""
_KEPT_SECONDS: Final = 30 * 86_400


def deliveries(
    guid: Annotated[str, typer.Argument(metavar="GUID", help=_HELP, show_default=False)] = "",
    of_project: Annotated[
        str, typer.Option("--project", metavar="PROJECT", help="Of one project only.")
    ] = "",
    repository: Annotated[
        str, typer.Option(metavar="OWNER/NAME", help="Of one repository only.")
    ] = "",
    outcome: Annotated[
        str,
        typer.Option(
            metavar="OUTCOME",
            help="With this outcome only: recorded, repeated, superseded, removed, late, ignored.",
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many.")
    ] = 20,
    refused: Annotated[
        bool, typer.Option("--refused", help="Those that were not let in: no right signature ...")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What GitHub delivered in the last 30 days; of one, what it led to and why."""
    asked = {
        "project": project(of_project) if of_project else "",
        "repository": repository_name(repository) if repository else "",
        "outcome": outcome,
    }
    if (guid and (refused or any(asked.values()))) or (refused and any(asked.values())):
        raise wrong("a GUID, --refused and what narrows the list down exclude each other")
    with connect() as server:
        if guid:
            _one(server, guid, as_json=as_json)
        elif refused:
            _refused(server, as_json=as_json)
        else:
            _list(server, asked, limit, as_json=as_json)


def redeliver(
    guid: Annotated[str, typer.Argument(metavar="GUID", help=_HELP)], as_json: AsJson = False
) -> None:
    """Decide anew on a delivery that came before: when a setting has changed since, say."""
    with connect() as server:
        answer = server.post(f"{delivery_path(guid)}/redeliver")
    if as_json:
        put_json(answer)
        return
    found = read(Redelivered, answer)
    say(plain(f"{found.outcome}: {found.why}"))
    if found.deployment:
        put(plain(found.deployment))


def _one(server: Server, guid: str, *, as_json: bool) -> None:
    answer = server.get(delivery_path(guid))
    if as_json:
        put_json(answer)
        return
    found = read(Delivery, answer)
    status = f" ({plain(found.status)})" if found.status else ""
    kept = "kept" if found.payload_kept else "not kept"
    put_fields(
        [
            ("delivery", plain(found.guid)),
            ("event", plain(found.event)),
            ("repository", plain(found.repository)),
            ("project", plain(found.project or "")),
            ("ref", plain(found.ref)),
            ("commit", plain(found.after[:7])),
            ("outcome", plain(found.outcome)),
            ("rule", plain(found.rule)),
            ("deployment", plain(found.deployment or "") + status),
            ("answered", str(found.answer or "")),
            ("received", f"{age(found.at)} ago" if found.at else ""),
            ("payload", f"{size_in_words(found.size)}, {kept}" if found.size else ""),
            ("why", plain(found.why)),
        ]
    )


def _list(server: Server, asked: dict[str, str], limit: int, *, as_json: bool) -> None:
    found, cursor = pages(server, "/deliveries", Deliveries, asked=asked, limit=limit)
    if as_json:
        put_json({"deliveries": found, "cursor": cursor})
        return
    lost = "" if cursor else _lost(server)
    if found:
        heads = ("AGE", "EVENT", "REPOSITORY", "REF", "OUTCOME", "DEPLOYMENT", "GUID", "RULE")
        records = [read(Delivery, each) for each in found]
        guids = _shown([each.guid for each in records])
        rows = [_row(each, guid) for each, guid in zip(records, guids, strict=True)]
        put_table(heads, rows, elastic=("REPOSITORY", "REF", "RULE"))
    elif any(asked.values()):
        say("no deliveries match")
    elif not lost:
        say("no deliveries yet; what was not let in: pushlane deliveries --refused")
    if lost:
        say(lost)


def _lost(server: Server) -> str:
    """What is to be said of a restoration in the time of which deliveries are kept."""
    last = read(Restore, server.get("/restore"))
    seconds = seconds_since(last.ended_at)
    brought = last.projects or last.aliases or last.deployments
    if last.state != "restored" or not brought or seconds is None or seconds > _KEPT_SECONDS:
        return ""
    return (
        f"this Redis was restored {age(last.ended_at)} ago ({plain(last.ended_at or '')}): "
        "the deliveries before that were lost with the one before it"
    )


def _shown(guids: Sequence[str]) -> list[str]:
    """At a terminal the first letters of each, where no other of them begins so."""
    starts = Counter(guid[:_SHORT] for guid in guids)
    short = at_terminal()
    return [
        guid[:_SHORT] if short and len(guid) == _WHOLE and starts[guid[:_SHORT]] == 1 else guid
        for guid in guids
    ]


def _row(found: Delivery, guid: str) -> list[str]:
    return [
        age(found.at),
        plain(found.event),
        plain(found.repository),
        plain(ref_in_words(found.ref)),
        plain(found.outcome),
        plain(found.deployment or "-"),
        plain(guid),
        plain(found.rule),
    ]


def _refused(server: Server, *, as_json: bool) -> None:
    answer = server.get("/deliveries/refused")
    if as_json:
        put_json(answer)
        return
    found = read(Refused, answer)
    if not found.counts:
        say("nothing was refused in the last 30 days")
        return
    put_fields([(plain(code), str(number)) for code, number in found.counts.items()])
    put("")
    heads = ("AGE", "CODE", "PEER", "EVENT", "REPOSITORY", "GUID")
    rows = [
        [
            age(each.at),
            plain(each.code),
            plain(each.peer),
            plain(each.event),
            plain(each.repository),
            plain(each.guid),
        ]
        for each in found.newest
    ]
    put_table(heads, rows, elastic=("PEER", "REPOSITORY"))
    say("all but the code and the peer is what the sender claims")
