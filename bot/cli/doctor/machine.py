"""What this machine must have: programs, a data directory, a sandbox that holds."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bot.cli.doctor.check import Check, failed, ok, warning
from bot.core.errors import Errored
from bot.core.settings import Settings
from bot.embedded.selftest import first_line, sandbox_findings

_GIT: Final = (2, 31)
"""The first that takes its configuration from the environment (GIT_CONFIG_COUNT)."""
_ROOM_MB: Final = 2_000
_LEAST_ROOM_MB: Final = 200


async def machine_checks(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """Everything about the machine, in the order in which a person would look."""
    directory = _data_directory(settings.data_dir)
    git, tools, sandbox = await asyncio.gather(
        _git(environ), _tools(settings, environ), _sandbox(settings.data_dir, environ)
    )
    return [ok("Python", platform.python_version()), git, *tools, directory, *sandbox]


async def _git(environ: Mapping[str, str]) -> Check:
    cure = f"install git {_GIT[0]}.{_GIT[1]} or later"
    try:
        said = await first_line(("git", "--version"), environ)
    except Errored as error:
        return failed("git", error.message, cure)
    found = re.search(r"(\d+)\.(\d+)", said)
    version = said.removeprefix("git version ")
    if not found or (int(found[1]), int(found[2])) < _GIT:
        return failed("git", f"{version} is too old", cure)
    return ok("git", version)


async def _tools(settings: Settings, environ: Mapping[str, str]) -> list[Check]:
    """What the worker starts besides the build's own programs."""
    checks = []
    if settings.sandbox == "bubblewrap":
        try:
            said = await first_line(("bwrap", "--version"), environ)
            checks.append(ok("bubblewrap", said.removeprefix("bubblewrap ")))
        except Errored as error:
            cure = "apt-get install bubblewrap, or dnf install bubblewrap"
            checks.append(failed("bubblewrap", error.message, cure))
    missing = [name for name in ("tar", "zstd") if not shutil.which(name, path=environ.get("PATH"))]
    if missing:
        words = " and ".join(missing)
        checks.append(failed("tar, zstd", f"{words} not on the PATH", f"install {words}"))
    return checks


def _data_directory(path: Path) -> Check:
    name = "data directory"
    if not path.exists():
        above = next(parent for parent in path.parents if parent.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return failed(
                name,
                f"{path} is not there and cannot be made in {above}",
                "name another by PUSHLANE_DATA_DIR",
            )
        return _room(name, above, f"{path} is made at the first start")
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return failed(name, f"{path} cannot be written", "name another by PUSHLANE_DATA_DIR")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return warning(name, f"{path} is open to others (mode {mode:03o})", f"chmod 700 {path}")
    return _room(name, path, str(path))


def _room(name: str, path: Path, words: str) -> Check:
    free = shutil.disk_usage(path).free // 1_000_000
    detail = f"{words}, {free / 1000:.1f} GB free"
    cure = "make room there, or name another by PUSHLANE_DATA_DIR"
    if free < _LEAST_ROOM_MB:
        return failed(name, detail, cure)
    return warning(name, detail, cure) if free < _ROOM_MB else ok(name, detail)


async def _sandbox(data_dir: Path, environ: Mapping[str, str]) -> list[Check]:
    """The worker's own self-test. What refuses no start is a warning."""
    try:
        with _leaving_no_trace(data_dir, environ) as around:
            findings = await sandbox_findings(around)
    except Errored as error:
        return [failed("sandbox", error.message, "no worker starts here until that is mended")]
    checks = []
    for finding in findings:
        name = f"sandbox: {finding.name}"
        if finding.ok:
            # Its detail is how the attempt was refused, which reads like a failure.
            checks.append(ok(name))
        elif finding.advisory:
            cure = "builds work, with less between them and this machine"
            checks.append(warning(name, finding.detail, cure))
        else:
            cure = "no worker starts here until that is mended; build on another machine"
            checks.append(failed(name, finding.detail, cure))
    return checks


@contextmanager
def _leaving_no_trace(data_dir: Path, environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """An environment for the self-test, which makes the data directory where there is none."""
    if data_dir.exists():
        yield environ
        return
    with tempfile.TemporaryDirectory(prefix="pushlane-doctor-") as directory:
        yield {**environ, "PUSHLANE_DATA_DIR": directory}
