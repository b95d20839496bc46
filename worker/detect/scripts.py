"""The framework that a package.json names, and the script that builds it."""

from __future__ import annotations

import re
from typing import Final

from worker.detect.facts import FACTS, SCRIPT, Fact
from worker.detect.files import hugo_config
from worker.detect.marks import Mark, Sure
from worker.detect.package import Package
from worker.detect.source import Place, Source

_DOCS: Final = re.compile(
    r"(?i)(docs?|documentation|site|website|www|pages|gh-pages|demo|examples?|playground|web|static)"
)
_BUILDS: Final = re.compile(
    r"(?i)^(build|(build|make|generate|export)[:._-]?(docs?|documentation|site|website|www|pages|gh-pages"
    r"|demo|examples?|prod|production|web|static|all)|(docs?|documentation|site|website|demo|web|prod"
    r"|gh-pages|pages)[:._-](build|generate|prod)|docs?|generate|export|prod|production|dist|compile)$"
)
_SERVES: Final = re.compile(r"(?<![\w.-])(?:--)?(dev|serve|start|watch|preview)(?![\w.-])")
_MAKES: Final = re.compile(r"build|generate|export|compile")
_EVERYWHERE: Final = re.compile(
    r"\b(turbo|lerna|nx|pnpm (-r|-F|--filter|recursive)|workspaces?)\b|--filter"
)
_LIBRARY: Final = re.compile(
    r"(?:^|[\s;&|(])(tsc|tsup|tsdown|unbuild|microbundle|rollup|bili|father|babel|vue-tsc|swc|"
    r"pkgroll|bunchee|esbuild|ng-packagr|svelte-package|ncc|nx|turbo|lerna)(?=$|[\s;&|)])"
)


def by_package(source: Source, place: Place) -> Mark | None:
    """The framework of a place by its package.json; None where there is none."""
    package = place.package
    if package is None:
        return None
    marked = [fact for fact in FACTS if fact.language in ("node", "hugo", "ruby")
              and _is_marked(fact, place, package)]  # fmt: skip
    scripts = [name for name in package.table("scripts") if _BUILDS.match(name)]
    scripts.sort(key=lambda name: (name != "build", not _DOCS.search(name)))
    spelled = {name: package.spelled(name) for name in scripts}
    found: list[Mark] = []
    for rank, fact in enumerate(marked):
        found += _spoken(source, place, fact, spelled)
        if rank > 30:
            break
    sites = [each for each in found if each.sure == Sure.SITE]
    if sites:
        # `build` before `docs:build`, unless it builds no site; then the table's order.
        return min(sites, key=lambda each: scripts.index(each.script) if each.script else 99)
    depended = _by_dependency(place, package, marked)
    if depended:
        return depended
    build = spelled.get("build", "")
    if build:
        found.append(_script(place, package, build))
    elif not found:
        for fact in marked:
            if fact.name in ("Vite", "Rsbuild") and _is_app(source, place, fact):
                return _own(place, fact, package, "")
    return max((*found, *_beside(place, package, marked, scripts)),
               key=lambda each: each.sure, default=None)  # fmt: skip


def _by_dependency(place: Place, package: Package, marked: list[Fact]) -> Mark | None:
    """A framework that no script calls by name."""
    many = bool(package.patterns) or place.has("pnpm-workspace.yaml", "lerna.json")
    for fact in marked:
        if many and not _is_configured(fact, place):
            # What a workspace's top depends on is its members'.
            continue
        if fact.kind == "site" and not fact.last and fact.language == "node":
            own = next((name for name in fact.scripts if package.script(name)), "")
            if not own or not _LIBRARY.search(package.spelled(own)):
                return _own(place, fact, package, own)
    return None


def _beside(place: Place, package: Package, marked: list[Fact], scripts: list[str]) -> list[Mark]:
    """What a library shows itself by: its Storybook, or a script for its documents."""
    found = [
        (fact, own)
        for fact in marked
        if fact.last and (own := next((name for name in fact.scripts if package.script(name)), ""))
    ]
    other = next((name for name in scripts if name != "build" and _DOCS.search(name)), "")
    if other:
        found.append((SCRIPT, other))
    return [
        Mark(fact=fact, place=place, sure=Sure.BESIDE, script=name,
             why=f"the script {name} of package.json")
        for fact, name in found
    ]  # fmt: skip


def _is_marked(fact: Fact, place: Place, package: Package) -> bool:
    if fact.name == "Bun":
        return any(fact.spoken and fact.spoken.search(package.script(name))
                   for name in package.table("scripts"))  # fmt: skip
    if any(name in package.asked for name in fact.packages):
        return True
    if fact.name == "Elm":
        return False
    if fact.language == "hugo":
        return hugo_config(place) != ""
    if fact.language == "ruby":
        return place.has("_config.yml", "_config.yaml")
    return _is_configured(fact, place)


def _is_configured(fact: Fact, place: Place) -> bool:
    return any(name.startswith(begun) for begun in fact.config for name in place.names)


def _spoken(source: Source, place: Place, fact: Fact, spelled: dict[str, str]) -> list[Mark]:
    """The scripts that call a framework; a bundler's only where it is given a page."""
    found: list[Mark] = []
    for name in sorted(spelled, key=lambda each: each not in fact.scripts):
        text = spelled[name]
        if not (fact.spoken and fact.spoken.search(text)):
            continue
        if _SERVES.search(text) and not _MAKES.search(text):
            continue
        if fact.last:
            sure = Sure.BESIDE
        elif (
            fact.kind == "site"
            and place.package
            and place.package.is_library
            and (not _is_configured(fact, place))
        ):
            sure = Sure.LIBRARY
        elif fact.kind == "site" or _is_app(source, place, fact):
            sure = Sure.SITE
        elif fact.name == "Vite" and "index.html" not in place.names:
            sure = Sure.LIBRARY
        else:
            sure = Sure.LIBRARY if place.package and place.package.is_library else Sure.SCRIPT
        # Nuxt's own `build` makes a server, and its `generate` pages.
        own = "build" in fact.scripts or name in fact.scripts or "generate" in text
        found.append(Mark(fact=fact, place=place, sure=sure, script=name if own else "",
                          why=f"the script {name} of package.json"))  # fmt: skip
    return found


def _is_app(source: Source, place: Place, fact: Fact) -> bool:
    """Whether a bundler is given a page, rather than a library's entry."""
    configured = "".join(body for begun in fact.config for _, body in place.texts(begun))
    if re.search(r"\blib\s*:\s*\{", configured) and not place.has("index.html"):
        return False
    if re.search(r"\broot\s*:|rollupOptions|HtmlWebpackPlugin|html-webpack-plugin", configured):
        return True
    # Gulp bundles nothing to be imported: a page beside it is what it makes.
    library = place.package is not None and place.package.is_library and fact.name != "Gulp"
    if place.has("index.html"):
        # Vite's libraries keep an index.html to be tried by; they are built all the same.
        return not (library and re.search(r"\blib\s*:", configured))
    return (not library and any(
        source.below(place, at).has("index.html", "index.ejs", "index.pug", "template.html")
        for at in fact.pages
    )) or (fact.name == "Vite" and not library and "index.html" not in place.names
          and bool({"vite-ssg", "vike", "vite-plugin-ssr", "laravel-vite-plugin"}
                   & set(place.package.asked if place.package else ())))  # fmt: skip


def _own(place: Place, fact: Fact, package: Package, script: str) -> Mark:
    dependency = next((name for name in fact.packages if name in package.asked), "")
    configured = _is_configured(fact, place)
    why = f"package.json, which depends on {dependency}" if dependency else "its configuration"
    # A theme or a plugin depends on its framework too, and has nothing to build by itself.
    meant = bool(script or configured or not package.is_library) and (script or fact.command)
    return Mark(fact=fact, place=place, sure=Sure.SITE if meant else Sure.LIBRARY,
                why=why, script=script)  # fmt: skip


def _script(place: Place, package: Package, text: str) -> Mark:
    many = bool(package.patterns) or place.has("pnpm-workspace.yaml", "lerna.json", "nx.json")
    if many and _EVERYWHERE.search(text):
        sure = Sure.PERHAPS
    elif package.is_library or _LIBRARY.search(text) or many:
        sure = Sure.LIBRARY if not many else Sure.PERHAPS
    else:
        sure = Sure.SCRIPT
    return Mark(fact=SCRIPT, place=place, sure=sure, script="build",
                why="the build script of package.json")  # fmt: skip
