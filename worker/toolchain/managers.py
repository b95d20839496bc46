"""What npm carries besides Node.js: package managers, Bun and Elm, in the wanted version."""

from __future__ import annotations

import contextlib
import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed
from worker.toolchain import versions
from worker.toolchain.kept import once, remembered, used
from worker.toolchain.node import some_npm
from worker.toolchain.records import Stock, Toolchain, kept_at
from worker.toolchain.registry import npm_install, npm_view

_LONGEST: Final = 200
"""Characters of a range: the kernel takes only so long an argument."""
_YARN_CLASSIC: Final = "1.22"
_PNPM_FOR_OLDER_NODE: Final = ("10", "9", "8", "7", "6")
_AS_IT_IS: Final = {
    "npm_config_manage_package_manager_versions": "false",
    "pnpm_config_pm_on_fail": "ignore",
}
"""For pnpm, which else fetches another of its releases where a package names one. It was chosen."""


async def package_manager(stock: Stock, name: str, version: str, so_far: Toolchain) -> Toolchain:
    """npm, pnpm or yarn for the Node.js that is there; npm without a version came with it.

    `version` is exact, a range or a tag, with or without the hash that `packageManager` may carry;
    `""` is yarn 1.22, or the newest pnpm that this Node.js can start. Raises BuildFailed where
    there is no such version, Errored where it cannot be had now.
    """
    if name == "npm" and not version:
        return Toolchain()
    return await _by_npm(stock, name, version, so_far, so_far.versions.get("node", ""))


async def bun(stock: Stock, version: str, so_far: Toolchain) -> Toolchain:
    """Bun by the package of its own makers for this processor; errors as in `package_manager`."""
    return await _by_npm(stock, "bun", version, so_far, "")


async def elm(stock: Stock, version: str, so_far: Toolchain) -> Toolchain:
    """The Elm compiler by its author's package; errors as in `package_manager`."""
    return await _by_npm(stock, "elm", version, so_far, "")


async def _by_npm(stock: Stock, name: str, version: str, so_far: Toolchain, node: str) -> Toolchain:
    wanted = _checked(name, version)
    npm = so_far if "node" in so_far.versions else None
    key = f"{name} {wanted} {node if not wanted else ''}"

    async def ask() -> str:
        return await _ask(stock, name, wanted, npm or await some_npm(stock), node)

    whole = versions.parse(wanted)
    exact = versions.show(whole) if whole else await remembered(stock.cache, key, ask)
    package = _package(name, exact)
    place = f"{package.rpartition('/')[2] if name == 'bun' else name}-{exact}"
    if not used(stock.cache, place):
        front = npm or await some_npm(stock)
        async with once(stock.cache, place) as (directory, ready):
            if not ready:
                await stock.log(f"Fetching {name} {exact}")
                specs = [f"{package}@{exact}"]
                try:
                    await npm_install(stock.cache, directory, specs, front.paths, stock.environment)
                except BuildFailed:
                    raise _no_such(name, f"the registry has no {exact}") from None
                _link(name, directory, package)
    found = kept_at(stock.cache / place, {name: exact})
    return replace(found, variables=_AS_IT_IS) if name == "pnpm" else found


def _checked(name: str, version: str) -> str:
    """The version as npm may be told it: an exact one, a range or a tag.

    A repository wrote it, and npm takes paths and URLs in this place too.
    """
    wanted = version.split("+", maxsplit=1)[0].strip().removeprefix("v")
    if len(wanted) > _LONGEST:
        raise _no_such(name, "its version is longer than any")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", wanted):
        try:
            versions.satisfies((0, 0, 0), wanted)
        except ValueError as problem:
            raise _no_such(name, str(problem)) from None
    return wanted


async def _ask(stock: Stock, name: str, wanted: str, npm: Toolchain, node: str) -> str:
    here = versions.parse(node) or (0, 0, 0)
    ranges = [wanted or (_YARN_CLASSIC if name == "yarn" else "latest")]
    if name == "pnpm" and not wanted:
        ranges += _PNPM_FOR_OLDER_NODE
    for text in ranges:
        package = _package(name, text)
        spec = f"{package}@{text}"
        said = await npm_view(stock.cache, spec, "version", npm.paths, stock.environment)
        # Elm's own releases are numbered `0.19.3-0` there.
        stable = {each.partition("-")[0]: each for each in said if name == "elm" or "-" not in each}
        known = [each for each in stable if versions.parse(each)]
        if not known:
            continue
        exact = stable[max(known, key=lambda each: versions.parse(each) or (0, 0, 0))]
        if not wanted and name == "pnpm":
            spec = f"{package}@{exact}"
            engines = await npm_view(
                stock.cache, spec, "engines.node", npm.paths, stock.environment
            )
            with contextlib.suppress(ValueError):
                if engines and not versions.satisfies(here, engines[0]):
                    continue
        return exact
    raise _no_such(name, f"{wanted or 'none'} for this Node.js")


def _package(name: str, version: str) -> str:
    arm = platform.machine() == "aarch64"
    if name == "bun":
        return "@oven/bun-linux-aarch64" if arm else f"@oven/bun-linux-x64{_baseline()}"
    if name == "elm":
        return "@elm_binaries/linux_arm64" if arm else "@elm_binaries/linux_x64"
    classic = version.lstrip("^~=v ").split(".")[0] in ("0", "1", "")
    return "@yarnpkg/cli-dist" if name == "yarn" and not classic else name


def _baseline() -> str:
    """Bun's ordinary build needs AVX2, its `baseline` one does not."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "-baseline"
    return "" if re.search(r"\bavx2\b", flags) else "-baseline"


def _link(name: str, directory: Path, package: str) -> None:
    """The carriers of a bare binary name no command: npm has linked none."""
    if name not in ("bun", "elm"):
        return
    carried = directory / "lib/node_modules" / package
    (directory / "bin").mkdir(exist_ok=True)
    program = next(each for each in (carried / "bin" / name, carried / name) if each.is_file())
    program.chmod(0o755)
    for alias in (name, "bunx") if name == "bun" else (name,):
        link = directory / "bin" / alias
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / program.relative_to(directory))


def _no_such(name: str, reason: str) -> BuildFailed:
    where = "engines or elm.json" if name == "elm" else "packageManager in package.json"
    return BuildFailed(
        f"that {name} cannot be had; correct {where}: {reason}", code="package_manager_unknown"
    )
