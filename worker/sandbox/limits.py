"""Memory, processes and CPU of what executes in one workspace, by cgroups of version 1 or 2."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from worker.sandbox import processes
from worker.sandbox.records import Limits

_MIB = 1024 * 1024
_CPU_PERIOD_US = 100_000
_SLACK = 64 * _MIB
"""What may be written to files between two measurements."""
_REFUSALS = 5
"""So often in a row a lower limit may be refused: memory is given back in its own time."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was measured of an execution."""

    memory_exceeded: bool
    processes_refused: int
    """How often a fork was refused; it rises as long as somebody tries."""
    peak_mb: int | None
    """The most since its workspace was made."""


class Cage(Protocol):
    """The limits of one execution."""

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files that a process writes its id to, to be held by these limits."""

    def sample(self, pid: int) -> Usage:
        """Measures; `pid` is the first process of the execution, outside."""

    def allow_files(self, size: int) -> None:
        """Files on a tmpfs count as memory: what the workspace's take is added to the limit.

        `size` is how many bytes it holds; 0 where it lies on disk. Shared memory and /dev/shm stay
        within the limit.
        """

    def kill(self) -> None:
        """Kills all processes in it, those that detached themselves too. Repeatable."""


class Cgroups:
    """The cgroup directories below which each workspace gets its own.

    One for all its executions, one after another: files on a tmpfs stay charged to the cgroup in
    which they were written, so only there can they be told from other memory.
    """

    def __init__(self, version: int, roots: dict[str, Path]) -> None:
        self.version = version
        self._roots = roots

    def cage(self, name: str, limits: Limits, *, size: int) -> Cage:
        """The cage of the workspace `name`, with `limits`. Raises OSError where the kernel refuses.

        `size` as for `Cage.allow_files`.
        """
        directories = {key: root / name for key, root in self._roots.items()}
        for directory in set(directories.values()):
            directory.mkdir(exist_ok=True)
        made = _CgroupCage(self.version, directories, limits, size)
        made.write_limits()
        return made

    def forget(self, name: str) -> None:
        """Removes the cage of a workspace that is gone. Nothing lives in it any more."""
        for root in set(self._roots.values()):
            _remove_directory(root / name)

    def kill_strays(self) -> int:
        """Kills what an earlier process of this worker left, and removes its cgroups."""
        count = 0
        for root in set(self._roots.values()):
            for directory in list(root.iterdir()):
                if directory.is_dir() and directory.name != "worker":
                    count += len(_processes(directory))
                    _kill_directory(directory)
                    _remove_directory(directory)
        return count

    def remove(self) -> None:
        """Removes the directories that were made at the start, as far as they are empty."""
        for root in set(self._roots.values()):
            _remove_directory(root, seconds=0.1)


def find_cgroups(name: str) -> Cgroups | None:
    """The cgroups that this process may make children in, below one called `name`.

    None where it may not: then a watchdog has to do.
    """
    own = _own_cgroups()
    try:
        version1 = {
            kind: _rooted(point, own.get(kind, "/"))
            for kind, point in _version1_mounts().items()
            if kind in ("memory", "pids", "cpu")
        }
        if "memory" in version1 and "pids" in version1:
            roots = {kind: directory / name for kind, directory in version1.items()}
            for directory in set(roots.values()):
                directory.mkdir(exist_ok=True)
            (roots["memory"] / "memory.limit_in_bytes").read_text()
            return Cgroups(1, roots)
        return _version2(name, own)
    except OSError:
        return None


def _version2(name: str, own: dict[str, str]) -> Cgroups | None:
    point = _mount_of("cgroup2")
    if point is None:
        return None
    parent = _rooted(point, own.get("", "/"))
    # A restarted worker still stands in the leaf that an earlier one made.
    if parent.name == "worker" and parent.parent.name.startswith("pushlane-"):
        parent = parent.parent.parent
    root = parent / name
    root.mkdir(exist_ok=True)
    wanted = {"memory", "pids"}
    if not wanted <= set((parent / "cgroup.subtree_control").read_text().split()):
        # Only the root cgroup may hold processes and children with controllers at once.
        leaf = root / "worker"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    for directory in (parent, root):
        available = set((directory / "cgroup.controllers").read_text().split())
        if not wanted <= available:
            return None
        for controller in sorted((wanted | {"cpu"}) & available):
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")
    return Cgroups(2, {"memory": root, "pids": root, "cpu": root})


class _CgroupCage:
    def __init__(
        self, version: int, directories: dict[str, Path], limits: Limits, size: int
    ) -> None:
        self._version = version
        self._directories = directories
        self._limits = limits
        self._allowed = self._with_files(size)
        self._refused = 0
        self._counted = (self._kills(), self._forks_refused())
        """By earlier executions."""

    @property
    def entrances(self) -> tuple[str, ...]:
        return tuple(
            str(directory / "cgroup.procs") for directory in sorted(set(self._directories.values()))
        )

    def write_limits(self) -> None:
        self._write_memory(self._allowed)
        self._write("pids", "pids.max", str(self._limits.processes))
        if self._limits.cpus is not None and "cpu" in self._directories:
            quota = max(1000, int(self._limits.cpus * _CPU_PERIOD_US))
            if self._version == 2:
                self._write("cpu", "cpu.max", f"{quota} {_CPU_PERIOD_US}")
            else:
                self._write("cpu", "cpu.cfs_period_us", str(_CPU_PERIOD_US))
                self._write("cpu", "cpu.cfs_quota_us", str(quota))
        if self._version == 2:
            with contextlib.suppress(OSError):
                self._write("memory", "memory.swap.max", "0")
            with contextlib.suppress(OSError):
                self._write("memory", "memory.oom.group", "1")

    def sample(self, pid: int) -> Usage:  # noqa: ARG002 - it is in the cgroup
        peak = self._number("memory.peak" if self._version == 2 else "memory.max_usage_in_bytes")
        kills, refused = self._counted
        return Usage(
            memory_exceeded=self._kills() > kills or self._refused > _REFUSALS,
            processes_refused=self._forks_refused() - refused,
            peak_mb=None if peak is None else peak // _MIB,
        )

    def allow_files(self, size: int) -> None:
        allowed = self._with_files(size)
        if self._allowed - _SLACK <= allowed <= self._allowed:
            self._refused = 0
            return
        try:
            self._write_memory(allowed)
        except OSError:
            # Files are gone, and what takes their place is none: version 1 refuses such a limit,
            # where version 2 kills.
            self._refused += 1
        else:
            self._allowed, self._refused = allowed, 0

    def kill(self) -> None:
        for directory in set(self._directories.values()):
            _kill_directory(directory)

    def _with_files(self, size: int) -> int:
        files = min(size + _SLACK, self._limits.work_mb * _MIB) if size else 0
        return self._limits.memory_mb * _MIB + files

    def _kills(self) -> int:
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        return self._counter("memory", name, "oom_kill")

    def _forks_refused(self) -> int:
        return self._counter("pids", "pids.events", "max")

    def _write_memory(self, allowed: int) -> None:
        if self._version == 2:
            self._write("memory", "memory.max", str(allowed))
            return
        # Memory with swap may never be less than memory alone: the order depends on the direction.
        names = ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]
        if not (self._directories["memory"] / names[0]).exists():
            names.pop(0)
        for name in names:
            try:
                self._write("memory", name, str(allowed))
            except OSError:
                self._write("memory", "memory.limit_in_bytes", str(allowed))
                self._write("memory", name, str(allowed))

    def _write(self, kind: str, name: str, value: str) -> None:
        (self._directories[kind] / name).write_text(value)

    def _number(self, name: str) -> int | None:
        try:
            return int((self._directories["memory"] / name).read_text())
        except (OSError, ValueError):
            return None

    def _counter(self, kind: str, name: str, key: str) -> int:
        try:
            text = (self._directories[kind] / name).read_text()
        except OSError:
            return 0
        for line in text.splitlines():
            found, _, value = line.partition(" ")
            if found == key:
                return int(value)
        return 0


def _processes(directory: Path) -> list[int]:
    try:
        return [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _kill_directory(directory: Path) -> None:
    try:
        (directory / "cgroup.kill").write_text("1")
        return
    except OSError:
        pass
    # A fork bomb spawns while we read the list; each pass leaves it fewer that can.
    for _ in range(200):
        found = [
            pid
            for pid in _processes(directory)
            if (status := processes.stat(pid)) and not status.ended
        ]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _remove_directory(directory: Path, *, seconds: float = 2.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.002)


def _own_cgroups() -> dict[str, str]:
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            for kind in kinds.split(","):
                found[kind] = path
    return found


def _mount_lines() -> list[tuple[str, str, list[str]]]:
    lines = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        lines.append((kind, before.split()[4], options.split(",")))
    return lines


def _version1_mounts() -> dict[str, Path]:
    return {
        option: Path(point)
        for kind, point, options in _mount_lines()
        if kind == "cgroup"
        for option in options
    }


def _mount_of(kind: str) -> Path | None:
    return next((Path(point) for found, point, _ in _mount_lines() if found == kind), None)


def _rooted(point: Path, path: str) -> Path:
    directory = point / path.lstrip("/")
    # In a container the path may be the host's, which is not visible here.
    return directory if directory.is_dir() else point
