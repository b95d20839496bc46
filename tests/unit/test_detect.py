"""How a source is built, decided from its names and a few small files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bot.core.errors import BuildFailed
from bot.core.sitefile import Sitefile, parse
from worker.detect import PLAIN, Manager, Plan, Source, detect
from worker.frameworks import FACTS


def a_source(
    files: Mapping[str, str], *, pages: frozenset[str] = frozenset(), above: Source | None = None
) -> Source:
    return Source(
        names=dict.fromkeys(files, False),
        contents={name: body.encode() for name, body in files.items()},
        pages=pages,
        above=above,
    )


def a_package(*packages: str, **rest: Any) -> str:
    return json.dumps(
        {"scripts": {"build": "x"}, "devDependencies": dict.fromkeys(packages, "*"), **rest}
    )


def plan(files: Mapping[str, str], toml: str = "") -> Plan:
    return detect(a_source(files), parse(toml.encode()))


@pytest.mark.parametrize(
    ("packages", "name", "output"),
    [
        (("vite",), "Vite", "dist"),
        (("astro", "vite"), "Astro", "dist"),
        (("@11ty/eleventy",), "Eleventy", "_site"),
        (("react-scripts",), "Create React App", "build"),
        (("next", "react"), "Next.js", "out"),
        (("nuxt", "vite"), "Nuxt", ".output/public"),
        (("@sveltejs/kit", "vite"), "SvelteKit", "build"),
        (("gatsby",), "Gatsby", "public"),
        (("@docusaurus/core",), "Docusaurus", "build"),
        (("vitepress", "vite"), "VitePress", "docs/.vitepress/dist"),
        (("@angular/cli",), "Angular", "dist/*/browser"),
        (("parcel",), "Parcel", "dist"),
        (("webpack",), "webpack", "dist"),
        ((), "npm script", "dist"),
    ],
)
def test_a_dependency_names_the_framework_and_its_output(
    packages: tuple[str, ...], name: str, output: str
) -> None:
    found = plan({"package.json": a_package(*packages)})
    assert (found.framework, found.outputs[0], found.command) == (name, output, "npm run build")


def test_every_fact_can_be_met() -> None:
    for fact in FACTS:
        scripts = {fact.scripts[0]: "x"}
        found = plan({"package.json": a_package(fact.packages[0], scripts=scripts)})
        assert found.framework == fact.name


def test_a_configuration_file_names_the_framework_where_no_dependency_does() -> None:
    found = plan({"package.json": a_package(), "eleventy.config.mjs": ""})
    assert found.framework == "Eleventy"


def test_a_framework_without_a_script_is_built_by_its_own_command() -> None:
    found = plan({"package.json": a_package("vite", scripts={}), "pnpm-lock.yaml": ""})
    assert found.command == "pnpm exec vite build"


@pytest.mark.parametrize(
    ("lock", "manager", "install"),
    [
        ({"package-lock.json": "{}"}, Manager(name="npm"), "npm ci"),
        ({}, Manager(name="npm"), "npm install"),
        (
            {"pnpm-lock.yaml": "lockfileVersion: '9.0'\n"},
            Manager(name="pnpm", version="10"),
            "pnpm install --frozen-lockfile",
        ),
        (
            {"pnpm-lock.yaml": "lockfileVersion: '6.0'\n"},
            Manager(name="pnpm", version="8"),
            "pnpm install --frozen-lockfile",
        ),
        (
            {"yarn.lock": "# yarn lockfile v1\n"},
            Manager(name="yarn"),
            "yarn install --frozen-lockfile",
        ),
        (
            {"yarn.lock": "__metadata:\n  version: 8\n"},
            Manager(name="yarn", version="4"),
            "yarn install --immutable",
        ),
    ],
)
def test_the_lock_file_names_the_package_manager(
    lock: dict[str, str], manager: Manager, install: str
) -> None:
    found = plan({"package.json": a_package("vite"), **lock})
    assert (found.manager, found.install) == (manager, install)
    assert found.command == f"{manager.name} run build"


def test_the_field_packagemanager_wins_over_the_lock_file() -> None:
    found = plan(
        {
            "package.json": a_package("vite", packageManager="yarn@4.1.0+sha224.abc"),
            "package-lock.json": "{}",
        }
    )
    assert found.manager == Manager(name="yarn", version="4.1.0")
    assert found.install == "yarn install --no-immutable"


def test_a_workspace_is_installed_where_its_lock_file_lies() -> None:
    top = a_source({"package.json": a_package(workspaces=["a"]), "package-lock.json": "{}"})
    found = detect(a_source({"package.json": a_package("vite")}, above=top), Sitefile())
    assert (found.install, found.install_above) == ("npm ci", True)


def test_nothing_is_installed_where_nothing_is_asked_for() -> None:
    assert plan({"package.json": a_package()}).install == ""


@pytest.mark.parametrize(
    ("files", "toml", "node"),
    [
        ({".nvmrc": "v20.1.0\n", ".node-version": "18"}, '[build]\nnode = "22"', "22"),
        ({".nvmrc": "# ours\nv20.1.0\n", ".node-version": "18"}, "", "v20.1.0"),
        ({".node-version": "18\n"}, "", "18"),
        ({}, "", ">=20"),
    ],
)
def test_node_is_what_the_nearest_file_says(files: dict[str, str], toml: str, node: str) -> None:
    found = plan({"package.json": a_package("vite", engines={"node": ">=20"}), **files}, toml)
    assert found.node == node


def test_the_repositorys_own_file_wins() -> None:
    found = plan(
        {"package.json": a_package("vite"), "package-lock.json": "{}"},
        '[build]\ncommand = "make site"\ninstall = "npm ci --offline"\noutput = "o"',
    )
    assert (found.command, found.install, found.outputs) == (
        "make site",
        "npm ci --offline",
        ("o",),
    )
    assert found.declared


def test_a_command_that_speaks_no_node_needs_none() -> None:
    found = plan({}, '[build]\ncommand = "make"')
    assert (found.node, found.install) == (None, "")


def test_an_empty_command_means_no_build() -> None:
    found = plan({"package.json": a_package("vite")}, '[build]\ncommand = ""')
    assert (found.framework, found.builds) == (PLAIN, False)


@pytest.mark.parametrize(
    ("pages", "output"),
    [({""}, ""), ({"", "public"}, ""), ({"docs", "public"}, "public"), ({"docs"}, "docs"),
     (set(), "")],
)  # fmt: skip
def test_plain_html_is_published_from_where_the_index_is(pages: set[str], output: str) -> None:
    found = detect(a_source({"README.md": ""}, pages=frozenset(pages)), Sitefile())
    assert (found.framework, found.outputs, found.builds) == (PLAIN, (output,), False)


def test_a_package_without_a_build_script_is_plain_html() -> None:
    found = plan({"package.json": json.dumps({"devDependencies": {"prettier": "*"}})})
    assert found.framework == PLAIN


@pytest.mark.parametrize("body", ['{"scripts": 3}', '{"engines": {"node": 1}}'])
def test_an_odd_entry_of_a_package_json_is_ignored(body: str) -> None:
    assert plan({"package.json": body}).framework == PLAIN


@pytest.mark.parametrize("body", ["{", "[]", "null"])
def test_a_package_json_that_is_no_object_is_refused(body: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        plan({"package.json": body})
    assert caught.value.code == "package_json_invalid"
