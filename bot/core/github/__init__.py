"""GitHub's API as we use it: commit statuses, and tokens for fetching. The only part that calls it.

PyGithub is blocking, so each call is made in a thread of this package's own.
"""

from __future__ import annotations

from bot.core.github.answers import Limited, Refused, Untellable
from bot.core.github.client import GitHub

__all__ = ["GitHub", "Limited", "Refused", "Untellable"]
