"""Finds the directory that a build has made, among those that its framework may write to."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed, short
from worker import tree
from worker.detect import Plan

_LOOKED_AT: Final = 20_000
_DEEPEST: Final = 4
_WIDEST: Final = 500
_NO_OUTPUT: Final = frozenset(
    ("node_modules", ".git", "coverage", ".cache", ".venv", "venv", "vendor")
)


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
        raise _missing(top, base, plan, since)
    written = [parts for parts in candidates if _touched(top, parts, since)]
    # A bundler may write to two of them: the one with a page is the site.
    for parts in written:
        if _has_page(top, parts):
            return parts
    pages = _written_pages(top, base, since)
    if len(pages) == 1:
        return pages[0]
    if written:
        return written[0]
    if candidates and candidates[0] == (*base, *tree.parts_of(plan.outputs[0])):
        return candidates[0]
    if _has_page(top, base) and _is_newer(top, (*base, "index.html"), since):
        return base
    raise _missing(top, base, plan, since)


def _seen(base: tuple[str, ...], parts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where `../` at the beginning leads, and the rest; never above the source."""
    while parts and parts[0] == ".." and len(base) > 1:
        base, parts = base[:-1], parts[1:]
    return base, parts


def _has_page(top: Path, parts: tuple[str, ...]) -> bool:
    return tree.listing(top, "/".join(parts)).get("index.html") is False


def _written_pages(top: Path, base: tuple[str, ...], since: int) -> list[tuple[str, ...]]:
    """The uppermost directories with an index.html that the build has written."""
    found: list[tuple[str, ...]] = []
    level = [base]
    for _ in range(_DEEPEST):
        below: list[tuple[str, ...]] = []
        for parts in level[:_WIDEST]:
            for name, is_directory in sorted(tree.listing(top, "/".join(parts)).items()):
                each = (*parts, name)
                if not is_directory or name in _NO_OUTPUT:
                    continue
                if _is_newer(top, (*each, "index.html"), since):
                    found.append(each)
                else:
                    below.append(each)
        level = below
    return found


def _is_newer(top: Path, parts: tuple[str, ...], since: int) -> bool:
    *above, name = parts
    try:
        with tree.directory(top, above) as at:
            status = os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_ctime_ns > since


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
    wanted = short(plan.outputs[0], 30)
    place = top.joinpath(*base, *tree.parts_of(plan.outputs[0]))
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
    shown = ", ".join(short(name, 60) for name in made[:8]) or "none"
    words = "after the build" if plan.builds else "in the repository"
    listed = f"(directories that {'it wrote to' if plan.builds else 'are there'}: {shown})"
    cure = f"set `output` in [build] of pushlane.toml to the right one {listed}"
    # The framework's own reason is the likelier one, and a status shows only the beginning.
    hint = f"{plan.hint}; or " if plan.hint else ""
    return BuildFailed(
        f"there is no directory `{wanted}` {words}: {hint}{cure}", code="output_missing"
    )
