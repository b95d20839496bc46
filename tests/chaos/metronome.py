"""Says again and again how late this machine is: what longer than 0.1 s a tenth of CPU takes.

A program of its own, so that it competes for the processors as a bot or a worker does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

_PART: Final = 0.05
_PAUSE: Final = 0.7


def beat() -> float:
    """How late a tenth of a second of work is done, in seconds."""
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < _PART:
        pass
    return max((time.monotonic() - began - _PART) * 0.1 / _PART, 0.0)


async def beats() -> AsyncIterator[float]:
    """How late the machine is, as often as it is measured, until the iterator is closed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-E", __file__, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        while line := await process.stdout.readline():
            yield float(line)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        while True:
            sys.stdout.write(f"{beat():.3f}\n")
            sys.stdout.flush()
            time.sleep(_PAUSE)
