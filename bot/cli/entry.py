"""The command's table of verbs, and how it ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from bot.cli.collecting import gc
from bot.cli.configuring import clear_caches, env, project
from bot.cli.delivered import deliveries, redeliver
from bot.cli.deploying import deploy, redeploy
from bot.cli.failures import ExitCode, exit_code
from bot.cli.here import doctor, login, up
from bot.cli.looking import list_, logs, projects, queue, status
from bot.cli.moving import cancel, promote, rollback, unpin
from bot.cli.output import plain, put, put_json, say
from bot.cli.restoring import restore
from bot.cli.usage import Verb, Verbs, whole_lines, wrong_usage
from bot.core.errors import PushlaneError

app = typer.Typer(
    name="pushlane",
    cls=Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the deployment failed, 2 wrong usage, 3 no server to be reached.",
)
_GROUPS = {
    "Here": (up, login, doctor),
    "Deployments": (deploy, redeploy, list_, status, logs, cancel, promote),
    "Projects": (projects, project, clear_caches, rollback, unpin),
    "Queue": (queue, deliveries, redeliver),
    "Storage": (gc, restore),
}
for _panel, _verbs in _GROUPS.items():
    for _verb in _verbs:
        app.command(
            _verb.__name__.rstrip("_").replace("_", "-"),
            cls=Verb,
            rich_help_panel=_panel,
            help=whole_lines(_verb),
        )(_verb)

app.add_typer(env, name="env", rich_help_panel="Projects")


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
        code = app(words, prog_name="pushlane", standalone_mode=False)
    except TyperException as error:
        # Without any words the help was shown already.
        code = _failed(wrong_usage(error), words) if words else ExitCode.WRONG
    except PushlaneError as error:
        code = _failed(error, words)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    sys.exit(code or ExitCode.DONE)


def _failed(error: PushlaneError, words: Sequence[str]) -> ExitCode:
    say(f"error: {plain(error.message)} ({plain(error.code)})")
    if "--json" in words:
        put_json({"error": {"code": error.code, "message": error.message}})
    return exit_code(error)
