"""Which tools a plan asks for: the package manager, the lock file's say, versions."""

from __future__ import annotations

import json

import pytest

from tests.detecting import a_package, plan
from worker.tool import Tool

PNPM = (
    "lockfileVersion: '{}'\nimporters:\n  .:\n    devDependencies:\n"
    "      vite:\n        specifier: '*'\n"
)
NPM = json.dumps({"lockfileVersion": 3, "packages": {"": {"devDependencies": {"vite": "*"}},
                                                     "node_modules/vite": {}}})  # fmt: skip


def built(files: dict[str, str], toml: str = "", **rest: object) -> tuple[str, list[Tool]]:
    package = a_package("vite", scripts={"build": "vite build"}, **rest)
    found = plan({"package.json": package, "index.html": "", **files}, toml)
    return found.install, [tool for tool in found.tools if tool.name != "node"]


@pytest.mark.parametrize(
    ("lock", "tool", "install"),
    [
        ({"package-lock.json": NPM}, None, "npm ci"),
        ({"package-lock.json": '{"packages": {"": {}}}'}, None, "npm install"),
        ({}, None, "npm install"),
        ({"pnpm-lock.yaml": PNPM.format("9.0")}, ("pnpm", "10"), "pnpm install --frozen-lockfile"),
        ({"pnpm-lock.yaml": PNPM.format("6.0")}, ("pnpm", "8"), "pnpm install --frozen-lockfile"),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'\nimporters:\n  .: {}\n"}, ("pnpm", "10"),
         "pnpm install --no-frozen-lockfile"),
        ({"yarn.lock": "# yarn lockfile v1\n\nvite@*:\n"}, ("yarn", ""),
         "yarn install --frozen-lockfile"),
        ({"yarn.lock": '__metadata:\n  version: 8\n"vite@npm:*":\n'}, ("yarn", "4"),
         "yarn install --immutable"),
        ({"bun.lock": '{"vite": "*"}'}, ("bun", ""), "bun install --frozen-lockfile"),
        ({"bun.lockb": ""}, ("bun", ""), "bun install --frozen-lockfile"),
        ({"bun.lockb": "", "yarn.lock": "# yarn lockfile v1\nvite@*:\n"}, ("bun", ""),
         "bun install --frozen-lockfile"),
        ({"yarn.lock": "", "package-lock.json": NPM}, None, "npm ci"),
    ],
)  # fmt: skip
def test_the_lock_file_names_the_package_manager(
    lock: dict[str, str], tool: tuple[str, str] | None, install: str
) -> None:
    found, tools = built(lock)
    assert found == install
    assert [(each.name, each.version) for each in tools] == ([tool] if tool else [])


def test_the_field_packagemanager_wins_over_the_lock_file_and_the_rule_is_said() -> None:
    package = a_package("astro", packageManager="yarn@4.1.0+sha224.abc")
    found = plan({"package.json": package, "package-lock.json": NPM, "pnpm-lock.yaml": ""})
    assert found.install == "yarn install --no-immutable"
    assert Tool(name="yarn", version="4.1.0", why="packageManager") in found.tools
    assert "pnpm-lock.yaml and package-lock.json are there: yarn, by packageManager" in found.notes


def test_a_workspace_is_installed_at_its_top() -> None:
    found = plan(
        {
            "package.json": a_package(workspaces=["a"], scripts={}),
            "package-lock.json": '{"packages": {"": {}}}',
            "a/package.json": a_package("astro"),
        },
        '[build]\nroot = "a"',
    )
    assert (found.install, found.install_at, found.root) == ("npm ci", "", "a")
    assert set(found.locks) == {"package-lock.json", "package.json", "a/package.json"}


def test_nothing_is_installed_where_nothing_is_asked_for() -> None:
    assert plan({"package.json": a_package()}).install == ""


@pytest.mark.parametrize(
    ("files", "toml", "rest", "version", "why"),
    [
        ({".nvmrc": "v20.1.0\n", ".node-version": "18"}, '[build]\nnode = "22"', {}, "22",
         "pushlane.toml"),
        ({".nvmrc": "20"}, '[build.environment]\nNODE_VERSION = "22"', {}, "22", "NODE_VERSION"),
        ({".nvmrc": "# ours\nv20.1.0\n", ".node-version": "19"}, "", {}, "v20.1.0", ".nvmrc"),
        ({".node-version": "18\n"}, "", {}, "18", ".node-version"),
        ({".tool-versions": "ruby 3\nnodejs 22.1.0\n"}, "", {}, "22.1.0", ".tool-versions"),
        ({}, "", {"volta": {"node": "20.3.0"}}, "20.3.0", "volta"),
        ({}, "", {"engines": {"node": ">=20"}}, ">=20", "engines"),
        ({}, "", {"engines": {"node": "12.x"}}, "12.x", "engines"),
        ({}, "", {"engines": {"node": "8.x"}}, "12", "engines"),
        ({".nvmrc": "lts/fermium"}, "", {}, "lts/fermium", ".nvmrc"),
        ({".nvmrc": "99"}, "", {}, "26", ".nvmrc"),
        ({".nvmrc": "what?"}, "", {}, "", ""),
        ({}, "", {}, "", ""),
    ],
)  # fmt: skip
def test_node_is_what_the_nearest_file_says_or_the_nearest_that_is_to_be_had(
    files: dict[str, str], toml: str, rest: dict[str, object], version: str, why: str
) -> None:
    found = plan({"package.json": a_package("astro", **rest), **files}, toml)
    assert found.tools[0] == Tool(name="node", version=version, why=why)


def test_a_framework_of_an_older_time_gets_the_node_and_openssl_of_that_time() -> None:
    package = {"scripts": {"build": "react-scripts build"},
               "dependencies": {"react-scripts": "^3.4.0"}}  # fmt: skip
    found = plan({"package.json": json.dumps(package)})
    assert found.tools[0].version == "18"
    assert found.environment["NODE_OPTIONS"] == "--openssl-legacy-provider"


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({".hugo-version": "0.120.4"}, "0.120.4"),
        ({".tool-versions": "hugo extended_0.121.0"}, "0.121.0"),
        ({".github/workflows/pages.yml": "env:\n  HUGO_VERSION: 0.128.0\n"}, "0.128.0"),
        ({"hugo.toml": '[module.hugoVersion]\nextended = true\nmin = "0.110.0"'}, ">=0.110.0"),
    ],
)
def test_hugos_version_is_read_where_people_write_it(files: dict[str, str], version: str) -> None:
    assert plan({"hugo.toml": "", **files}).tools[-1].version == version


@pytest.mark.parametrize(
    ("files", "install", "python"),
    [
        ({"docs/requirements.txt": "sphinx\nfuro\n", "runtime.txt": "python-3.12.1"},
         "uv pip install -r docs/requirements.txt", "3.12.1"),
        ({}, "uv pip install sphinx furo myst-parser", ""),
        ({".python-version": "3.11\n", "pyproject.toml":
          '[project]\nname = "x"\n[dependency-groups]\ndocs = ["sphinx", "furo", "myst-parser"]',
          "uv.lock": ""}, "uv sync --active --frozen --group docs", "3.11"),
        ({"pyproject.toml": '[tool.poetry.group.docs.dependencies]\nfuro = "*"\nmyst-parser = "*"',
          "poetry.lock": ""}, "poetry install --no-interaction --with docs", ""),
        ({".readthedocs.yaml": "build:\n  tools:\n    python: '3.12'\npython:\n  install:\n"
          "    - requirements: r.txt\n    - method: pip\n      path: .\n", "r.txt": "sphinx furo"},
         "uv pip install -r r.txt && uv pip install .", "3.12"),
    ],
)  # fmt: skip
def test_a_python_site_installs_what_its_files_ask_for(
    files: dict[str, str], install: str, python: str
) -> None:
    conf = "html_theme = 'furo'\nextensions = [\n  'myst_parser',\n  'sphinx.ext.autodoc',\n]\n"
    found = plan({"docs/conf.py": conf, **files})
    assert install in found.install
    assert found.command == "sphinx-build -b html docs _site"
    assert [(tool.name, tool.version) for tool in found.tools[:2]] == [
        ("python", python),
        ("uv", ""),
    ]


def test_the_theme_and_the_plugins_of_mkdocs_are_installed_where_no_file_asks_for_them() -> None:
    found = plan(
        {"mkdocs.yml": "theme:\n  name: material\nplugins:\n  - search\n  - awesome-pages\n"}
    )
    assert "uv pip install mkdocs mkdocs-material mkdocs-awesome-pages-plugin" in found.install


def test_the_repositorys_own_requirements_and_gems_decide_jekylls_way() -> None:
    assert plan({"_config.yml": "", "Gemfile": "gem 'jekyll'"}).install == ""
    assert "bundle install" in plan({"_config.yml": "", "Gemfile": "gem 'just-the-docs'"}).install


def test_yarn_1_takes_a_packages_word_on_node_for_advice_as_the_others_do() -> None:
    package = '{"dependencies": {"vite": "8"}, "scripts": {"build": "vite build"}}'
    classic = plan({"package.json": package, "yarn.lock": "# yarn lockfile v1\n"})
    assert classic.environment["YARN_IGNORE_ENGINES"] == "true"
    berry = plan({"package.json": package, "yarn.lock": "__metadata:\n  version: 8\n"})
    assert "YARN_IGNORE_ENGINES" not in berry.environment
