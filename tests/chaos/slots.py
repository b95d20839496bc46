"""Places where a process is kept alive, as a supervisor does, while others kill and freeze it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.embedded.process import Process, Program
from tests.chaos.weather import Spell, Weather

ROOT: Final = Path(__file__).parents[2]
_PAUSE = 0.03
_WORKER_IS_UP: Final = "waiting for builds"


@dataclass(slots=True)
class Life:
    """One process from its start to its end. Times are Unix seconds, 0: not yet."""

    slot: str
    module: str
    number: int
    log: Path
    began_at: float
    up_at: float = 0.0
    """Since when it takes work (a worker) or connections (a bot)."""
    ended_at: float = 0.0
    exit_code: int | None = None
    ended_by: str = ""
    """`kill`, `term`, or empty for one that ended without being asked."""
    asked_at: float = 0.0
    """When it was last killed or told to end."""
    told_at: float = 0.0
    """When it was told to end (SIGTERM)."""

    @property
    def name(self) -> str:
        """`worker-1.4`: the fourth process in that slot."""
        return f"{self.slot}.{self.number}"


@dataclass(slots=True, kw_only=True)
class Slot:
    """A bot or a worker with its own data directory, links and logs. `keep` keeps it alive."""

    name: str
    module: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    directory: Path
    weather: Weather
    port: int = 0
    lives: list[Life] = field(default_factory=list)
    process: Process | None = None
    ending: bool = False

    @property
    def life(self) -> Life | None:
        """The process that is there now."""
        return self.lives[-1] if self.lives and not self.lives[-1].ended_at else None

    @property
    def up(self) -> bool:
        """Whether the process takes work, and is not frozen."""
        life = self.life
        return bool(life and life.up_at and not life.asked_at)

    async def keep(self) -> None:
        """Starts the process, and starts it again whenever it has ended, until `ending` is set."""
        while not self.ending:
            life = self._start()
            down = self.weather.begin("down", self.name)
            while (code := self._exit_code()) is None:
                if not life.up_at and await self._is_up(life):
                    life.up_at = down.ended_at = time.time()
                await asyncio.sleep(_PAUSE)
            life.ended_at, life.exit_code = time.time(), code
            down.ended_at = min(down.ended_at, life.ended_at)

    def _exit_code(self) -> int | None:
        assert self.process is not None
        return self.process.exit_code

    def _start(self) -> Life:
        number = len(self.lives) + 1
        log = self.directory / "logs" / f"{self.name}.{number}.log"
        program = Program(
            name=self.name,
            argv=(sys.executable, *self.argv),
            directory=ROOT,
            environ=self.environ,
            log=log,
        )
        self.process = Process(program)
        life = Life(self.name, self.module, number, log, time.time())
        self.lives.append(life)
        return life

    async def _is_up(self, life: Life) -> bool:
        if self.module == "worker":
            return _WORKER_IS_UP in life.log.read_text(errors="replace")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
            return True
        return False

    def kill(self) -> bool:
        """SIGKILL; False when there is nothing to kill."""
        return self._end("kill", signal.SIGKILL)

    def terminate(self) -> bool:
        """SIGTERM; False when there is nothing to end."""
        return self._end("term", signal.SIGTERM)

    def _end(self, how: str, number: int) -> bool:
        life = self.life
        if life is None or self.process is None or (life.asked_at and how == "term"):
            return False
        life.ended_by, life.asked_at = life.ended_by or how, time.time()
        if how == "kill":
            life.ended_by = how
        else:
            life.told_at = life.asked_at
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
            os.kill(self.process.pid, signal.SIGCONT)
        return True

    async def freeze(self, seconds: float) -> bool:
        """SIGSTOP, and SIGCONT after so long. False when it was not up."""
        life, process = self.life, self.process
        if not self.up or life is None or process is None:
            return False
        spell: Spell
        with self.weather.spell("frozen", self.name) as spell:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGSTOP)
            while time.time() < spell.began_at + seconds and not life.ended_at:
                await asyncio.sleep(_PAUSE)
            if not life.ended_at:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGCONT)
        return True

    async def stop(self, *, seconds: float = 10.0) -> None:
        """Ends the process for good."""
        self.ending = True
        self.terminate()
        end = time.time() + seconds
        while self.process is not None and self.process.exit_code is None:
            if time.time() > end:
                self.process.kill()
            await asyncio.sleep(_PAUSE)
