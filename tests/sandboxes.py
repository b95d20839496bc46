"""Commands in a sandbox, and the processes of this machine that they must not leave."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from worker.sandbox import Limits, Outcome, Sandbox, Workspace, processes

LIMITS = Limits(timeout_seconds=30, memory_mb=512)


async def shell(
    sandbox: Sandbox,
    workspace: Workspace,
    command: str,
    *,
    limits: Limits = LIMITS,
    stop: asyncio.Event | None = None,
    environment: Mapping[str, str] | None = None,
    network: bool = True,
) -> tuple[Outcome, str]:
    """How the command ended, and all that it said."""
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    outcome = await sandbox.execute(
        command,
        workspace=workspace,
        environment=environment or {},
        limits=limits,
        on_output=hear,
        stop=stop,
        network=network,
    )
    return outcome, said.decode(errors="replace")


def lasting(number: int) -> str:
    """A command that outlasts each test; no other process of the machine is called so."""
    return f"sleep {number}{os.getpid()}"


def alive(mark: str) -> list[int]:
    """Processes of this machine whose command line begins with `mark`."""
    found = []
    for pid in processes.ids():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if line.startswith(mark.encode()):
            found.append(pid)
    return found


class Zombies:
    """Children of ours that ended and were not reaped, among those that began after this did.

    Older ones are other tests' own: this process is a subreaper, so that it inherits the orphans
    of every server and git that they start.
    """

    def __init__(self) -> None:
        self._since = time.clock_gettime(time.CLOCK_BOOTTIME)

    def found(self) -> list[int]:
        """Their ids."""
        return [
            pid
            for pid in processes.ids()
            if (status := processes.stat(pid))
            and status.ended
            and status.parent == os.getpid()
            and _began_at(pid) >= self._since
        ]


def _began_at(pid: int) -> float:
    """Seconds since the boot, rounded up to a clock tick; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[19]) + 1) / os.sysconf("SC_CLK_TCK")
