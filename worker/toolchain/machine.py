"""What neither npm nor PyPI carries: programs of the machine, and Debian's own packages."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed, Errored
from worker.toolchain.kept import identified, locked, once
from worker.toolchain.records import Stock, Toolchain, kept_at
from worker.toolchain.registry import call

_APT_SECONDS: Final = 900.0
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_RUBY: Final = ("ruby", "ruby-webrick")
_DEBIAN: Final = {
    # Fixed lists: nothing that a repository says decides what is installed.
    "ruby": _RUBY,
    "bundler": (*_RUBY, "bundler", "ruby-dev", "build-essential"),
    "jekyll": (
        *(*_RUBY, "bundler", "jekyll", "jekyll-theme-minima", "ruby-kramdown-parser-gfm"),
        *("ruby-jekyll-feed", "ruby-jekyll-seo-tag", "ruby-jekyll-sitemap", "ruby-jekyll-paginate"),
        *("ruby-jekyll-paginate-v2", "ruby-jekyll-gist", "ruby-jekyll-redirect-from"),
        *("ruby-jekyll-include-cache", "ruby-jekyll-archives", "ruby-jekyll-avatar"),
        *("ruby-jekyll-default-layout", "ruby-jekyll-github-metadata", "ruby-jekyll-mentions"),
        *("ruby-jekyll-last-modified-at", "ruby-jekyll-optional-front-matter"),
        *("ruby-jekyll-readme-index", "ruby-jekyll-relative-links", "ruby-jekyll-toc"),
        *("ruby-jekyll-titles-from-headings", "ruby-jekyll-sass-converter"),
    ),
}
_PROGRAM: Final = {"bundler": "bundle"}
_CURES: Final = {
    "zola": "install zola there, or commit its binary and name it in `command`",
    "mdbook": "install mdbook there, or commit its binary and name it in `command`",
}


async def program(stock: Stock, name: str) -> Toolchain:
    """A program of one file that is on the worker's PATH, as it is.

    Raises BuildFailed (`tool_missing`), with what to install, where it is not there.
    """
    found = shutil.which(name, path=stock.environment.get("PATH", os.defpath))
    if found is None:
        raise BuildFailed(
            f"{name} is neither on the worker's machine nor in a registry that we use: "
            f"{_CURES[name]}",
            code="tool_missing",
        )
    version = await _version(stock, Path(found))
    real = await asyncio.to_thread(Path(found).resolve)
    if real.is_relative_to("/usr"):
        return Toolchain((Path(found).parent,), (), {name: version})
    # It may lie in somebody's home, of which a build is to see nothing else.
    status = await asyncio.to_thread(real.stat)
    place = f"{name}-{status.st_ino:x}-{status.st_mtime_ns:x}"
    async with once(stock.cache, place) as (directory, ready):
        if not ready:
            (directory / "bin").mkdir()
            await asyncio.to_thread(shutil.copy2, real, directory / "bin" / name)
            (directory / "bin" / name).chmod(0o755)
    return kept_at(stock.cache / place, {name: version})


async def debian(stock: Stock, name: str) -> Toolchain:
    """`ruby`, `bundler` or `jekyll` below /usr; installed once where the worker may.

    It may as root of a Debian: then a fixed list of Debian's packages is installed, which apt
    verifies by Debian's keys. Else BuildFailed (`tool_missing`) says what to install; Errored where
    apt fails.
    """
    command = Path("/usr/bin", _PROGRAM.get(name, name))
    if not _there(command):
        await _install(stock, name, command)
    return Toolchain((command.parent,), (), {name: await _version(stock, command)})


async def _install(stock: Stock, name: str, command: Path) -> None:
    packages = _DEBIAN[name]
    apt = shutil.which("apt-get", path="/usr/bin:/bin")
    if os.geteuid() != 0 or apt is None:
        raise BuildFailed(
            f"this needs {name}, which is not on the worker's machine: install it there "
            f"(apt-get install {' '.join(packages)})",
            code="tool_missing",
        )
    await asyncio.to_thread(stock.cache.mkdir, parents=True, exist_ok=True)
    handle = await asyncio.to_thread(locked, stock.cache / ".debian.lock", fcntl.LOCK_EX)
    try:
        if _there(command):
            return
        await stock.log(f"Installing Debian's {name} on this machine, once")
        said = ""
        async with _no_services():
            for arguments in (["install"], ["update"], ["install"]):
                argv = [*("env", "DEBIAN_FRONTEND=noninteractive", apt, "-y", "-qq"), *arguments]
                if arguments == ["install"]:
                    argv += ["--no-install-recommends", *packages]
                code, said = await call(argv, stock.environment, seconds=_APT_SECONDS)
                if code == 0 and _there(command):
                    return
        tail = " ".join(said.split())[-300:]
        raise Errored(f"apt-get could not install {name}: {tail}", code="toolchain_unavailable")
    finally:
        os.close(handle)


@asynccontextmanager
async def _no_services() -> AsyncIterator[None]:
    """Within the block Debian's packages start nothing that they bring."""
    made = not _POLICY.exists()
    if made:
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
    try:
        yield
    finally:
        if made:
            _POLICY.unlink(missing_ok=True)


def _there(command: Path) -> bool:
    return os.access(command, os.X_OK)


async def _version(stock: Stock, command: Path) -> str:
    async def ask() -> str:
        code, said = await call([str(command), "--version"], stock.environment, seconds=20)
        found = re.search(r"\d+(?:\.\d+)+", said) if code == 0 else None
        return found[0] if found else "of this machine"

    return await identified(stock.cache, command, ask)
