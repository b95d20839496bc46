"""Reads of an unpacked source what detection wants to know: bounded, and no link is followed."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed, short
from worker import tree
from worker.detect.source import Place, Source

_DEEPEST: Final = 3
_PLACES: Final = 800
_FILE: Final = 1 << 20
_LOCK: Final = 24 << 20
_TOGETHER: Final = 96 << 20
"""Bytes: of one file, of one lock file, of all. What is longer is cut."""
_PASSED_BY: Final = frozenset(
    ("node_modules", "bower_components", "vendor", "third_party", "__pycache__", "venv", "env")
)
_DOTTED: Final = (".github", ".github/workflows", ".yarn", ".yarn/releases", ".yarn/patches")
_LOCKS: Final = frozenset(
    ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock")
)
_READ: Final = re.compile(
    r"package\.json|angular\.json|\.nvmrc|\.node-version|\.tool-versions|\.npmrc|\.yarnrc(\.yml)?"
    r"|pnpm-workspace\.yaml|lerna\.json|\.python-version|runtime\.txt|\.readthedocs\.ya?ml"
    r"|pyproject\.toml|Pipfile|[\w.-]*requirements[\w.-]*\.(txt|in)|conf\.py|mkdocs[\w.-]*\.ya?ml"
    r"|zensical\.toml|pelicanconf\.py|\.hugo-version|(hugo|config|module|module\w*)\.(toml|ya?ml|json)"
    r"|_config\.ya?ml|Gemfile(\.lock)?|\.ruby-version|book\.toml|elm\.json|go\.mod|\.gitmodules"
    r"|(next|nuxt|svelte|astro|vite|app|react-router|remix|webpack|rsbuild)\.config\.[\w.]+"
    r"|index\.(html|md)|README\.md|docs\.txt|doc\.txt"
)


def look(source: Path, root: str = "", *, by: str = "pushlane.toml") -> Source:
    """The source's upper directories, and those on the way to `root`. Blocking.

    `by` asks for `root`. Raises `BuildFailed` (code `root_missing`) when that is no directory of
    the source.
    """
    parts = tree.parts_of(root)
    if parts and not tree.is_directory(source, parts):
        raise BuildFailed(
            f"{by} says to work in {short(root, 30)!r}, which is no directory of the repository: "
            "mend it there",
            code="root_missing",
        )
    places: dict[str, Place] = {}
    left = _TOGETHER
    # What was asked for comes first, whatever the bounds leave of the rest.
    way = ["/".join(parts[:end]) for end in range(len(parts) + 1)]
    waiting = deque([*way, *((f"{way[-1]}/{name}") for name in ("config", "config/_default")
                             if parts)])  # fmt: skip
    while waiting and len(places) < _PLACES:
        path = waiting.popleft()
        if path in places:
            continue
        names = tree.listing(source, path)
        if not names and path:
            continue
        contents: dict[str, bytes] = {}
        for name, is_directory in names.items():
            if is_directory or not (_READ.fullmatch(name) or name in _LOCKS
                                    or path == ".github/workflows"):  # fmt: skip
                continue
            most = min(_LOCK if name in _LOCKS else _FILE, left)
            body = tree.read(source, f"{path}/{name}" if path else name, most=most)
            if body is not None:
                left -= len(body)
                contents[name] = body
        places[path] = Place(path=path, names=names, contents=contents)
        deep = len(tree.parts_of(path))
        base = len(parts) if parts and path.startswith("/".join(parts)) else 0
        if deep - base >= _DEEPEST:
            continue
        below = (f"{path}/{name}" if path else name for name, inside in sorted(names.items())
                 if inside)  # fmt: skip
        waiting.extend(each for each in below if _worth(each))
    return Source(places=places)


def _worth(path: str) -> bool:
    name = path.rpartition("/")[2]
    if name.startswith("."):
        return path in _DOTTED or name in (".vitepress", ".vuepress", ".storybook")
    return name not in _PASSED_BY
