"""How the gateway reads the bucket: a few at a time, not for ever, again where that may help."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from bot.core.errors import Errored

T = TypeVar("T")
log = logging.getLogger(__name__)

_AT_ONCE: Final = 12
"""Of the bucket's threads: the rest of the process wants some too."""
_SECONDS: Final = 15.0
"""For one object with all tries; a visitor waits no longer."""
_PAUSES: Final = (0.1, 0.3)
_AGAIN: Final = frozenset({"object_missing", "bucket_short_read", "content_broken"})
"""What a second look may mend. What S3 itself failed at, the bucket has tried again already."""


class Reading:
    """Reads of one bucket, together never too many."""

    def __init__(self) -> None:
        self._few = asyncio.Semaphore(_AT_ONCE)

    async def again(self, name: str, read: Callable[[], Awaitable[T]]) -> T:
        """The result of `read`, which reads the object `name`. Raises `Errored`."""
        try:
            async with asyncio.timeout(_SECONDS), self._few:
                return await _tried(read)
        except TimeoutError:
            error = Errored(f"{name} was not read in {_SECONDS:.0f} s", code="bucket_slow")
        except Errored as found:
            error = found
        log.warning(
            "a site's object cannot be read",
            extra={"object": name, "code": error.code, "error": error.message},
        )
        raise error


async def _tried(read: Callable[[], Awaitable[T]]) -> T:
    for pause in _PAUSES:
        try:
            return await read()
        except Errored as error:
            if error.code not in _AGAIN:
                raise
        await asyncio.sleep(pause)
    return await read()
