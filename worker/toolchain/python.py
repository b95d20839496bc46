"""The machine's Pythons, and what installs packages for them: uv, Poetry, Pipenv, PDM."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Final

import msgspec

from bot.core.errors import BuildFailed, Errored
from worker.sandbox import Mount
from worker.toolchain import versions
from worker.toolchain.kept import identified, once
from worker.toolchain.records import Stock, Toolchain, kept_at
from worker.toolchain.registry import call, pip_install
from worker.toolchain.wheels import chosen, offered

VENV: Final = "/work/home/venv"
"""Where a build's packages go: first on its PATH, before it is there too."""
_LEAST: Final = (3, 8, 0)
"""uv serves none that is older."""
_NAME: Final = re.compile(r"python3(\.\d+)?")
_PROBE: Final = (
    "import json, os, sys; print(json.dumps(['%d.%d.%d' % sys.version_info[:3],"
    " os.path.realpath(sys.base_prefix), os.path.realpath(sys.executable)]))"
)
_VARIABLES: Final = {
    "VIRTUAL_ENV": VENV,
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PDM_IGNORE_SAVED_PYTHON": "1",
    "PDM_CHECK_UPDATE": "0",
}


async def python(stock: Stock, wanted: str, *, why: str = "") -> Toolchain:
    """A Python of this machine: the wanted minor, or the nearest that is here, with a word.

    No registry carries CPython, so that nothing is fetched. `wanted` as `plain_python` takes it;
    `""` is the newest here. Raises BuildFailed (`tool_missing`) where the machine has none.
    """
    here = await asyncio.to_thread(_candidates, stock)
    found = await asyncio.gather(*(_probed(stock, each) for each in here))
    pythons = {each[0]: each for each in reversed(found) if each is not None}
    if not pythons:
        raise BuildFailed(
            "this needs Python, and the worker's machine has none from 3.8 on: install python3 "
            "there",
            code="tool_missing",
        )
    text = versions.plain_python(wanted)
    version = versions.newest(pythons, text) or _nearest(pythons, text)
    said = f" ({why})" if why else ""
    if wanted.strip() and not text:
        await stock.log(f"Python {wanted.strip()[:60]!r}{said} names no version: {version} is here")
    elif text and not versions.satisfies(versions.parse(version) or _LEAST, text):
        await stock.log(
            f"Python {wanted.strip()[:60]!r}{said} is not on this machine: {version} is the nearest"
        )
    _, prefix, program = pythons[version]
    name = f"python-{version}-{hashlib.sha256(program.encode()).hexdigest()[:8]}"
    async with once(stock.cache, name) as (directory, ready):
        if not ready:
            (directory / "bin").mkdir()
            minor = ".".join(version.split(".")[:2])
            for alias in ("python", "python3", f"python{minor}"):
                (directory / "bin" / alias).symlink_to(program)
    kept = kept_at(stock.cache / name, {"python": version})
    shown = () if prefix in ("/usr", "/usr/local") else (Mount(Path(prefix), prefix),)
    return Toolchain(
        (Path(VENV) / "bin", *kept.paths), (*kept.mounts, *shown), kept.versions, _VARIABLES
    )


async def application(
    stock: Stock, name: str, wanted: str, so_far: Toolchain, *, why: str = ""
) -> Toolchain:
    """`poetry`, `pipenv` or `pdm` in an environment of its own, which only it sees.

    It is made for the Python that is there. Raises Errored where pip cannot have it now.
    """
    if "python" not in so_far.versions:
        so_far = await python(stock, "")
    shown = next(each for each in so_far.paths if each.parent.name.startswith("python-"))
    interpreter = await asyncio.to_thread((shown / "python3").resolve)
    available = await offered(stock, name, python=interpreter)
    version = await chosen(stock, name, wanted, available, why=why)
    place = f"{name}-{version}-{shown.parent.name}"
    async with once(stock.cache, place) as (directory, ready):
        if not ready:
            await stock.log(f"Fetching {name} {version}")
            wanted_too = _BESIDE.get(name, ())
            await _environment_of(stock, interpreter, directory, f"{name}=={version}", *wanted_too)
            final = (stock.cache / place).resolve()
            await asyncio.to_thread(_move_scripts, directory, final)
            (directory / "bin").mkdir()
            (directory / "bin" / name).symlink_to(f"../venv/bin/{name}")
    return kept_at(stock.cache / place, {name: version})


_BESIDE: Final = {"pdm": ("hishel<2",)}
"""What an application needs in an older release than it says: PDM 2.29 fails with hishel 2."""


async def _environment_of(
    stock: Stock, interpreter: Path, directory: Path, spec: str, *more: str
) -> None:
    venv = directory / "venv"
    argv = [str(interpreter), "-m", "venv", "--without-pip", str(venv)]
    code, said = await call(argv, stock.environment, seconds=60)
    if code != 0:
        tail = " ".join(said.split())[-200:]
        raise Errored(f"no environment for {spec}: {tail}", code="toolchain_unavailable")
    await pip_install(venv / "bin/python", spec, *more, environment=stock.environment)


def _move_scripts(directory: Path, final: Path) -> None:
    # A script names its interpreter by the whole path, and it is about to move.
    before, after = os.fsencode(directory), os.fsencode(final)
    for script in (directory / "venv/bin").iterdir():
        if not script.is_symlink() and (body := script.read_bytes()).startswith(b"#!"):
            script.write_bytes(body.replace(before, after))


def _nearest(pythons: dict[str, tuple[str, str, str]], text: str) -> str:
    """The one whose minor is least far from the lowest that is asked for, the newer of two."""
    low = versions.lowest(text or "*")
    known = [each for each in map(versions.parse, pythons) if each is not None]
    if low[0] != 3:
        return versions.show(max(known))
    return versions.show(min(known, key=lambda each: (abs(each[1] - low[1]), -each[1], -each[2])))


def _candidates(stock: Stock) -> list[Path]:
    """Programs that are called like a Python 3, each once, those on the PATH first."""
    environment = stock.environment
    home = Path(environment.get("HOME") or "/nonexistent")
    pyenv = Path(environment.get("PYENV_ROOT") or home / ".pyenv")
    path = [Path(each) for each in environment.get("PATH", os.defpath).split(":") if each]
    places = [*path, Path("/usr/bin"), Path("/usr/local/bin"), Path(sys.base_prefix, "bin")]
    for top in (pyenv / "versions", home / ".local/share/uv/python", Path("/opt/python")):
        places += sorted(top.glob("*/bin"))
    found: dict[Path, None] = {}
    for place in dict.fromkeys(places):
        try:
            names = [each.name for each in place.iterdir() if _NAME.fullmatch(each.name)]
            for name in sorted(names):
                real = (place / name).resolve()
                with real.open("rb") as file:
                    # A shim that chooses among several is a script, and no Python itself.
                    if file.read(4) == b"\x7fELF":
                        found[real] = None
        except OSError:
            continue
    return list(found)


async def _probed(stock: Stock, program: Path) -> tuple[str, str, str] | None:
    async def ask() -> str:
        code, said = await call([str(program), "-I", "-c", _PROBE], stock.environment, seconds=20)
        return said if code == 0 else "null"

    said = await identified(stock.cache, program, ask)
    try:
        found = msgspec.json.decode(said, type=tuple[str, str, str] | None)
    except msgspec.DecodeError:
        return None
    if found is None or (versions.parse(found[0]) or _LEAST) < _LEAST:
        return None
    return found if len(Path(found[1]).parts) > 1 else None
