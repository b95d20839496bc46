"""Opens the server that the command is to speak to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.cli.server import Server


def connect() -> Server:
    """The server that the environment names, or the stored one.

    The HTTP client is loaded here and not before: `--help` needs none.
    """
    from bot.cli.credentials import find
    from bot.cli.server import Server

    return Server(find(os.environ))
