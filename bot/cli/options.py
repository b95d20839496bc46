"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on stdout.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or return at once.")
]
Logs = Annotated[bool, typer.Option("--logs", help="Show the build's log as it is written.")]
Deployment = Annotated[
    str, typer.Argument(metavar="ID|OWNER/NAME", help="A deployment, or a project's newest.")
]
DeploymentId = Annotated[str, typer.Argument(metavar="ID", help="A deployment.")]
Project = Annotated[str, typer.Argument(metavar="PROJECT", help="A project's slug, or OWNER/NAME.")]
