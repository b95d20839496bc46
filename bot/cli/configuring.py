"""The commands that set up a project: `project`, and `env` for its build secrets."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from bot.cli import asking
from bot.cli.answers import Project as Found
from bot.cli.answers import Secret, Secrets, read
from bot.cli.connect import connect
from bot.cli.failures import wrong
from bot.cli.names import project_path, repository
from bot.cli.options import AsJson, Project
from bot.cli.output import age, plain, put, put_fields, put_json, put_table, say
from bot.cli.usage import Verb, Verbs, whole_lines

if TYPE_CHECKING:
    from bot.cli.server import Server

_LISTS = ("watch", "skip_branches")
_MOST = 65_537
"""Bytes that are read of a value: one more than the server takes."""


class Context(StrEnum):
    """For which deployments a secret is meant."""

    PRODUCTION = "production"
    PREVIEW = "preview"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable that the build sees.")]


def project(
    what: Project,
    create: Annotated[
        str,
        typer.Option(
            metavar="OWNER/NAME", help="Make it first, for this repository: before any push."
        ),
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set production_branch, root, command, install, output, node, watch or "
            "skip_branches (comma-separated), environment.NAME. Empty: as if never set.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One project and its settings, which hold where the repository's own file says nothing."""
    pairs = [_pair(each) for each in setting or ()]
    with connect() as server:
        if create:
            path = f"/projects/{quote(what, safe='')}"
            answer = server.put(path, {"repository": repository(create), **_fields(pairs, {})})
        else:
            path = project_path(server, what)
            answer = server.get(path)
            if pairs:
                before = read(Found, answer).settings.get("environment") or {}
                answer = server.patch(path, _fields(pairs, before))
    if as_json:
        put_json(answer)
        return
    found = read(Found, answer)
    settings = {name: value for name, value in found.settings.items() if name != "environment"}
    variables = found.settings.get("environment") or {}
    put_fields(
        [
            ("project", plain(found.slug)),
            ("repository", plain(found.repository)),
            ("production", plain(found.production_branch)),
            ("live", plain(found.live or "") + (" pinned" if found.pinned else "")),
            *((plain(name), plain(_shown(value))) for name, value in settings.items()),
            *((f"environment.{plain(name)}", plain(str(text))) for name, text in variables.items()),
        ]
    )
    put(plain(found.url))


def clear_caches(what: Project, as_json: AsJson = False) -> None:
    """Let no build find what earlier ones kept: packages are installed anew, on every worker."""
    with connect() as server:
        path = project_path(server, what)
        # Another number than any before it.
        answer = server.patch(path, {"cache_epoch": time.time_ns() // 1_000_000})
    if as_json:
        put_json(answer)
        return
    put(
        f"the caches of {plain(read(Found, answer).slug)} are cleared; its next build is a cold one"
    )


env = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    help="Build secrets: variables of a project's builds that nobody can read again.",
)


def _set(
    what: Project,
    name: Name,
    context: Annotated[
        Context | None, typer.Option(help="Of these deployments only; else of all.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Take the value from a file, as it is.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a secret. Its value comes from stdin, a prompt or a file, never from an argument.

    What is being built already does not get it: redeploy.
    """
    value = _value(name, from_file)
    body: dict[str, Any] = {"value": value}
    if context:
        body["contexts"] = [context.value]
    with connect() as server:
        answer = server.put(_secret_path(server, what, name), body)
    if as_json:
        put_json(answer)
        return
    found = read(Secret, answer)
    put(f"{plain(found.name)} is set for {_contexts(found)}")


def _list(what: Project, as_json: AsJson = False) -> None:
    """The names of a project's secrets. Values are never shown."""
    with connect() as server:
        answer = server.get(f"{project_path(server, what)}/env")
    if as_json:
        put_json(answer)
        return
    found = read(Secrets, answer).secrets
    if not found:
        say(f"no secrets yet; set one by: pushlane env set {plain(what)} NAME")
        return
    rows = [[plain(each.name), _contexts(each), age(each.updated_at)] for each in found]
    put_table(("NAME", "CONTEXTS", "SET"), rows)


def _unset(
    what: Project,
    name: Name,
    context: Annotated[
        Context | None, typer.Option(help="Of these deployments only; else of all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove a secret."""
    with connect() as server:
        answer = server.delete(_secret_path(server, what, name), context=context or "")
    if as_json:
        put_json(answer)
        return
    found = read(Secret, answer)
    put(f"{plain(found.name)} is gone for {_contexts(found)}")


for _verb in (_set, _list, _unset):
    env.command(_verb.__name__.lstrip("_"), cls=Verb, help=whole_lines(_verb))(_verb)


def _value(name: str, path: Path | None) -> str:
    """The value: a file's bytes as they are; of stdin without its last line's end."""
    try:
        if path is not None:
            with path.open("rb") as file:
                return file.read(_MOST).decode("utf-8")
        if sys.stdin.isatty():
            return asking.unseen(f"{name} (not shown)")
        text = sys.stdin.buffer.read(_MOST).decode("utf-8")
    except OSError as error:
        raise wrong(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise wrong("the value is no UTF-8 text; encode it, in base64 say") from None
    return text.removesuffix("\n").removesuffix("\r")


def _secret_path(server: Server, what: str, name: str) -> str:
    return f"{project_path(server, what)}/env/{quote(name, safe='')}"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise wrong(f"--set is {text[:60]!r}; it takes KEY=VALUE")
    return name, value


def _fields(pairs: list[tuple[str, str]], environment: dict[str, str]) -> dict[str, Any]:
    """What to send: the variables of the environment are one setting, and all are sent."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        kind, _, variable = name.partition(".")
        if kind == "environment" and variable:
            kept = {**fields.get("environment", environment), variable: value}
            fields["environment"] = {key: text for key, text in kept.items() if text != ""}
        elif name in _LISTS:
            fields[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            fields[name] = value if value != "" else None
    return fields


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _contexts(secret: Secret) -> str:
    return plain(" and ".join(secret.contexts))
