"""Finds the directory that a build has made, among those that its framework may write to."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed
from worker import tree
from worker.detect import Plan
from worker.frameworks import COMMAND

_LOOKED_AT: Final = 20_000


def now(top: Path) -> int:
    """This moment by the clock of the files below `top`, in ns; what is written later is later."""
    os.utime(top)
    return top.stat().st_ctime_ns


def find(top: Path, base: tuple[str, ...], plan: Plan, *, since: int) -> tuple[str, ...]:
    """The parts, below `top`, of the directory to publish; no link is on the way to it.

    `base` is where the build worked. A build's output is what it wrote to after `since` (`now`).
    Blocking. Raises `BuildFailed`, codes `output_missing` and `output_outside`.
    """
    candidates = [
        (*above, *below)
        for pattern in plan.outputs
        for above, parts in [_seen(base, tree.parts_of(pattern))]
        for below in _expanded(top, above, parts)
    ]
    if plan.declared or not plan.builds:
        if candidates:
            return candidates[0]
    else:
        for parts in candidates:
            if _touched(top, parts, since):
                return parts
        if candidates and candidates[0] == (*base, *tree.parts_of(plan.outputs[0])):
            return candidates[0]
        if plan.framework == COMMAND.name and (
            tree.listing(top, "/".join(base)).get("index.html") is False
        ):
            return base
    raise _missing(top, base, plan, since)


def _seen(base: tuple[str, ...], parts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where `../` at the beginning leads, and the rest; never above the source."""
    while parts and parts[0] == ".." and len(base) > 1:
        base, parts = base[:-1], parts[1:]
    return base, parts


def _expanded(top: Path, base: tuple[str, ...], pattern: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The directories that a pattern means, in order; `*` is any one directory."""
    found: list[tuple[str, ...]] = [()]
    for part in pattern:
        if part == "*":
            found = [
                (*each, name)
                for each in found
                for name, is_directory in sorted(tree.listing(top, "/".join(base + each)).items())
                if is_directory and not name.startswith(".") and name != "node_modules"
            ]
        else:
            found = [(*each, part) for each in found]
    return [each for each in found if tree.is_directory(top, (*base, *each))]


def _touched(top: Path, parts: tuple[str, ...], since: int) -> bool:
    """Whether the build wrote anything below: what was unpacked bears an earlier ctime."""
    left = _LOOKED_AT
    stack = [top.joinpath(*parts)]
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                left -= 1
                status = entry.stat(follow_symlinks=False)
                if left < 0 or status.st_ctime_ns > since:
                    return True
                if stat.S_ISDIR(status.st_mode):
                    stack.append(Path(entry.path))
    return False


def _missing(top: Path, base: tuple[str, ...], plan: Plan, since: int) -> BuildFailed:
    wanted = plan.outputs[0]
    place = top.joinpath(*base, *tree.parts_of(wanted))
    if place.is_symlink():
        return BuildFailed(
            f"`{wanted}` is a link: publish the directory that it points at, by `output` in "
            "pushlane.toml",
            code="output_outside",
        )
    there = tree.listing(top, "/".join(base))
    made = [
        name
        for name, is_directory in sorted(there.items())
        if is_directory
        and name not in ("node_modules", ".git")
        and (not plan.builds or _touched(top, (*base, name), since))
    ]
    shown = ", ".join(made[:8]) or "none"
    hint = f"; {plan.hint}" if plan.hint else ""
    words = "after the build" if plan.builds else "in the repository"
    return BuildFailed(
        f"there is no directory `{wanted}` {words}"
        f" (directories that {'it wrote to' if plan.builds else 'are there'}: {shown}); set "
        f"`output` in [build] of pushlane.toml to the right one{hint}",
        code="output_missing",
    )
