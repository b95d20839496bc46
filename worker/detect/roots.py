"""Which directory of a source is its site: the top, else the likeliest one below it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from worker.detect.facts import PLAIN
from worker.detect.files import by_file
from worker.detect.marks import Mark, Sure
from worker.detect.node import workspaces
from worker.detect.scripts import by_package
from worker.detect.serving import serves
from worker.detect.source import Place, Source

_PREFERRED: Final = (
    "website", "site", "www", "web", "webapp", "docs", "doc", "documentation", "docs-site",
    "docs_src", "app", "client", "frontend", "front-end", "ui", "landing", "blog", "homepage",
    "portfolio", "src", "hugo", "jekyll", "gh-pages", "pages", "storybook", "playground", "demo",
    "starter", "template", "example", "examples", "exampleSite",
)  # fmt: skip
_GROUPS: Final = (
    "apps", "sites", "packages", "projects", "workspaces", "services", "modules", "libs",
    "examples", "templates", "starters", "demos",
)  # fmt: skip
_PASSED_BY: Final = (
    "test", "tests", "__tests__", "fixtures", "e2e", "e2e-tests", "benchmark", "benchmarks",
    "node_modules", "scripts", "tools", "integration",
)  # fmt: skip
PLACES: Final = (
    "", "public", "dist", "_site", "site", "build", "out", "www", "docs", "src", "html",
)  # fmt: skip
"""Where a site lies that needs no build: the first that has an index.html."""


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
        if (
            found.sure > (best.sure if best else own.sure)
            and found.sure >= Sure.PAGES
            and not (found.fact is PLAIN and (own.sure >= Sure.PAGES or found.at))
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


def mark(source: Source, place: Place) -> Mark:
    """The best mark of one directory."""
    packed, filed = by_package(source, place), by_file(source, place)
    if (
        packed
        and filed
        and filed.sure == Sure.SITE
        and packed.fact.kind == "bundler"
        and (filed.fact.language != "python")
    ):
        # Beside Hugo or Jekyll a bundler makes styles and scripts; beside documents, an app.
        packed = None
    found = [each for each in (packed, filed) if each]
    pages = pages_of(source, place)
    plain = Mark(
        fact=PLAIN,
        place=place,
        sure=Sure.NOTHING if pages is None else Sure.PAGES,
        why="nothing here asks for a build",
        at=pages or "",
    )
    if place.has(".nojekyll") and pages == "":
        return plain
    best = max(found, key=lambda each: each.sure, default=plain)
    if pages is not None and best.sure < Sure.PAGES and not (pages and best.sure == Sure.SCRIPT):
        # An index.html below is as often a build's own template.
        return plain if best.sure < Sure.SCRIPT or not best.script else best
    return best


def pages_of(source: Source, place: Place) -> str | None:
    """Where a place has an index.html that is there already; None where it has none."""
    for at in PLACES:
        if source.at(place.within(at) if at else place.path).has("index.html", "index.htm"):
            return at
    return None


def _below(source: Source) -> list[tuple[Place, bool]]:
    """The directories below the top, likeliest first, each with whether its name says a site."""
    found: list[tuple[tuple[int, ...], str, Place]] = []
    members = workspaces(source.top)
    package = source.top.package
    build = package.spelled("build") if package else ""
    for path, place in source.places.items():
        parts = path.split("/")
        if not path or any(part in _PASSED_BY or part.startswith(".") for part in parts):
            continue
        name = parts[-1]
        grouped = len(parts) == 2 and (parts[0] in _GROUPS or any(
            each.startswith(f"{parts[0]}/") for each in members))  # fmt: skip
        preferred = next(
            (rank for rank, each in enumerate(_PREFERRED) if each == name.lower()), None
        )
        likely = preferred if preferred is not None else 20 if parts[0] == "apps" else 30
        if len(parts) == 1 or grouped or (preferred is not None and len(parts) <= 3):
            sample = any(part.startswith(("example", "template", "demo", "starter", "playground"))
                         for part in parts)  # fmt: skip
            name = str(place.package.name) if place.package else path
            called = any(re.search(rf"(?<![\w@-])(?<!\w/){re.escape(each)}(?![\w-])", build)
                         for each in (path, name))  # fmt: skip
            found.append(((int(not called), int(sample), likely, len(parts)), path, place))
    found.sort(key=lambda each: each[:2])
    return [(place, rank[2] < 30) for rank, _, place in found]
