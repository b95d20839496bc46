"""One command in the sandbox, from the launch until nothing of it lives."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec

from bot.core.errors import Errored
from worker.sandbox import pipes, processes, workspaces
from worker.sandbox.egress import Egress, EgressPort
from worker.sandbox.limits import Cage, Usage
from worker.sandbox.records import Killed, Limits, Outcome, Owner, Workspace

P = ParamSpec("P")
T = TypeVar("T")
PROXY_PORT = 3128
_LAUNCHER = str(Path(__file__).with_name("launch.py"))
_TICK_SECONDS = 0.1
_FORK_STORM_SECONDS = 3.0
_FORK_CALM_SECONDS = 5.0  # shells wait some seconds before they try a refused fork again
_DEATH_SECONDS = 10.0
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="execution")
"""Theirs alone: whatever else of this process waits in threads, no kill waits behind it."""
_live: set[int] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the launcher is to do. Descriptors in it belong to the execution, which closes them."""

    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    """Of the launched program itself: empty for bubblewrap, whose own is seen inside."""
    owner: Owner | None
    new_network: bool
    port: int
    stage: Sequence[tuple[str, str, bool]] = ()
    covers: Sequence[str] = ()
    descriptors: Sequence[int] = ()
    status: tuple[int, int] | None = None
    """The pipe on which bubblewrap says which process is the sandbox's first, and its end."""
    extra_rlimits: Mapping[str, int] = field(default_factory=dict)


class Execution:
    """Launches, watches and ends one command. Made for one use."""

    def __init__(
        self,
        order: Order,
        *,
        cage: Cage,
        egress: Egress | None,
        workspace: Workspace,
        limits: Limits,
        stop: asyncio.Event | None,
    ) -> None:
        self._order = order
        self._cage = cage
        self._egress = egress
        self._workspace = workspace
        self._limits = limits
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._port: EgressPort | None = None
        self._killed: Killed = ""
        self._usage = Usage(memory_exceeded=False, processes_refused=0, peak_mb=None)
        self._inner_pid = 0
        self._inner_exit: int | None = None
        self._status_text = b""

    async def conduct(
        self,
        stdin: AsyncIterator[bytes] | BinaryIO | None,
        on_output: Callable[[bytes], Awaitable[None]] | None,
    ) -> Outcome:
        """The whole of it. Whatever happens, also a cancellation, nothing is left alive."""
        begun = time.monotonic()
        try:
            await self._launch(with_stdin=stdin is not None)
            await self._attend(stdin, on_output)
        finally:
            await asyncio.shield(self._end())
        assert self._process is not None
        code = self._process.returncode
        exit_code = 128 - code if code < 0 else code
        if self._order.status and self._inner_exit is None and not self._killed and code >= 0:
            raise Errored(
                "bubblewrap could not make the sandbox; its message is the last of the log",
                code="sandbox_failed",
            )
        return Outcome(
            exit_code=exit_code,
            seconds=time.monotonic() - begun,
            killed=await self._reason(exit_code),
            refused_hosts=self._port.refused_hosts if self._port else (),
            away_registries=self._port.away_registries if self._port else (),
            memory_peak_mb=self._usage.peak_mb,
        )

    async def _launch(self, *, with_stdin: bool) -> None:
        order = self._order
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        message = pipes.sealed(marshal.dumps(self._message()), "order")
        kept = [*order.descriptors, *([order.status[1]] if order.status else [])]
        try:
            # Not in a thread: the child dies with the thread that made it.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [_interpreter(), "-I", "-S", _LAUNCHER, str(far.fileno()), str(message)],
                stdin=subprocess.PIPE if with_stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd="/",
                env={},
                pass_fds=(far.fileno(), message, *kept),
                start_new_session=True,
            )
            _live.add(self._process.pid)
            self._pidfd = os.pidfd_open(self._process.pid)
            far.close()
            answer, handles = await pipes.receive_answer(near)
            for handle in handles:
                listener = socket.socket(fileno=handle)
                if self._egress is None:
                    listener.close()
                else:
                    self._port = await self._egress.serve(listener)
            if answer != b"ok":
                reason = answer.decode(errors="replace") or "error: the launcher died"
                raise Errored(f"the sandbox cannot start: {reason}", code="sandbox_failed")
        finally:
            near.close()
            far.close()
            os.close(message)
            for handle in kept:
                os.close(handle)

    def _message(self) -> dict[str, object]:
        order, mib = self._order, 1024 * 1024
        rlimits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 65536,
            "RLIMIT_FSIZE": resource.RLIM_INFINITY
            if self._workspace.sized
            else self._limits.work_mb * mib,
            **order.extra_rlimits,
        }
        return {
            "argv": list(order.argv),
            "cwd": order.cwd,
            "environment": dict(order.environment),
            "uid": order.owner.uid if order.owner else None,
            "gid": order.owner.gid if order.owner else None,
            "new_network": order.new_network,
            "port": order.port,
            "stage": [tuple(each) for each in order.stage],
            "covers": list(order.covers),
            "keep": [*order.descriptors, *([order.status[1]] if order.status else [])],
            "cgroups": list(self._cage.entrances),
            "rlimits": list(rlimits.items()),
            "parent": os.getpid(),
        }

    async def _attend(
        self,
        stdin: AsyncIterator[bytes] | BinaryIO | None,
        on_output: Callable[[bytes], Awaitable[None]] | None,
    ) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        output = asyncio.ensure_future(pipes.pump(process.stdout.fileno(), on_output))
        watch = asyncio.ensure_future(self._watch())
        feeder = None
        if stdin is not None and process.stdin is not None:
            handle = os.dup(process.stdin.fileno())
            process.stdin.close()
            feeder = asyncio.ensure_future(pipes.feed(handle, stdin))
        tasks = [each for each in (output, watch, feeder) if each is not None]
        try:
            while not watch.done():
                waiting = [each for each in tasks if not each.done()]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in tasks:
                    if each.done():
                        each.result()
            # All that could write is dead: what is in the pipe now is the rest.
            await output
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self) -> None:
        """Until the command has ended, or passed a limit and been killed with all its children."""
        exited = asyncio.ensure_future(pipes.ready(self._pidfd))
        stopped = asyncio.ensure_future(self._stop.wait()) if self._stop else None
        watched = [each for each in (exited, stopped) if each is not None]
        deadline = time.monotonic() + self._limits.timeout_seconds
        disk, storm = workspaces.Watch(self._workspace, self._limits), _ForkStorm()
        try:
            while not exited.done():
                now = time.monotonic()
                pause = min(_TICK_SECONDS, max(0.0, deadline - now))
                await asyncio.wait(watched, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                if exited.done():
                    break
                if stopped is not None and stopped.done():
                    self._killed = "stopped"
                    break
                now = time.monotonic()
                self._measure()
                if now >= deadline:
                    self._killed = "timeout"
                elif self._usage.memory_exceeded:
                    self._killed = "memory"
                elif storm.rages(self._usage.processes_refused, now=now):
                    self._killed = "processes"
                elif not self._workspace.sized and await _aside(disk.full):
                    self._killed = "disk"
                if self._killed:
                    break
        finally:
            for each in watched:
                each.cancel()
            await asyncio.gather(*watched, return_exceptions=True)
        self._measure()
        await self._kill()

    def _measure(self) -> None:
        assert self._process is not None
        self._read_status()
        self._usage = self._cage.sample(self._process.pid)
        if self._workspace.sized:
            self._cage.allow_files(workspaces.size(self._workspace))

    async def _kill(self) -> None:
        """Kills all, and returns when the kernel has ended the last of it."""
        process = self._process
        if process is None:
            return
        self._read_status()
        if process.returncode is None:
            if self._inner_pid and self._is_inner_of(process.pid):
                with contextlib.suppress(OSError):
                    os.kill(self._inner_pid, signal.SIGKILL)
            if self._killed or not _has_exited(self._pidfd):
                # Before the first process: those below it could not be found any more after.
                await _aside(self._cage.kill)
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await pipes.ready(self._pidfd)
            self._read_status()
            process.wait()
        await _aside(self._cage.kill)
        await self._reap()

    async def _reap(self) -> None:
        # A namespace's first process ends last, after the kernel has killed all others in it. It
        # becomes our child when bubblewrap is gone, and would stay a zombie.
        deadline = time.monotonic() + _DEATH_SECONDS
        while self._inner_pid and time.monotonic() < deadline:
            try:
                found, _ = os.waitpid(self._inner_pid, os.WNOHANG)  # noqa: ASYNC222 - at once
                if found:
                    break
            except ChildProcessError:
                if not self._is_inner_of(self._process_id()):
                    break
            await asyncio.sleep(0.002)
        self._inner_pid = 0
        if self._order.status is None:
            await _aside(reap_orphans)

    async def _end(self) -> None:
        try:
            await self._kill()
        finally:
            if self._port is not None:
                await self._port.aclose()
            _live.discard(self._process_id())
            if self._pidfd >= 0:
                os.close(self._pidfd)
            if self._order.status:
                os.close(self._order.status[0])
            if self._process is not None:
                for stream in (self._process.stdin, self._process.stdout):
                    if stream is not None:
                        stream.close()

    async def _reason(self, exit_code: int) -> Killed:
        if self._killed or exit_code == 0:
            return self._killed
        if self._usage.memory_exceeded:
            return "memory"
        if self._usage.processes_refused:
            return "processes"
        if await _aside(workspaces.full, self._workspace, self._limits):
            return "disk"
        return ""

    def _read_status(self) -> None:
        if self._order.status is None:
            return
        handle = self._order.status[0]
        os.set_blocking(handle, False)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(handle, 4096):
                self._status_text += chunk
        *lines, self._status_text = self._status_text.split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line, type=dict[str, object])
                if isinstance(pid := said.get("child-pid"), int):
                    self._inner_pid = pid
                if isinstance(code := said.get("exit-code"), int):
                    self._inner_exit = code

    def _is_inner_of(self, pid: int) -> bool:
        found = processes.stat(self._inner_pid)
        return found is not None and found.parent == pid

    def _process_id(self) -> int:
        return self._process.pid if self._process is not None else 0


class _ForkStorm:
    """Tells a fork bomb from a build that meets the limit on processes now and then."""

    def __init__(self) -> None:
        self._refused = 0
        self._since = 0.0
        self._last = 0.0

    def rages(self, refused: int, *, now: float) -> bool:
        """`refused` is how many forks were, in all, up to `now` (monotonic seconds)."""
        if refused > self._refused:
            self._refused, self._since, self._last = refused, self._since or now, now
            return now - self._since > _FORK_STORM_SECONDS
        if now - self._last > _FORK_CALM_SECONDS:
            self._since = 0.0
        return False


async def _aside(call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, partial(call, *args, **named))


def _interpreter() -> str:
    # The venv's own is a link that needs `site` to find its home.
    base = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)


def reap_orphans() -> None:
    """Reaps the dead that became ours because their own parents went first."""
    for pid in processes.ids():
        found = processes.stat(pid)
        if found is None or pid in _live or not found.ended or found.parent != os.getpid():
            continue
        # A command has a session of its own; what else we started is in ours.
        if found.session != os.getsid(0):
            with contextlib.suppress(OSError):
                os.waitpid(pid, os.WNOHANG)


def _has_exited(pidfd: int) -> bool:
    return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
