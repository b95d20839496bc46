"""The commands about this machine: `up`, `login`, `doctor`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from bot.cli import asking
from bot.cli.failures import ExitCode, wrong
from bot.cli.options import AsJson
from bot.cli.output import put, put_json, say
from bot.core.errors import Rejected

if TYPE_CHECKING:
    from bot.core.settings import Settings


def up(as_json: AsJson = False) -> None:
    """Start everything on this machine, and keep it alive until Ctrl-C."""
    import asyncio

    from bot.embedded.up import credentials_file, up

    def ready(settings: Settings, url: str) -> None:
        """Secrets are not in it: who may know them finds them in the file."""
        put_json(
            {
                "url": url,
                "public_url": settings.public_url,
                "webhook_url": f"{settings.public_url}/webhooks/github",
                "data_dir": str(settings.data_dir),
                "credentials": str(credentials_file(os.environ)),
            }
        )

    if as_json:
        asyncio.run(up(echo=say, ready=ready))
    else:
        asyncio.run(up(echo=put))


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, https://….")],
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from stdin, do not ask for it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a server and a token for the other commands, when that server takes the token."""
    from bot.cli.answers import Queue, read
    from bot.cli.credentials import Credentials, checked_token, checked_url, is_loopback, store
    from bot.cli.server import Server

    url = checked_url(url)
    if urlsplit(url).scheme == "http" and not is_loopback(url):
        say("warning: by http:// the token travels readable to anyone on the way")
    credentials = Credentials(url=url, token=checked_token(_asked_token(token_stdin)))
    with Server(credentials) as server:
        try:
            read(Queue, server.get("/queue"))
        except Rejected as error:
            if error.code != "token_invalid":
                raise
            raise wrong(
                f"{url} does not take this token; it takes its own PUSHLANE_API_TOKEN, which "
                "`pushlane up` prints when it starts",
                code=error.code,
            ) from None
    file = store(credentials, os.environ)
    if as_json:
        put_json({"url": url, "credentials": str(file)})
    else:
        say(f"logged in; kept in {file}")
        put(url)


def doctor(as_json: AsJson = False) -> None:
    """Every setting and where it comes from, and whether what Pushlane needs is here and works."""
    from bot.cli.doctor import examine, put_report
    from bot.cli.progress import spinning

    with spinning("looking at everything"):
        report = examine(os.environ)
    if as_json:
        put_json(report.as_json())
    else:
        put_report(report)
    if not report.ok:
        raise typer.Exit(ExitCode.FAILED)


def _asked_token(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline()
    if not sys.stdin.isatty():
        raise wrong("there is no terminal to ask for the token at; give it by --token-stdin")
    return asking.unseen("Token")
