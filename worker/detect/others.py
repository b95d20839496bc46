"""Hugo's version, and Jekyll's gems."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from worker.detect.node import asdf
from worker.detect.source import Place, Source
from worker.tool import Tool

JEKYLL: Final = 'jekyll build --baseurl ""'
_DEBIANS: Final = frozenset(
    ("jekyll", "minima", "kramdown", "kramdown-parser-gfm", "rouge", "webrick", "wdm", "tzinfo",
     "tzinfo-data", "http_parser.rb", "github-pages", "base64", "csv", "logger", "bigdecimal",
     "jekyll-feed", "jekyll-seo-tag", "jekyll-sitemap", "jekyll-paginate", "jekyll-redirect-from",
     "jekyll-gist", "jekyll-archives", "jekyll-include-cache", "jekyll-remote-theme",
     "jekyll-relative-links", "jekyll-optional-front-matter", "jekyll-readme-index",
     "jekyll-titles-from-headings", "jekyll-default-layout", "jekyll-coffeescript", "jekyll-data",
     "jekyll-avatar", "jekyll-mentions", "jekyll-github-metadata", "jekyll-last-modified-at",
     "jekyll-sass-converter", "jekyll-toc", "jemoji", "jekyll-commonmark", "jekyll-asciidoc",
     "jekyll-multiple-languages", "rake", "mercenary", "liquid", "faraday-retry")
)  # fmt: skip
"""The gems that Debian packages, and those that its Jekyll does without."""


def hugo(source: Source, place: Place, environment: Mapping[str, str]) -> tuple[Tool, list[str]]:
    """Hugo in the version that is asked for, and what to know of it."""
    wanted, why = environment.get("HUGO_VERSION", "").strip()[:100], "HUGO_VERSION"
    notes: list[str] = []
    for each in () if wanted else dict.fromkeys((place.path, "")):
        at = source.at(each)
        said = at.text(".hugo-version").strip().split("\n")[0].strip()[:100]
        wanted, why = said, at.within(".hugo-version")
        if not wanted:
            wanted, why = asdf(at, "hugo", "gohugo"), at.within(".tool-versions")
        if wanted:
            break
    if not wanted:
        for name, text in source.at(".github/workflows").texts(""):
            used = re.search(r"(?im)^\s*-?\s*hugo[-_]version:\s*['\"]?v?(\d+\.\d+(?:\.\d+)?)", text)
            if used:
                wanted, why = used[1], f".github/workflows/{name}"
                break
    if not wanted:
        pattern = r"(?is)hugoVersion\b.{0,200}?\bmin[\"']?\s*[=:]\s*[\"']?(\d+\.\d+(?:\.\d+)?)"
        both = (place, source.below(place, "config/_default"))
        texts = "\n".join(body for each in both for _, body in each.texts(""))
        least = re.search(pattern, texts)
        if least:
            wanted, why = f">={least[1]}", "hugoVersion of its configuration"
    wanted = re.sub(r"(?i)^v|[_/+-]?extended[_-]?", "", wanted)
    if place.has("go.mod"):
        notes.append("go.mod names Hugo modules: these need Go and git, which are not provided; "
                     "have them in `_vendor` (hugo mod vendor)" if not place.holds("_vendor") else
                     "the modules of go.mod are in _vendor")  # fmt: skip
    return Tool(name="hugo", version=wanted, why=why if wanted else ""), notes


def gems(place: Place) -> tuple[str, list[str]]:
    """The installation and, where a Gemfile asks for more than Debian has, how it goes without."""
    text = place.text("Gemfile")
    if not text:
        return "", []
    asked = re.findall(r"(?m)^\s*gem\s*\(?['\"]([\w.-]+)['\"]", text)
    more = [each for each in asked if each not in _DEBIANS]
    if not more and "gemspec" not in text:
        return "", ["Gemfile asks for nothing that Debian's Jekyll has not: it builds without"]
    names = ", ".join(more) or "a gemspec"
    note = f"Gemfile asks for {names}: where these gems are not to be had, Debian's Jekyll builds"
    return (
        "bundle config set --local path vendor/bundle && bundle install || "
        "echo 'These gems are not to be had: Jekyll builds without the Gemfile'"
    ), [note]


def jekyll(installs: str) -> str:
    """Jekyll's command: by Bundler where that has its gems, else without the Gemfile."""
    # _config.yml may name plugins; Debian's take part by JEKYLL_NO_BUNDLER_REQUIRE.
    own = f"JEKYLL_NO_BUNDLER_REQUIRE=true {JEKYLL}"
    if not installs:
        return own
    return f"if bundle check >/dev/null 2>&1; then bundle exec {JEKYLL}; else {own}; fi"
