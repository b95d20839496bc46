"""Build users: unprivileged ids without a name, which only this worker's builds carry."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from pathlib import Path

from bot.core.errors import SettingInvalid
from worker.sandbox import processes
from worker.sandbox.records import Owner

COUNT = 64
# 1879048192 and up is a range that no convention gives to anybody (systemd.io/UIDS-GIDS).
_WIDE, _WIDE_BLOCKS = 1_879_048_192, 1 << 21
# What is left where root itself is in a user namespace of 65,536 ids.
_NARROW, _NARROW_BLOCKS = 40_000, 300


class BuildUsers:
    """Hands out the ids of one scratch directory; none, unless the worker is root."""

    def __init__(self, scratch: Path) -> None:
        self._free: list[int] = []
        self._first = -1
        if os.geteuid() == 0:
            self._first = _first_id(scratch)
            self._free = list(range(self._first, self._first + COUNT))

    def take(self) -> Owner | None:
        """The lowest free id. None where the worker's own user is the build's."""
        if self._first < 0:
            return None
        if not self._free:
            raise SettingInvalid(
                "PUSHLANE_BUILD_CONCURRENCY", f"one worker holds at most {COUNT} workspaces"
            )
        self._free.sort()
        uid = self._free.pop(0)
        return Owner(uid, uid)

    def give_back(self, owner: Owner | None) -> None:
        """The id may be handed out again: nothing with it lives."""
        if owner is not None:
            self._free.append(owner.uid)

    def kill_strays(self) -> int:
        """Kills whatever carries an id of ours; how many there were."""
        killed = 0
        if self._first < 0:
            return killed
        for pid in processes.ids():
            uid = processes.owner(pid)
            if uid is not None and self._first <= uid < self._first + COUNT:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        return killed


def _first_id(scratch: Path) -> int:
    digest = hashlib.sha256(os.fsencode(scratch.resolve())).digest()
    number = int.from_bytes(digest[:8], "big")
    wide = _WIDE + number % _WIDE_BLOCKS * COUNT
    for first in (wide, _NARROW + number % _NARROW_BLOCKS * COUNT):
        if _mapped("uid_map", first) and _mapped("gid_map", first):
            return first
    raise SettingInvalid(
        "PUSHLANE_SANDBOX",
        "the worker is root of a user namespace that has no spare ids to build with; "
        "start it as an unprivileged user instead",
    )


def _mapped(name: str, first: int) -> bool:
    for line in Path(f"/proc/self/{name}").read_text().splitlines():
        inside, _, length = (int(field) for field in line.split())
        if inside <= first and first + COUNT <= inside + length:
            return True
    return False
