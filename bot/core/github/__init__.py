"""GitHub's API as we use it: statuses, tokens, deliveries. The only part that calls it.

PyGithub is blocking, so each call is made in a thread of this package's own.
"""

from __future__ import annotations

from bot.core.github.answers import Limited, Refused, Untellable
from bot.core.github.client import Described, GitHub
from bot.core.github.hooks import Attempt, Attempts, Hook, Hooks

__all__ = [
    "Attempt",
    "Attempts",
    "Described",
    "GitHub",
    "Hook",
    "Hooks",
    "Limited",
    "Refused",
    "Untellable",
]
