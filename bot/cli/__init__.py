"""The `pushlane` command: speaks to the API over HTTP, and starts or examines what is here."""

from __future__ import annotations

from bot.cli.entry import main

__all__ = ["main"]
