"""One supervised subprocess: what to start, and the handle on what was started."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bot.core.errors import Errored

POLL_SECONDS = 0.03
LOG_KEPT_BYTES = 8_000_000
SOCKET_PATH_MAX_BYTES = 100
"""sockaddr_un holds 104 bytes on macOS and 108 on Linux."""

_LEASH = Path(__file__).with_name("leash.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, and how to tell that it serves.

    `lock` is a file that the process holds (flock) as long as it lives, so that no second one is
    ever started on the same directory, whatever became of the first one's parent. `log` gets its
    output; None leaves it on ours. `leftovers` are files that it makes elsewhere and does not
    always remove. An `engine` is what the others need: it is stopped after them.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str] = field(repr=False)
    ready: Callable[[], Awaitable[bool]] | None = None
    ready_seconds: float = 30.0
    log: Path | None = None
    lock: Path | None = None
    leftovers: tuple[Path, ...] = ()
    engine: bool = False


class Process:
    """A program that was started. Not bound to an event loop."""

    def __init__(self, program: Program) -> None:
        """Starts it. Must be called in the main thread.

        The kernel's parent-death signal is sent when the *thread* that forked ends, so a child of
        a worker thread would die with that thread.

        Raises:
            Errored: It cannot be started, or another process holds its lock.
        """
        if threading.current_thread() is not threading.main_thread():
            raise Errored(
                f"{program.name} must be started from the main thread", code="embedded_thread"
            )
        self.program = program
        self.started = time.monotonic()
        lock = _take(program) if program.lock else None
        log = _open_log(program.log) if program.log else None
        leash = (sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()))
        try:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop in order.
            self._popen = subprocess.Popen(
                (*leash, *program.argv),
                cwd=program.directory,
                env=dict(program.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock.fileno(),) if lock else (),
                start_new_session=True,
            )
        except OSError as error:
            raise Errored(
                f"{program.name} cannot be started: {error}", code="embedded_start"
            ) from error
        finally:
            for file in (lock, log):
                if file:
                    file.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives; minus the signal's number when a signal ended it."""
        return self._popen.poll()

    async def wait(self, *, seconds: float | None = None) -> int | None:
        """Its exit code, or None when it still lives after `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        while (code := self.exit_code) is None:
            if end is not None and time.monotonic() >= end:
                return None
            await asyncio.sleep(POLL_SECONDS)
        for path in self.program.leftovers:
            with contextlib.suppress(OSError):
                path.unlink()
        return code

    async def until_ready(self) -> None:
        """Returns when it serves.

        Raises:
            Errored: It ended before, or did not serve in the program's time.
        """
        program = self.program
        end = self.started + program.ready_seconds
        while program.ready is not None:
            if self.exit_code is not None:
                raise Errored(
                    f"{program.name} ended with {self.exit_code} before it served.{_tail(program)}",
                    code="embedded_start",
                )
            if await program.ready():
                return
            if time.monotonic() > end:
                raise Errored(
                    f"{program.name} did not serve within {program.ready_seconds:.0f} s."
                    f"{_tail(program)}",
                    code="embedded_start",
                )
            await asyncio.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Asks it to end (SIGTERM)."""
        self._popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once (SIGKILL)."""
        self._popen.kill()

    async def stop(self, *, seconds: float = 5.0) -> int:
        """Asks it to end, kills it after `seconds`; its exit code."""
        self.terminate()
        if (code := await self.wait(seconds=seconds)) is None:
            self.kill()
            code = await self.wait()
        assert code is not None
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A program, what a client's environment must hold to find it, and its process once started."""

    program: Program
    environ: Mapping[str, str] = field(repr=False)
    process: Process | None = None

    async def start(self) -> Server:
        """The same with a process that serves. Raises `Errored` when it does not come to that."""
        process = Process(self.program)
        try:
            await process.until_ready()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return Server(program=self.program, environ=self.environ, process=process)

    async def stop(self, *, seconds: float = 5.0) -> None:
        """Ends its process, if it has one."""
        if self.process is not None:
            await self.process.stop(seconds=seconds)

    @property
    def pid(self) -> int:
        """Its process's id; 0 when it was not started."""
        return self.process.pid if self.process else 0


def private_directory(path: Path) -> Path:
    """The directory, made if need be, which nobody but its owner can enter.

    Raises:
        Errored: It cannot be made, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise Errored(
            f"the data directory {path} cannot be used ({error.strerror}); "
            "name another by PUSHLANE_DATA_DIR",
            code="data_dir",
        ) from error
    return path.resolve()


def write_private(path: Path, text: str) -> None:
    """Replaces the file by one of mode 0600 that holds `text`, whole or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def bare_environ(directory: Path) -> dict[str, str]:
    """An environment for an engine: nothing of ours but the way to find programs."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), "LANG": "C.UTF-8"}


def _take(program: Program) -> BinaryIO:
    """The lock's file, locked. Waits a little, since a killed process takes a moment to end."""
    assert program.lock is not None
    file = program.lock.open("ab")
    end = time.monotonic() + 2
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        if time.monotonic() > end:
            file.close()
            raise Errored(
                f"another {program.name} works in {program.directory}; end it first, "
                "or name another directory by PUSHLANE_DATA_DIR",
                code="embedded_held",
            )
        time.sleep(POLL_SECONDS)


def _open_log(path: Path) -> BinaryIO:
    """Opened for appending; one that has grown large is set aside as `<name>.1` first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_KEPT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")


def _tail(program: Program) -> str:
    if program.log is None:
        return ""
    lines = program.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    return f" The end of {program.log}:\n" + "\n".join(lines)
