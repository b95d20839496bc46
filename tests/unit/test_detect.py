"""What a source is found to be, decided from its names and a few small files."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.errors import BuildFailed
from tests.detecting import a_package, plan
from worker.detect.facts import FACTS, PLAIN


@pytest.mark.parametrize(
    ("script", "packages", "name", "output"),
    [
        ("vite build", ("vite",), "Vite", "dist"),
        ("astro build", ("astro", "vite"), "Astro", "dist"),
        ("eleventy", ("@11ty/eleventy",), "Eleventy", "_site"),
        ("react-scripts build", ("react-scripts",), "Create React App", "build"),
        ("next build && next export", ("next", "react"), "Next.js", "out"),
        ("vite build", ("@sveltejs/kit", "vite"), "SvelteKit", "build"),
        ("gatsby build", ("gatsby",), "Gatsby", "public"),
        ("docusaurus build", ("@docusaurus/core",), "Docusaurus", "build"),
        ("vitepress build docs", ("vitepress", "vite"), "VitePress", "docs/.vitepress/dist"),
        ("ng build", ("@angular/cli",), "Angular", "dist/*/browser"),
        ("parcel build index.html", ("parcel",), "Parcel", "dist"),
        ("webpack", ("webpack",), "webpack", "dist"),
        ("node build.js", (), "npm script", "dist"),
        ("node build.js", ("astro",), "Astro", "dist"),
        ("npm run a && npm run b", ("hexo",), "Hexo", "public"),
    ],
)
def test_the_script_and_what_it_depends_on_name_the_framework(
    script: str, packages: tuple[str, ...], name: str, output: str
) -> None:
    files = {
        "package.json": a_package(*packages, scripts={"build": script}),
        "index.html": "",
        "svelte.config.js": "adapter-static",
    }
    found = plan(files)
    assert (found.framework, found.outputs[0], found.command) == (name, output, "npm run build")
    assert found.reason.startswith(f"{name}, by ")


def test_the_table_knows_at_least_forty_frameworks_each_once() -> None:
    names = [fact.name for fact in FACTS]
    assert len(names) == len(set(names)) >= 40


@pytest.mark.parametrize(
    "fact",
    [each for each in FACTS if each.packages and each.language == "node"],
    ids=lambda fact: fact.name,
)
def test_every_framework_of_npms_is_met_by_its_own_script(fact: Any) -> None:
    script = fact.scripts[0]
    text = f"{fact.bins[0]} build" if fact.bins else "x"
    files = {"package.json": a_package(fact.packages[0], scripts={script: text})}
    if not fact.last:
        files["index.html"] = ""
    files |= {f"{rule.file}js": "'export' adapter-static ssr: false" for rule in fact.server}
    assert plan(files).framework == fact.name


def test_a_framework_without_a_script_is_built_by_its_own_command() -> None:
    files = {"package.json": a_package("astro", scripts={}), "pnpm-lock.yaml": ""}
    assert plan(files).command == "pnpm exec astro build"


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"mkdocs.yml": "", "package.json": a_package("prettier", scripts={})}, "MkDocs"),
        ({"hugo.toml": "", "package.json": a_package("postcss", scripts={})}, "Hugo"),
        ({"config.toml": 'baseURL = "/"', "content/a.md": "", "layouts/x": ""}, "Hugo"),
        ({"config/_default/hugo.toml": "", "content/a.md": ""}, "Hugo"),
        ({"config.toml": 'base_url = "/"', "content/_index.md": ""}, "Zola"),
        ({"book.toml": "[book]\n"}, "mdBook"),
        ({"docs/conf.py": "extensions = []\n", "Gemfile": "gem 'rake'", "Rakefile": ""}, "Sphinx"),
        ({"_config.yml": "", "Dockerfile": "", "Rakefile": ""}, "Jekyll"),
        ({"README.md": "# Hi", "index.md": "# Hi"}, "Jekyll"),
        ({"README.md": "# Hi"}, "Jekyll"),
        ({"_posts/2020-01-01-a.md": "", "index.html": "---\n---\n"}, "Jekyll"),
        ({"pelicanconf.py": "", "requirements.txt": "pelican"}, "Pelican"),
        ({"zensical.toml": ""}, "Zensical"),
        ({"index.html": "", ".nojekyll": "", "_config.yml": ""}, PLAIN.name),
        ({"index.html": "", "vendor/package.json": a_package("next")}, PLAIN.name),
        ({"index.html": "", "package.json": a_package("vite", scripts={"test": "vitest"})}, "Vite"),
        ({"index.html": "", "package.json": a_package("eslint", scripts={"lint": "eslint ."})},
         PLAIN.name),
        ({"elm.json": '{"type": "application"}', "src/Main.elm": ""}, "Elm"),
    ],
)  # fmt: skip
def test_several_marks_at_once_are_ranked(files: dict[str, str], name: str) -> None:
    assert plan(files).framework == name


@pytest.mark.parametrize(
    ("files", "root", "name"),
    [
        ({"README.md": "", "website/package.json": a_package("@docusaurus/core")},
         "website", "Docusaurus"),
        ({"package.json": a_package("tsup", scripts={"build": "tsup"}, exports="./x"),
          "docs/index.md": "", "docs/package.json": a_package("vitepress")}, "docs", "VitePress"),
        ({"package.json": a_package("tsup", "vitepress", exports="./x", scripts={
            "build": "tsup", "docs:build": "vitepress build docs"}),
          "docs/.vitepress/config.ts": ""}, "", "VitePress"),
        ({"package.json": a_package("turbo", scripts={"build": "turbo run build"},
                                    workspaces=["apps/*", "packages/*"]),
          "apps/web/package.json": a_package("astro"),
          "packages/ui/package.json": a_package("tsup")},
         "apps/web", "Astro"),
        ({"examples/a/package.json": a_package("astro"), "site/hugo.toml": ""}, "site", "Hugo"),
    ],
)  # fmt: skip
def test_a_site_is_looked_for_where_the_top_has_none(
    files: dict[str, str], root: str, name: str
) -> None:
    found = plan(files)
    assert (found.root, found.framework) == (root, name)
    assert ("since the top has no site" in found.reason) == bool(root)


@pytest.mark.parametrize(
    ("package", "config"),
    [
        ("next", {}),
        ("next", {"next.config.js": "module.exports = {}"}),
        ("@sveltejs/kit", {"svelte.config.js": "import a from '@sveltejs/adapter-node'"}),
        ("astro", {"astro.config.mjs": "export default { output: 'server' }"}),
        ("@react-router/dev", {"react-router.config.ts": "export default { ssr: true }"}),
    ],
)
def test_a_server_is_refused_with_what_to_change(package: str, config: dict[str, str]) -> None:
    with pytest.raises(BuildFailed) as caught:
        plan({"package.json": a_package(package), **config})
    assert caught.value.code == "server_framework"
    assert "static files" in str(caught.value)


@pytest.mark.parametrize(
    ("package", "config"),
    [
        ("next", {"next.config.ts": "export default { output: 'export' }"}),
        ("next", {"next.config.ts": "import shared from './shared'"}),
        ("@sveltejs/kit", {"svelte.config.js": "import a from '@sveltejs/adapter-static'"}),
        ("@react-router/dev", {"react-router.config.ts": "export default { ssr: false }"}),
    ],
)
def test_what_may_make_pages_is_built(package: str, config: dict[str, str]) -> None:
    assert plan({"package.json": a_package(package), **config}).command == "npm run build"


def test_nuxt_is_generated_whatever_its_build_script_does() -> None:
    package = a_package("nuxt", scripts={"build": "nuxt build"})
    assert plan({"package.json": package}).command == "npm exec --no -- nuxt generate"


def test_a_script_that_serves_builds_nothing() -> None:
    package = a_package(
        "vitepress", scripts={"docs": "vitepress dev", "docs:build": "vitepress build"}
    )
    assert plan({"package.json": package}).command == "npm run docs:build"


def test_the_output_that_a_configuration_names_comes_first() -> None:
    files = {
        "package.json": a_package("vite", scripts={"build": "vite build"}),
        "index.html": "",
        "vite.config.ts": "export default { build: { outDir: './public' } }",
    }
    assert plan(files).outputs[:2] == ("public", "dist")


def test_the_repositorys_own_file_wins() -> None:
    found = plan(
        {"package.json": a_package("vite"), "package-lock.json": "{}"},
        '[build]\ncommand = "make site"\ninstall = "npm ci --offline"\noutput = "o"',
    )
    assert (found.command, found.install, found.outputs, found.declared) == (
        "make site", "npm ci --offline", ("o",), True,
    )  # fmt: skip


def test_a_command_that_speaks_no_node_needs_none() -> None:
    found = plan({}, '[build]\ncommand = "make"')
    assert (found.tools, found.install, found.framework) == ((), "", "Command")


def test_an_empty_command_means_no_build() -> None:
    found = plan({"package.json": a_package("vite")}, '[build]\ncommand = ""')
    assert (found.framework, found.builds) == (PLAIN.name, False)


@pytest.mark.parametrize(
    ("pages", "output"),
    [(("",), ""), (("", "public/"), ""), (("docs/", "public/"), "public"), (("docs/",), "docs"),
     ((), "")],
)  # fmt: skip
def test_plain_html_is_published_from_where_the_index_is(
    pages: tuple[str, ...], output: str
) -> None:
    found = plan({"LICENSE": "", **{f"{each}index.html": "" for each in pages}})
    assert (found.framework, found.outputs, found.builds) == (PLAIN.name, (output,), False)


@pytest.mark.parametrize("body", ['{"scripts": 3}', '{"engines": {"node": 1}}'])
def test_an_odd_entry_of_a_package_json_is_ignored(body: str) -> None:
    assert plan({"package.json": body}).framework == PLAIN.name


@pytest.mark.parametrize("body", ["{", "[]", "null"])
def test_a_package_json_that_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        plan({"package.json": body})
    assert caught.value.code == "package_json_invalid"
