"""What the rest of the worker says to the sandbox, and what it hears back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Killed = Literal["", "timeout", "memory", "processes", "disk", "stopped", "log"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one execution may use; passing one of them ends all of its processes."""

    timeout_seconds: float
    memory_mb: int
    """MiB that its processes may take, shared memory and /dev/shm (half of it) included.

    Where the workspace lies in memory, its files come on top, within `work_mb`, and 64 MiB for
    what is just being written.
    """
    processes: int = 2048
    cpus: float | None = None
    work_mb: int = 4096
    """Bytes (in MiB) that the workspace may hold, /tmp and HOME included."""
    work_files: int = 500_000
    """Files, directories and links that it may hold."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the machine, shown inside at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended. `killed` is empty where the command ended by itself."""

    exit_code: int
    """The command's own; 128 + n where signal n ended it."""
    seconds: float
    killed: Killed
    refused_hosts: tuple[str, ...]
    """What the egress proxy refused, `host:port`, each once, in order."""
    away_registries: tuple[str, ...]
    """`host:port` of package indexes and proxies that the worker's own configuration names, and
    that the egress proxy could not reach the last time it was asked to."""
    memory_peak_mb: int | None
    """The most since the workspace was made; None where nothing measured it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the self-test tried."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a build runs as, outside the sandbox. None: the worker's own, unprivileged, user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Workspace:
    """A private directory of one build, seen inside as /work. The build may write all of it."""

    path: Path
    owner: Owner | None
    sized: bool
    """True where it is a tmpfs with a size, False where it lies on disk and is watched."""
    room: Path
    """Where its files lie: beside `path` where that is a mount of its own, else `path` itself."""

    @property
    def home(self) -> Path:
        """What the build sees as its HOME, /work/home."""
        return self.path / "home"

    @property
    def temporary(self) -> Path:
        """What the build sees as /tmp."""
        return self.path / "tmp"
