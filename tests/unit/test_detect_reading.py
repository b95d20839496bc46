"""Reading a source: bounded, hostile or not; and finding what a build has made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.errors import BuildFailed
from worker import made
from worker.detect import Plan, look

PLAN = Plan(framework="Vite", reason="", command="x", outputs=("dist", "build"))


def lay(top: Path, files: Mapping[str, str]) -> None:
    for name, body in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)


def test_the_upper_directories_are_read_and_what_is_installed_is_not(tmp_path: Path) -> None:
    lay(tmp_path, {"package.json": "{}", "docs/conf.py": "x", "node_modules/a/package.json": "{}",
                   "a/b/c/d/package.json": "{}", ".yarn/releases/yarn-4.1.0.cjs": ""})  # fmt: skip
    found = look(tmp_path)
    assert found.top.text("package.json") == "{}"
    assert found.at("docs").text("conf.py") == "x"
    assert found.at(".yarn/releases").has("yarn-4.1.0.cjs")
    assert not found.at("node_modules/a").names
    assert not found.at("a/b/c/d").names


def test_a_root_that_lies_deep_is_read_with_what_is_above_it(tmp_path: Path) -> None:
    lay(tmp_path, {"a/b/c/d/e/package.json": "{}", "a/package.json": '{"name": "a"}'})
    found = look(tmp_path, "a/b/c/d/e")
    assert found.at("a/b/c/d/e").has("package.json")
    assert found.at("a").has("package.json")


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    lay(outside, {"package.json": "{}"})
    source = tmp_path / "source"
    source.mkdir()
    (source / "docs").symlink_to(outside)
    (source / "package.json").symlink_to(outside / "package.json")
    os.mkfifo(source / "mkdocs.yml")
    found = look(source)
    assert found.top.contents == {}
    assert set(found.places) == {""}


def test_a_root_that_is_no_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as caught:
        look(tmp_path, "docs")
    assert caught.value.code == "root_missing"


def test_of_two_directories_that_were_written_the_one_with_a_page_is_published(
    tmp_path: Path,
) -> None:
    since = made.now(tmp_path)
    lay(tmp_path, {"dist/main.js": "", "build/index.html": ""})
    assert made.find(tmp_path, (), PLAN, since=since) == ("build",)


def test_where_the_output_is_elsewhere_the_one_page_that_was_written_is_found(
    tmp_path: Path,
) -> None:
    lay(tmp_path, {"public/index.html": "", "old/index.html": ""})
    since = made.now(tmp_path)
    lay(tmp_path, {"app/out/www/index.html": "", "app/out/www/sub/index.html": ""})
    assert made.find(tmp_path, (), PLAN, since=since) == ("app", "out", "www")


def test_of_two_unexpected_pages_none_is_guessed(tmp_path: Path) -> None:
    since = made.now(tmp_path)
    lay(tmp_path, {"one/index.html": "", "two/index.html": ""})
    with pytest.raises(BuildFailed) as caught:
        made.find(tmp_path, (), PLAN, since=since)
    assert caught.value.code == "output_missing"
