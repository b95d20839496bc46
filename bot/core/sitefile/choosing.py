"""Whether a commit is deployed at all, by its message, its branch and what it changed. Pure."""

from __future__ import annotations

import time
from typing import Final

from bot.core.sitefile.globs import matches
from bot.core.sitefile.records import Sitefile

_SKIP_WORDS: Final = ("[skip ci]", "[ci skip]", "[skip deploy]")


def skip_reason(message: str, branch: str, sitefile: Sitefile) -> str | None:
    """Why the commit is not to be deployed, for people; None when it is."""
    lowered = message.lower()
    for words in _SKIP_WORDS:
        if words in lowered:
            return f"the commit's message says {words}"
    for pattern in sitefile.build.skip_branches:
        if matches(pattern, branch):
            return f"{sitefile.file_of('skip_branches')} skips branches like {pattern}"
    return None


def watch_reason(
    changed: tuple[str, ...], sitefile: Sitefile, *, seconds: float = 2.0
) -> str | None:
    """Why nothing that is watched changed, for people; None when something did, or all is.

    Raises `TimeoutError` when it is not found out in time.
    """
    watched = sitefile.build.watch
    ends = time.monotonic() + seconds
    for path in changed if watched else ():
        for pattern in watched:
            if matches(pattern, path):
                return None
            if time.monotonic() > ends:
                raise TimeoutError
    if not watched:
        return None
    return f"nothing changed in {', '.join(watched[:5])} since the last deployed commit"
