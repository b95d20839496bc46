"""The machine's processes as /proc shows them: which builds live, and what stands in an argv."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_BUILD_USERS_FROM = 40_000
"""Builds of a worker that is root go on under ids from here up; else under the worker's own."""


def builds() -> dict[str, list[int]]:
    """The pids of living builds, by the id of the deployment that is built."""
    found: dict[str, list[int]] = {}
    for pid in _pids():
        with suppress(OSError):
            path = Path(f"/proc/{pid}")
            if path.stat().st_uid < _BUILD_USERS_FROM and os.geteuid() == 0:
                continue
            for word in (path / "environ").read_bytes().split(b"\0"):
                if word.startswith(b"DEPLOY_ID="):
                    found.setdefault(word[10:].decode(), []).append(pid)
                    break
    return found


def parents(pid: int) -> Iterator[int]:
    """The process itself, its parent, and so on up."""
    while pid > 1:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return
        pid = int(stat.rpartition(")")[2].split()[1])


def argv_leaks(secrets: Mapping[str, str]) -> set[str]:
    """Which secret stands in which program's arguments, for anyone on the machine to read."""
    found = set()
    wanted = {name: secret.encode() for name, secret in secrets.items()}
    for pid in _pids():
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            for name, secret in wanted.items():
                if secret in line:
                    program = line.split(b"\0")[0].decode(errors="replace")
                    found.add(f"{name} in the arguments of {program}")
    return found


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone, several times a second
        if name.isdigit():
            yield int(name)
