"""The command's table of verbs, and how it ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from bot.cli.collecting import gc
from bot.cli.deploying import deploy, redeploy
from bot.cli.failures import ExitCode, exit_code
from bot.cli.here import doctor, login, up
from bot.cli.looking import deliveries, list_, logs, projects, queue, status
from bot.cli.moving import cancel, promote, rollback, unpin
from bot.cli.output import plain, put, put_json, say
from bot.core.errors import PushlaneError

app = typer.Typer(
    name="pushlane",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the deployment failed, 2 wrong usage, 3 no server to be reached.",
)
_GROUPS = {
    "Here": (up, login, doctor),
    "Deployments": (deploy, redeploy, list_, status, logs, cancel, promote),
    "Projects": (projects, rollback, unpin),
    "Queue": (queue, deliveries),
    "Storage": (gc,),
}
for _panel, _verbs in _GROUPS.items():
    for _verb in _verbs:
        app.command(_verb.__name__.rstrip("_"), rich_help_panel=_panel)(_verb)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        put(f"pushlane {version('pushlane')}")
        raise typer.Exit


@app.callback()
def pushlane(
    _version_wanted: Annotated[
        bool,
        typer.Option("--version", help="Say which one this is.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Every git push becomes a live site, on your own machines."""


def main(words: Sequence[str] | None = None) -> None:
    """The whole command: does what `words` (the process's own, if None) say, and exits.

    Exit codes: see `ExitCode`. An error is one line on stderr; with `--json` stdout gets
    `{"error":{"code","message"}}` too.
    """
    words = sys.argv[1:] if words is None else words
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that does not know a letter is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(words)
    except PushlaneError as error:
        say(f"error: {plain(error.message)} ({plain(error.code)})")
        if "--json" in words:
            put_json({"error": {"code": error.code, "message": error.message}})
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
