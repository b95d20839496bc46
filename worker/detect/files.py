"""The framework that a place's files mark, where it is none of npm's."""

from __future__ import annotations

import re
from typing import Final

from worker.detect import readthedocs
from worker.detect.facts import named
from worker.detect.marks import Mark, Sure
from worker.detect.source import Place, Source

SPHINX: Final = (
    "docs", "doc", "docs/source", "doc/source", "documentation", "docs/src", "", "source", "Doc",
    "documentation/source", "docs/sphinx", "docs/en",
)  # fmt: skip
"""Where Sphinx's conf.py lies."""
_CONFIGS: Final = (
    ("Zensical", "zensical.toml"),
    ("MkDocs", "mkdocs.yml"),
    ("MkDocs", "mkdocs.yaml"),
    ("Pelican", "pelicanconf.py"),
)


def by_file(source: Source, place: Place) -> Mark | None:
    """The framework of a place that a configuration file marks, else Jekyll's own signs."""
    jekyll = _jekyll(place)
    found = _configured(source, place)
    if found is None and jekyll and jekyll[1] == Sure.SITE:
        return _marked(place, "Jekyll", *jekyll)
    found = found or _sphinx(source, place)
    if found is None and re.search(r'"type"\s*:\s*"application"', place.text("elm.json")):
        found = _marked(place, "Elm", "elm.json")
    return found or (_marked(place, "Jekyll", *jekyll) if jekyll else None)


def _marked(place: Place, name: str, why: str, sure: Sure = Sure.SITE, at: str = "") -> Mark:
    return Mark(fact=named(name), place=place, sure=sure, why=why, at=at)


def _configured(source: Source, place: Place) -> Mark | None:
    if config := hugo_config(place) or _hugo_below(source, place):
        return _marked(place, "Hugo", config)
    kind, path = readthedocs.configuration(place)
    if kind == "Sphinx":
        return _marked(place, kind, path, at=path.rpartition("/")[0])
    if kind:
        # Its paths are relative to the configuration.
        above, _, name = path.rpartition("/")
        at = source.below(place, above) if above else place
        if at.has(name) or not at.names:
            return _marked(at, kind, path, at=name)
    for name, config in _CONFIGS:
        if place.has(config):
            return _marked(place, name, config)
    lektor = next((name for name in place.names if name.endswith(".lektorproject")), "")
    if lektor:
        return _marked(place, "Lektor", lektor)
    if place.has("_toc.yml") and place.has("_config.yml"):
        return _marked(place, "Jupyter Book", "_toc.yml")
    toml = place.text("config.toml")
    if re.search(r"(?m)^base_url\s*=", toml) and place.holds("content", "templates", "themes"):
        return _marked(place, "Zola", "config.toml")
    if re.search(r"(?m)^\[book\]", place.text("book.toml")):
        return _marked(place, "mdBook", "book.toml")
    return None


def _sphinx(source: Source, place: Place) -> Mark | None:
    for at in SPHINX:
        text = source.at(place.within(at) if at else place.path).text("conf.py")
        if re.search(r"(?m)^BLOG_TITLE\s*=", text) and not at:
            return _marked(place, "Nikola", "conf.py")
        if re.search(r"(?m)^\s*(extensions|html_theme|master_doc|root_doc|project)\s*[+:=]", text):
            return _marked(place, "Sphinx", f"{at}/conf.py".lstrip("/"), at=at)
    return None


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
        said = re.search(r"(?im)^[ \t]*[\"']?(baseurl|languageCode|publishDir)[\"']?\s*[=:]", text)
        if text and (shaped or (said and place.holds("content", "layouts"))):
            return name
    return ""


def _hugo_below(source: Source, place: Place) -> str:
    below = source.below(place, "config/_default")
    names = ("hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config.toml", "config.yaml",
             "config.yml", "config.json")  # fmt: skip
    return "config/_default" if below.has(*names) else ""


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
    other = package or place.has("setup.py", "pyproject.toml", "go.mod", "Cargo.toml")
    if place.has("README.md", "readme.md", "Readme.md") and not other:
        return "README.md", Sure.PERHAPS
    return None
