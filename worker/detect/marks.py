"""What a place is: the framework that its marks name, by which of them, and how sure that is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from worker.detect.facts import FACTS, PLAIN, SCRIPT, Fact, named
from worker.detect.package import Package
from worker.detect.source import Place, Source

SPHINX: Final = ("docs", "doc", "docs/source", "doc/source", "documentation", "docs/src", "", "source",
                 "Doc", "documentation/source", "docs/sphinx", "docs/en")  # fmt: skip
PLACES: Final = ("", "public", "dist", "_site", "site", "build", "out", "www", "docs", "src", "html")
"""Where a site lies that needs no build: the first that has an index.html."""
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
_LIBRARY: Final = re.compile(
    r"(?:^|[\s;&|(])(tsc|tsup|tsdown|unbuild|microbundle|rollup|bili|father|babel|vue-tsc|swc|"
    r"pkgroll|bunchee|esbuild|ng-packagr|svelte-package|ncc|nx|turbo|lerna)(?=$|[\s;&|)])"
)


class Sure(IntEnum):
    """How likely a place is to be the site that was meant."""

    NOTHING = 0
    LIBRARY = 1
    """It builds something to be imported."""
    PERHAPS = 2
    """A page might be made of it: a bare README, a script that builds a whole workspace."""
    BESIDE = 3
    """It makes pages about something else: a Storybook, an example."""
    SCRIPT = 4
    """A build script of its own that looks like a site's."""
    PAGES = 5
    """HTML that is there already."""
    SITE = 6
    """A framework that makes sites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The framework of a place."""

    fact: Fact
    place: Place
    sure: Sure
    why: str
    script: str = ""
    """The script of package.json that builds it; `""` for the framework's own command."""
    at: str = ""
    """What the command works on, relative to the place: Sphinx's directory, a plain site's."""


def mark(source: Source, place: Place) -> Mark:
    """The best mark of one directory."""
    packed, filed = _by_package(source, place), _by_file(source, place)
    if packed and filed and filed.sure == Sure.SITE and packed.fact.kind == "bundler" and (
        filed.fact.language != "python"
    ):
        # Beside Hugo or Jekyll a bundler makes styles and scripts; beside documents, an app.
        packed = None
    found = [each for each in (packed, filed) if each]
    pages = next((at for at in PLACES if at in _pages(source, place)), None)
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


def _pages(source: Source, place: Place) -> set[str]:
    return {at for at in PLACES if source.at(place.within(at) if at else place.path)
            .has("index.html", "index.htm")}  # fmt: skip


# ── package.json ────────────────────────────────────────────────────────────────────────────────


def _by_package(source: Source, place: Place) -> Mark | None:
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
    many = bool(package.patterns) or place.has("pnpm-workspace.yaml", "lerna.json")
    for fact in marked:
        if many and not _is_configured(fact, place):
            # What a workspace's top depends on is its members'.
            continue
        if fact.kind == "site" and not fact.last and fact.language == "node":
            own = next((name for name in fact.scripts if package.script(name)), "")
            if not own or not _LIBRARY.search(package.spelled(own)):
                return _own(place, fact, package, own)
    build = spelled.get("build", "")
    if build:
        found.append(_script(source, place, package, build))
    elif not found:
        for fact in marked:
            if fact.name in ("Vite", "Rsbuild") and fact.command and _is_app(source, place, fact):
                return _own(place, fact, package, "")
    for fact in marked:
        own = next((name for name in fact.scripts if package.script(name)), "")
        if fact.last and own:
            found.append(Mark(fact=fact, place=place, sure=Sure.BESIDE, script=own,
                              why=f"the script {own} of package.json"))  # fmt: skip
    other = next((name for name in scripts if name != "build" and _DOCS.search(name)), "")
    if other and not any(each.sure >= Sure.BESIDE for each in found):
        found.append(Mark(fact=SCRIPT, place=place, sure=Sure.BESIDE, script=other,
                          why=f"the script {other} of package.json"))  # fmt: skip
    return max(found, key=lambda each: each.sure, default=None)


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
    library = place.package is not None and place.package.is_library
    if place.has("index.html"):
        # Vite's libraries keep an index.html to be tried by; they are built all the same.
        return not (library and re.search(r"\blib\s*:", configured))
    return not library and any(
        source.below(place, at).has("index.html", "index.ejs", "index.pug", "template.html")
        for at in fact.pages
    ) or (fact.name == "Vite" and not library and "index.html" not in place.names
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


def _script(source: Source, place: Place, package: Package, text: str) -> Mark:
    many = bool(package.patterns) or place.has("pnpm-workspace.yaml", "lerna.json", "nx.json")
    if many and re.search(r"\b(turbo|lerna|nx|pnpm (-r|-F|--filter|recursive)|workspaces?)\b|--filter",
                          text):  # fmt: skip
        sure = Sure.PERHAPS
    elif package.is_library or _LIBRARY.search(text) or many:
        sure = Sure.LIBRARY if not many else Sure.PERHAPS
    else:
        sure = Sure.SCRIPT
    return Mark(fact=SCRIPT, place=place, sure=sure, script="build",
                why="the build script of package.json")  # fmt: skip


# ── Files of frameworks that are not npm's ───────────────────────────────────────────────────────


def _by_file(source: Source, place: Place) -> Mark | None:
    def marked(name: str, why: str, sure: Sure = Sure.SITE, at: str = "") -> Mark:
        return Mark(fact=named(name), place=place, sure=sure, why=why, at=at)

    if config := hugo_config(place) or _hugo_below(source, place):
        return marked("Hugo", config)
    if place.has("zensical.toml"):
        return marked("Zensical", "zensical.toml")
    if config := next((each for each in ("mkdocs.yml", "mkdocs.yaml") if place.has(each)), ""):
        return marked("MkDocs", config)
    if place.has("_toc.yml") and place.has("_config.yml"):
        return marked("Jupyter Book", "_toc.yml")
    if place.has("pelicanconf.py"):
        return marked("Pelican", "pelicanconf.py")
    for name in place.names:
        if name.endswith(".lektorproject"):
            return marked("Lektor", name)
    toml = place.text("config.toml")
    if re.search(r"(?m)^base_url\s*=", toml) and place.holds("content", "templates", "themes"):
        return marked("Zola", "config.toml")
    if place.has("book.toml") and re.search(r"(?m)^\[book\]", place.text("book.toml")):
        return marked("mdBook", "book.toml")
    jekyll = _jekyll(place)
    if jekyll and jekyll[1] == Sure.SITE:
        return marked("Jekyll", jekyll[0])
    for at in SPHINX:
        text = source.at(place.within(at) if at else place.path).text("conf.py")
        if re.search(r"(?m)^BLOG_TITLE\s*=", text) and not at:
            return marked("Nikola", "conf.py")
        if re.search(r"(?m)^\s*(extensions|html_theme|master_doc|root_doc|project)\s*[+:=]", text):
            return marked("Sphinx", f"{at}/conf.py".lstrip("/"), at=at)
    if place.has("elm.json") and re.search(r'"type"\s*:\s*"application"', place.text("elm.json")):
        return marked("Elm", "elm.json")
    return marked("Jekyll", *jekyll) if jekyll else None


def hugo_config(place: Place) -> str:
    """The name of Hugo's configuration; `""` where there is none."""
    for name in ("hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json"):
        if place.has(name):
            return name
    shaped = place.holds("archetypes", "themes") or (
        place.holds("content") and place.holds("layouts", "static", "assets", "data", "i18n")
    )
    for name in ("config.toml", "config.yaml", "config.yml", "config.json"):
        text = place.text(name)
        if re.search(r"(?m)^\s*[\"']?base_url[\"']?\s*=", text):
            return ""
        if text and (shaped or re.search(r"(?im)^\s*[\"']?(baseurl|languageCode|publishDir)[\"']?\s*[=:]",
                                         text) and place.holds("content", "layouts")):  # fmt: skip
            return name
    return ""


def _hugo_below(source: Source, place: Place) -> str:
    if not place.holds("config"):
        return ""
    for at in ("config/_default", "config", "config/production"):
        below = source.below(place, at)
        if at != "config" and below.has("hugo.toml", "hugo.yaml", "hugo.yml", "config.toml",
                                        "config.yaml", "config.yml", "hugo.json", "config.json"):  # fmt: skip
            return at
    return ""


def _jekyll(place: Place) -> tuple[str, Sure] | None:
    if place.has(".nojekyll"):
        return None
    config = next((each for each in ("_config.yml", "_config.yaml") if place.has(each)), "")
    gems = place.text("Gemfile")
    if place.has("_config.ts"):
        return None
    package = place.package
    if config and not (package and "hexo" in package.asked):
        return config, Sure.SITE
    if re.search(r"['\"](jekyll|github-pages)['\"]", gems):
        return "Gemfile", Sure.SITE
    if place.holds("_posts", "_layouts"):
        return "_posts" if place.holds("_posts") else "_layouts", Sure.SITE
    if place.has("index.md") and not package:
        return "index.md", Sure.SITE if not place.has("README.md") or not place.path \
            else Sure.PERHAPS  # fmt: skip
    if place.text("index.html").startswith("---\n") and not package:
        return "the front matter of index.html", Sure.SITE
    if place.has("README.md") and not package and not place.has("setup.py", "pyproject.toml",
                                                                "go.mod", "Cargo.toml"):  # fmt: skip
        return "README.md", Sure.PERHAPS
    return None
