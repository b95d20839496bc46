"""What decides an installation, and what binds it to one source."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.caches.downloads import worth
from worker.caches.keys import FACTS, Decided, decide
from worker.detect.python import VENV

PACKAGE = {"name": "site", "dependencies": {"ms": "2.1.3"}}
FILES = {"package.json": json.dumps(PACKAGE), "package-lock.json": "{}", "src/a.js": "1"}


def decided(
    top: Path,
    files: Mapping[str, str],
    *,
    install: str = "npm ci",
    environment: Mapping[str, str] | None = None,
    node: str = "22.1.0",
) -> Decided:
    source = top / f"source-{len(list(top.iterdir()))}"
    for path, text in files.items():
        place = source / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return decide(
        source,
        install=install,
        install_at="",
        locks=(),
        environment=environment or {},
        versions={"node": node},
    )


def test_other_sources_with_the_same_lock_file_have_the_same_key(tmp_path: Path) -> None:
    one = decided(tmp_path, FILES, environment={"COMMIT_REF": "a", "PATH": "/x"})
    other = decided(tmp_path, {**FILES, "src/a.js": "2"}, environment={"COMMIT_REF": "b"})
    assert one.name() == other.name()
    assert (one.bound, one.locked, one.repeated) == ("", True, ())


@pytest.mark.parametrize("range_", ["~7.8.2", "^1.0.0", "npm:ms@2", "latest", ""])
def test_a_range_of_versions_binds_nothing(tmp_path: Path, range_: str) -> None:
    package = json.dumps({"dependencies": {"rxjs": range_}})
    assert decided(tmp_path, {**FILES, "package.json": package}).bound == ""


@pytest.mark.parametrize(
    "change",
    [
        {"package-lock.json": "{ }"},
        {".npmrc": "legacy-peer-deps=true"},
        {"packages/a/package.json": "{}"},
        {"patches/ms.patch": "x"},
        {"prisma/schema.prisma": "x"},
    ],
)
def test_each_file_that_decides_is_in_the_key(tmp_path: Path, change: dict[str, str]) -> None:
    assert decided(tmp_path, FILES).name() != decided(tmp_path, {**FILES, **change}).name()


def test_the_tools_the_environment_and_the_command_are_in_the_key(tmp_path: Path) -> None:
    names = {
        decided(tmp_path, FILES).name(),
        decided(tmp_path, FILES, node="22.1.1").name(),
        decided(tmp_path, FILES, environment={"NODE_ENV": "production"}).name(),
        decided(tmp_path, FILES, install="npm install").name(),
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("change", "install", "why"),
    [
        ({}, "make packages", "`make packages`"),
        ({}, "npm ci; cp a b", "`npm ci; cp a b`"),
        ({"node_modules/a/index.js": ""}, "npm ci", "node_modules/, which is in the repository"),
        ({".pnpmfile.cjs": ""}, "pnpm install", ".pnpmfile.cjs"),
        ({"requirements.txt": "-e .\n"}, "npm ci", "a local path in requirements.txt"),
        ({"requirements.txt": "-r a/b.txt\n"}, "npm ci", "a/b.txt, which requirements.txt names"),
        (
            {"package.json": json.dumps({"dependencies": {"a": "~/a"}})},
            "npm ci",
            "`~/a` in package.json",
        ),
        (
            {"package.json": json.dumps({"dependencies": {"a": "file:./a"}})},
            "npm ci",
            "`file:./a` in package.json",
        ),
        (
            {"package.json": json.dumps({"scripts": {"postinstall": "node make.js"}})},
            "npm ci",
            "the script `postinstall` of package.json",
        ),
    ],
)
def test_what_may_read_all_of_the_source_is_bound_to_it(
    tmp_path: Path, change: dict[str, str], install: str, why: str
) -> None:
    assert decided(tmp_path, {**FILES, **change}, install=install).bound == why


@pytest.mark.parametrize(
    "install",
    [
        f"{VENV} && uv pip install -r docs/requirements.txt",
        f"{VENV} && uv pip install mkdocs 'jupyter-book<2' 'pelican[markdown]'",
        f"{VENV.replace('uv venv', 'uv venv --seed')}",
    ],
)
def test_what_python_packages_are_installed_by_binds_nothing(tmp_path: Path, install: str) -> None:
    listed = {
        "docs/requirements.txt": "-r ../requirements/more.txt\nmkdocs\n",
        "requirements/more.txt": "-c constraints.txt\n",
        "requirements/constraints.txt": "mkdocs<2\n",
    }
    assert decided(tmp_path, {**FILES, **listed}, install=install).bound == ""


def test_a_repeatable_script_binds_nothing(tmp_path: Path) -> None:
    package = {"scripts": {"prepare": "husky || true", "postinstall": "patch-package"}}
    found = decided(tmp_path, {**FILES, "package.json": json.dumps(package)})
    assert (found.bound, found.repeated) == ("", (("", "postinstall"), ("", "prepare")))


def test_without_a_lock_file_nothing_is_fixed(tmp_path: Path) -> None:
    assert not decided(tmp_path, {"package.json": "{}"}, install="npm install").locked


@pytest.mark.parametrize(
    "change",
    [
        {"package.json": json.dumps({"scripts": {"postinstall": "node make.js"}})},
        {"package.json": json.dumps({"scripts": {"prepare": "nuxt prepare"}})},
        {".yarn/releases/yarn-4.9.1.cjs": "x"},
    ],
)
def test_where_code_of_the_commit_was_executed_only_verified_downloads_are_kept(
    tmp_path: Path, change: dict[str, str]
) -> None:
    assert worth(decided(tmp_path, {**FILES, **change})) == FACTS["verified"]
    assert set(worth(decided(tmp_path, FILES))) == {*FACTS["verified"], *FACTS["believed"]}
