"""The limits of an execution where no cgroup may be made: what it uses is counted."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from worker.sandbox import processes
from worker.sandbox.limits import Cage, Usage
from worker.sandbox.records import Limits

_MIB = 1024 * 1024


def watchdog_cage(limits: Limits, marker: str) -> Cage:
    """Limits without cgroups: the processes below the first one are counted from time to time.

    Each of them has `marker` (`NAME=value`) in its environment, if it is not sandboxed.
    """
    return _WatchdogCage(limits, marker)


class _WatchdogCage:
    def __init__(self, limits: Limits, marker: str) -> None:
        self._limits = limits
        self._marker = marker.encode()
        self._pid = 0
        self._peak = 0
        self._refused = 0

    @property
    def entrances(self) -> tuple[str, ...]:
        return ()

    def sample(self, pid: int) -> Usage:
        self._pid = pid
        page = os.sysconf("SC_PAGE_SIZE")
        found = _descendants(pid)
        total = 0
        for each in found:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{each}/statm").read_text().split()
                total += (int(fields[1]) - int(fields[2])) * page
        self._peak = max(self._peak, total)
        if len(found) > self._limits.processes * 0.95:
            self._refused += 1
        return Usage(
            memory_exceeded=self._peak > self._limits.memory_mb * _MIB,
            processes_refused=self._refused,
            peak_mb=self._peak // _MIB,
        )

    def allow_files(self, size: int) -> None:
        pass

    def kill(self) -> None:
        for _ in range(5 if self._pid else 0):
            found = [*_descendants(self._pid), *_marked(self._marker)]
            for each in reversed(found):
                with contextlib.suppress(OSError):
                    os.kill(each, signal.SIGKILL)
            if not found:
                break


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for each in processes.ids():
        if status := processes.stat(each):
            children.setdefault(status.parent, []).append(each)
    found, pending = [], [pid]
    while pending:
        for child in children.get(pending.pop(), ()):
            found.append(child)
            pending.append(child)
    return found


def _marked(marker: bytes) -> list[int]:
    # What detached itself is nobody's descendant, but it has its environment yet.
    found = []
    for pid in processes.ids():
        with contextlib.suppress(OSError):
            if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found
