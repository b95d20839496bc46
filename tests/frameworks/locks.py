"""Lock files, made by the package manager itself: they are long, so none is in the repository."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.frameworks.catalogue import Pair
from tests.frameworks.repositories import Files
from worker import toolchain
from worker.tool import Tool

_LONGEST: Final = 600.0
_NODE: Final = Tool(name="node", version="22")
_PYTHON: Final = Tool(name="python", version="3.12")
_UV: Final = Tool(name="uv")


@dataclass(frozen=True, slots=True)
class _Maker:
    """How a package manager writes its lock file, and what it is called."""

    command: str
    lock: str
    tools: tuple[Tool, ...]
    sourced: str = ""
    """The file that is to name the registry; `_SOURCE` says how."""


class LockFailed(Exception):
    """The package manager gave none; the message is the end of what it said."""


def _maker(by: str) -> _Maker:
    name, _, version = by.partition("@")
    match name:
        case "npm":
            return _Maker("npm install --package-lock-only --ignore-scripts", "package-lock.json",
                          (_NODE,))  # fmt: skip
        case "pnpm":
            return _Maker("pnpm install --lockfile-only --ignore-scripts", "pnpm-lock.yaml",
                          (_NODE, Tool(name="pnpm", version=version)))  # fmt: skip
        case "yarn":
            command = "yarn install --ignore-scripts --ignore-engines --non-interactive"
            if version != "1":
                command = "touch yarn.lock && yarn install --mode=update-lockfile --no-immutable"
            asked = "" if version == "1" else version  # a repository that says none gets yarn 1
            return _Maker(command, "yarn.lock", (_NODE, Tool(name="yarn", version=asked)))
        case "bun":
            old = version == "1.1"
            return _Maker("bun install --ignore-scripts", "bun.lockb" if old else "bun.lock",
                          (_NODE, Tool(name="bun", version=version)))  # fmt: skip
        case "pip":
            return _Maker("uv pip compile --quiet --no-header --no-annotate "
                          "requirements.txt --output-file requirements.lock "
                          "&& mv requirements.lock requirements.txt", "requirements.txt",
                          (_PYTHON, _UV))  # fmt: skip
        case "uv":
            return _Maker("uv lock", "uv.lock", (_PYTHON, _UV))
        case "poetry":
            return _Maker("poetry lock", "poetry.lock", (_PYTHON, Tool(name="poetry")),
                          sourced="pyproject.toml")  # fmt: skip
        case "pipenv":
            return _Maker("pipenv lock", "Pipfile.lock", (_PYTHON, Tool(name="pipenv")),
                          sourced="Pipfile")  # fmt: skip
        case "pdm":
            return _Maker("pdm lock", "pdm.lock", (_PYTHON, Tool(name="pdm")))
        case _:
            raise LockFailed(f"nobody knows how {by} writes its lock file")


async def with_lock(pair: Pair, files: Files, *, kept: Path, toolchains: Path) -> Files:
    """The files and the lock file that belongs to them, from `kept` if they were met before.

    Raises LockFailed.
    """
    if not pair.lock:
        return files
    maker = _maker(pair.by)
    digest = hashlib.sha256(f"{pair.by}{maker}{pair.checked_in}{_SOURCE}".encode())
    for name in sorted(files):
        if Path(name).name in _DECIDING:
            digest.update(f"{name}\0".encode() + files[name])
    place = kept / digest.hexdigest()[:32]
    if not place.exists():
        made = await _make(pair, files, maker, kept=kept, toolchains=toolchains)
        made.rename(place)
    found = {each.relative_to(place).as_posix(): each.read_bytes()
             for each in place.rglob("*") if each.is_file()}  # fmt: skip
    at = f"{pair.under}/" if pair.under else ""
    return files | {f"{at}{name}": body for name, body in found.items()}


_DECIDING: Final = frozenset({
    "package.json", "pnpm-workspace.yaml", ".yarnrc.yml", ".npmrc", "bunfig.toml",
    "pyproject.toml", "Pipfile", "requirements.txt",
})  # fmt: skip


_SOURCE: Final = {
    # Poetry asks PyPI's own API where no simple index is named, and a mirror need not have it.
    "pyproject.toml": '\n[[tool.poetry.source]]\nname = "registry"\nurl = "{0}"\n',
    "Pipfile": '\n[[source]]\nname = "registry"\nurl = "{0}"\nverify_ssl = true\n',
}


def _registry() -> str:
    """The index that pip asks: its own word for it, since none of ours names a host."""
    own: str = importlib.import_module("pip._internal.models.index").PyPI.simple_url
    return os.environ.get("PIP_INDEX_URL") or own


async def _make(pair: Pair, files: Files, maker: _Maker, *, kept: Path, toolchains: Path) -> Path:
    async def quiet(_: str) -> None: ...

    given = await toolchain.provide(toolchains, maker.tools, environment=os.environ, log=quiet)
    kept.mkdir(parents=True, exist_ok=True)
    for left_over in kept.glob(".new-*"):
        shutil.rmtree(left_over)
    result = Path(tempfile.mkdtemp(dir=kept, prefix=".new-"))
    with tempfile.TemporaryDirectory(prefix="pushlane-lock-") as scratch:
        for name, body in files.items():
            path = Path(scratch) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # The version that a repository pins must not fetch itself while the lock is made.
            path.write_bytes(b"nodeLinker: node-modules\n" if name == ".yarnrc.yml" else body)
        at = Path(scratch) / pair.under
        if maker.sourced:
            with (at / maker.sourced).open("a") as file:
                file.write(_SOURCE[maker.sourced].format(_registry()))
            shutil.copyfile(at / maker.sourced, result / maker.sourced)
        await _execute(maker.command, at, _environment(given, Path(scratch)))
        (result / maker.lock).write_bytes((at / maker.lock).read_bytes())
        if pair.checked_in:
            release = next(path for place in given.paths for path in
                           place.resolve().parent.rglob("yarn.js") if path.is_file())  # fmt: skip
            target = result / ".yarn/releases/yarn-4.cjs"
            target.parent.mkdir(parents=True)
            shutil.copyfile(release, target)
    return result


def _environment(given: toolchain.Toolchain, scratch: Path) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if name != "VIRTUAL_ENV"}
    return {
        **inherited,
        **given.variables,
        "PATH": ":".join((*map(str, given.paths), os.environ["PATH"])),
        "npm_config_manage_package_manager_versions": "false",
        "COREPACK_ENABLE_DOWNLOAD_PROMPT": "0",
        "YARN_ENABLE_TELEMETRY": "0",
        "YARN_ENABLE_GLOBAL_CACHE": "true",
        "POETRY_VIRTUALENVS_PATH": str(scratch / ".venvs"),
        "WORKON_HOME": str(scratch / ".venvs"),
        "VIRTUAL_ENV": "",
    }


async def _execute(command: str, at: Path, environment: Mapping[str, str]) -> None:
    started = await asyncio.create_subprocess_shell(
        command,
        cwd=at,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(started.communicate(), _LONGEST)
    except TimeoutError:
        started.kill()
        raise LockFailed(f"`{command}` took longer than {_LONGEST:.0f} s") from None
    if started.returncode != 0:
        raise LockFailed(f"`{command}`: {said.decode(errors='replace')[-600:].strip()}")
