"""Keeps named programs alive, and ends them all in time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable

from bot.core.errors import Errored
from bot.embedded.process import Process, Program

STOP_SECONDS = 4.7
"""All are gone after this: a Ctrl-C is to end everything within 5 s."""
_HEAD_START_SECONDS = 1.4
"""How long the engines go on serving those who need them; SeaweedFS takes 3 s to stop."""
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 30.0
_STEADY_SECONDS = 60.0


class Supervisor:
    """Starts programs, starts again the one that dies, and says so in one line.

    A program that dies soon after its start is started again later each time, up to 30 s.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._processes: dict[str, Process] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()

    async def start(self, program: Program) -> None:
        """Returns when the program serves; from then on it is kept alive.

        Raises:
            Errored: It cannot be started, or does not serve in its time.
        """
        process = self._processes[program.name] = Process(program)
        await process.until_ready()
        self._watches[program.name] = asyncio.create_task(self._watch(process))

    def pid(self, name: str) -> int:
        """The process that now goes by this name."""
        return self._processes[name].pid

    async def stop_all(self, *, seconds: float = STOP_SECONDS) -> None:
        """Ends all programs within `seconds`, the engines after those that need them."""
        self._stopping.set()
        for watch in self._watches.values():
            watch.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        end = time.monotonic() + seconds
        engines = [p for p in self._processes.values() if p.program.engine]
        others = [p for p in self._processes.values() if not p.program.engine]
        for process in others:
            process.terminate()
        await _ended(others, time.monotonic() + min(seconds / 3, _HEAD_START_SECONDS))
        for process in engines:
            process.terminate()
        await _ended([*others, *engines], end)
        for process in self._processes.values():
            if process.exit_code is None:
                process.kill()
                await process.wait()

    async def _watch(self, process: Process) -> None:
        delay = _FIRST_DELAY_SECONDS
        while True:
            code = await process.wait()
            if time.monotonic() - process.started > _STEADY_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            name = process.program.name
            self._say(f"{name} ended ({_in_words(code)}); it starts again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_DELAY_SECONDS)
            try:
                process = self._processes[name] = Process(process.program)
                await process.until_ready()
            except Errored as error:
                self._say(error.message)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            else:
                self._say(f"{name} is back (process {process.pid})")


async def _ended(processes: list[Process], end: float) -> None:
    for process in processes:
        await process.wait(seconds=max(0.0, end - time.monotonic()))


def _in_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
