"""Which directory of a source is its site: the top, or where the top has none, the likeliest below."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from worker.detect.facts import PLAIN
from worker.detect.marks import PLACES, Mark, Sure, mark
from worker.detect.node import workspaces
from worker.detect.serving import serves
from worker.detect.source import Place, Source

_PREFERRED: Final = (
    "website", "site", "www", "web", "webapp", "docs", "doc", "documentation", "docs-site", "docs_src",
    "app", "client", "frontend", "front-end", "ui", "landing", "blog", "homepage", "portfolio", "src",
    "hugo", "jekyll", "gh-pages", "pages", "storybook", "playground", "demo", "starter", "template",
    "example", "examples", "exampleSite",
)  # fmt: skip
_GROUPS: Final = ("apps", "sites", "packages", "projects", "workspaces", "services", "modules",
                  "libs", "examples", "templates", "starters", "demos")  # fmt: skip
_PASSED_BY: Final = ("test", "tests", "__tests__", "fixtures", "e2e", "e2e-tests", "benchmark", "benchmarks",
                     "node_modules", "scripts", "tools", "integration")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The mark that decides, and whether it was looked for below the top."""

    mark: Mark
    found_below: bool = False


def choose(source: Source, root: str | None) -> Choice:
    """The site of a source; `root` is where it is asked to be, None where that is to be found."""
    top = source.at(root or "")
    own = mark(source, top)
    if root is not None or own.sure >= Sure.SITE or (own.sure >= Sure.PAGES and not own.at):
        return Choice(mark=own)
    best: Mark | None = None
    refused: Mark | None = None
    for place, likely in _below(source):
        found = mark(source, place)
        if found.fact is PLAIN and not likely:
            continue
        if found.sure == Sure.SITE and serves(found):
            refused = refused or found
            continue
        if found.sure > (best.sure if best else own.sure) and found.sure >= Sure.PAGES and not (
            found.fact is PLAIN and (own.sure >= Sure.PAGES or found.at)
        ):
            best = found
            if best.sure == Sure.SITE:
                break
    best = best or refused
    if best is not None:
        return Choice(mark=best, found_below=True)
    if own.sure == Sure.LIBRARY:
        plain = next((at for at in PLACES if at and source.at(at).has("index.html")), "")
        if plain:
            return Choice(mark=mark(source, source.at(plain)), found_below=True)
    return Choice(mark=own)


def _below(source: Source) -> list[tuple[Place, bool]]:
    """The directories below the top, likeliest first, each with whether its name says a site."""
    found: list[tuple[tuple[int, ...], str, Place]] = []
    members = workspaces(source, source.top)
    package = source.top.package
    build = package.spelled("build") if package else ""
    for path, place in source.places.items():
        parts = path.split("/")
        if not path or any(part in _PASSED_BY or part.startswith(".") for part in parts):
            continue
        name = parts[-1]
        grouped = len(parts) == 2 and (parts[0] in _GROUPS or any(
            each.startswith(f"{parts[0]}/") for each in members))  # fmt: skip
        preferred = next((rank for rank, each in enumerate(_PREFERRED) if each == name.lower()), None)
        likely = preferred if preferred is not None else 20 if parts[0] == "apps" else 30
        if len(parts) == 1 or grouped or (preferred is not None and len(parts) <= 3):
            sample = any(part.startswith(("example", "template", "demo", "starter", "playground"))
                         for part in parts)  # fmt: skip
            name = str(place.package.name) if place.package else path
            called = any(re.search(rf"(?<![\w/@-]){re.escape(each)}(?![\w-])", build)
                         for each in (path, name))  # fmt: skip
            found.append(((int(not called), int(sample), likely, len(parts)), path, place))
    found.sort(key=lambda each: each[:2])
    return [(place, rank[2] < 30) for rank, _, place in found]
