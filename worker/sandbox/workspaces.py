"""Private directories for builds: a tmpfs with a size where that is possible, else on disk."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import operator
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bot.core.errors import Errored
from worker.sandbox import kernel, layers
from worker.sandbox.records import Limits, Workspace
from worker.sandbox.users import BuildUsers

_DEFAULT = Limits(timeout_seconds=0, memory_mb=0)
"""A workspace is made so large; each execution in it has limits of its own."""
_SPARE_MB = 2048
_SLOTS = 256
_REMOVE_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_FILE_BYTES = 1024


class Scratch:
    """One worker process' part of the scratch directory, locked as long as the process lives."""

    def __init__(self, directory: Path) -> None:
        """Takes the first part that no living process holds. Raises Errored if there is none."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(_SLOTS):
            path = directory.resolve() / f"worker-{number}"
            path.mkdir(exist_ok=True, mode=0o700)
            handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            self.path = path
            self._lock = handle
            return
        raise Errored(
            f"{directory} is in use by {_SLOTS} workers; give this one its own PUSHLANE_DATA_DIR",
            code="scratch_in_use",
        )

    def release(self) -> None:
        """Leaves the part to the next process."""
        os.close(self._lock)

    def clear(self) -> None:
        """Unmounts and removes what an earlier process left. Raises nothing."""
        for point in kernel.mounts_under(self.path):
            with contextlib.suppress(OSError):
                kernel.unmount(point)
        for entry in list(self.path.iterdir()):
            if entry.name != ".lock":
                with contextlib.suppress(OSError):
                    kernel.remove_tree(entry)

    @asynccontextmanager
    async def workspace(self, users: BuildUsers) -> AsyncIterator[Workspace]:
        """A fresh directory with `home` and `tmp` in it, owned by a build user, removed after."""
        owner = users.take()
        path = self.path / secrets.token_hex(8)
        try:
            room, sized = await asyncio.to_thread(_make, path)
            workspace = Workspace(path=path, owner=owner, sized=sized, room=room)
            for directory in (workspace.home, workspace.temporary, path):
                if directory != path:
                    directory.mkdir(mode=0o700)
                if owner is not None:
                    os.chown(directory, owner.uid, owner.gid)
            yield workspace
        finally:
            try:
                await asyncio.shield(asyncio.to_thread(_unmake, path))
            finally:
                users.give_back(owner)


def fit(workspace: Workspace, limits: Limits) -> None:
    """Gives a sized workspace the size that `limits` say."""
    if workspace.sized:
        # Refused where it holds more than that already: then it is full, as it should be.
        with contextlib.suppress(OSError):
            _mount(workspace.room, limits, remount=True)


def size(workspace: Workspace) -> int:
    """Bytes of memory that a sized workspace takes, with what the kernel keeps of each file."""
    status = os.statvfs(workspace.room)
    files = (status.f_files - status.f_ffree) * _FILE_BYTES
    return (status.f_blocks - status.f_bfree) * status.f_frsize + files


def full(workspace: Workspace, limits: Limits) -> bool:
    """Whether the workspace holds as much as it may. On disk this reads the whole tree."""
    if workspace.sized:
        status = os.statvfs(workspace.room)
        free_mb = status.f_bavail * status.f_frsize / (1024 * 1024)
        return free_mb < min(1.0, limits.work_mb / 100) or (
            status.f_files > 0 and status.f_ffree == 0
        )
    return Watch(workspace, limits).full()


class Watch:
    """Looks at one workspace on disk again and again, for as long as something executes in it."""

    def __init__(self, workspace: Workspace, limits: Limits) -> None:
        self._path = workspace.room
        self._most = (limits.work_mb * 1024 * 1024, limits.work_files)
        self._soonest = self._due = 0.0
        self._alarm = (0.0, 0.0)

    def full(self) -> bool:
        """Whether it holds as much as it may.

        The whole tree is read only from time to time, the seldomer the longer that takes, and when
        the file system has lost half of what was left to the workspace the last time.
        """
        begun = time.monotonic()
        if begun < self._soonest:
            return False
        status = os.statvfs(self._path)
        free = (status.f_bfree * status.f_frsize, status.f_ffree)
        if begun < self._due and all(map(operator.ge, free, self._alarm)):
            return False
        most_bytes, most_files = self._most
        used = kernel.size_of_tree(self._path, most_bytes=most_bytes, most_files=most_files)
        ended = time.monotonic()
        self._soonest = ended + _LOOK_SECONDS
        self._due = ended + max(_LOOK_SECONDS, 10 * (ended - begun))
        left = map(operator.sub, self._most, used)
        self._alarm = tuple(at - each / 2 for at, each in zip(free, left, strict=True))
        return any(map(operator.ge, used, self._most))


def _mount(path: Path, limits: Limits, *, remount: bool = False) -> None:
    kernel.mount_tmpfs(path, size_mb=limits.work_mb, files=limits.work_files, remount=remount)


def _make(path: Path) -> tuple[Path, bool]:
    """Where the files of the workspace at `path` lie, and whether that has a size."""
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        return path, False
    room = _room(path)
    room.mkdir(mode=0o700)
    sized = False
    if _available_mb() >= _DEFAULT.work_mb + _SPARE_MB:
        with contextlib.suppress(OSError):
            _mount(room, _DEFAULT)
            sized = True
    try:
        bottom = room / layers.BOTTOM
        bottom.mkdir(mode=0o700)
        kernel.mount_bind(bottom, path)
    except OSError:
        _remove(room)
        return path, False
    return room, sized


def _room(path: Path) -> Path:
    return path.with_name(f"{path.name}.room")


def _unmake(path: Path) -> None:
    for each in (path, _room(path)):
        _remove(each)


def _remove(path: Path) -> None:
    # The last of a killed tree may write for a moment yet.
    deadline = time.monotonic() + _REMOVE_SECONDS
    while path.exists():
        try:
            for point in [*kernel.mounts_under(path), path]:
                with contextlib.suppress(OSError):
                    kernel.unmount(point)
            kernel.remove_tree(path)
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _available_mb() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0
