"""What others find in the same repositories: @vercel/frameworks and @netlify/build-info.

Where we differ, the table says why.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bot.core.sitefile import Sitefile
from tests.detecting import a_package
from worker import toolchain
from worker.detect import detect, look
from worker.tool import Tool

ORACLES = (
    "@netlify/build-info@11.3.0", "@vercel/frameworks@3.34.0", "@vercel/fs-detectors@7.7.3",
)  # fmt: skip
ASK = Path(__file__).parents[1] / "oracles.mjs"


def using(dependency: str, script: str, **files: str) -> dict[str, str]:
    package = a_package(dependency, scripts={"build": script})
    return {"package.json": package, "index.html": "", **files}


SITES: dict[str, tuple[dict[str, str], str, str, str]] = {
    # directory: files, ours, Vercel's, Netlify's
    "astro": (using("astro", "astro build"), "Astro", "astro", "astro"),
    "gatsby": (using("gatsby", "gatsby build"), "Gatsby", "gatsby", "gatsby"),
    "docusaurus": (using("@docusaurus/core", "docusaurus build"), "Docusaurus", "docusaurus-2",
                   "docusaurus"),
    "eleventy": (using("@11ty/eleventy", "eleventy"), "Eleventy", "eleventy", "eleventy"),
    "vite": (using("vite", "vite build"), "Vite", "vite", "vite"),
    "nuxt": (using("nuxt", "nuxt generate"), "Nuxt", "nuxtjs", "nuxt"),
    "angular": (using("@angular/cli", "ng build", **{"angular.json": "{}"}), "Angular", "angular",
                "angular"),
    "ember": (using("ember-cli", "ember build"), "Ember", "ember", "ember"),
    "cra": (using("react-scripts", "react-scripts build"), "Create React App", "create-react-app",
            "create-react-app"),
    "vue-cli": (using("@vue/cli-service", "vue-cli-service build"), "Vue CLI", "vue", "vue"),
    "gridsome": (using("gridsome", "gridsome build"), "Gridsome", "gridsome", "gridsome"),
    "hexo": (using("hexo", "hexo generate"), "Hexo", "hexo", "hexo"),
    "vuepress": (using("vuepress", "vuepress build"), "VuePress", "vuepress", "vuepress"),
    "parcel": (using("parcel", "parcel build index.html"), "Parcel", "parcel", "parcel"),
    "stencil": (using("@stencil/core", "stencil build"), "Stencil", "stencil", "stencil"),
    # Vercel's looks for config.toml only; Hugo itself has preferred hugo.toml since 0.110.
    "hugo": ({"hugo.toml": "baseURL = '/'\n", "content/a.md": ""}, "Hugo", "", "hugo"),
    "jekyll": ({"_config.yml": "title: x\n", "Gemfile": "gem 'jekyll'\n"}, "Jekyll", "jekyll",
               "jekyll"),
    "vitepress": (using("vitepress", "vitepress build"), "VitePress", "vitepress", "vitepress"),
    # Vercel's sees Python and expects a server, Netlify's nothing; documents are pages to us.
    "mkdocs": ({"mkdocs.yml": "site_name: x\n", "requirements.txt": "mkdocs\n"}, "MkDocs", "python",
               ""),
    "plain": ({"index.html": ""}, "Plain HTML", "", ""),
}  # fmt: skip


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the oracles are installed: kept for the next time."""
    kept = os.environ.get("XDG_CACHE_HOME", "")
    top = Path(kept or Path.home() / ".cache") / "pushlane-tests" / "oracles-11.3-3.34-7.7"
    top.mkdir(parents=True, exist_ok=True)
    return top


async def test_others_find_the_same_or_the_table_says_why(modules: Path, tmp_path: Path) -> None:
    async def quiet(line: str) -> None:
        del line

    wanted = [Tool(name="node")]
    cache = modules.parent / "tools"
    tools = await toolchain.provide(cache, wanted, environment=os.environ, log=quiet)
    path = os.pathsep.join([*map(str, tools.paths), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    if not (modules / "node_modules/@vercel/fs-detectors").is_dir():
        (modules / "package.json").write_text("{}")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *ORACLES]
        subprocess.run(command, cwd=modules, env=environment, check=True, capture_output=True)
    sources = tmp_path / "sources"
    for name, (files, *_) in SITES.items():
        for file, body in files.items():
            at = sources / name / file
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_text(body)
    said = subprocess.run(
        ["node", str(ASK), str(sources), str(modules)],
        env=environment, check=True, capture_output=True,
    ).stdout  # fmt: skip
    theirs: dict[str, Any] = json.loads(said)
    found = {
        name: (
            detect(look(sources / name), Sitefile()).framework,
            theirs[name]["vercel"],
            next(iter(theirs[name]["netlify"]), ""),
        )
        for name in SITES
    }
    assert found == {name: tuple(row[1:]) for name, row in SITES.items()}
