"""What of a build's output is published, on directories that were made to be walked for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.core.errors import BuildFailed, Stopped
from worker.output import Limits, Output, walk

LIMITS = Limits(megabytes=1, files=100)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """An empty output."""
    (tmp_path / "source/out").mkdir(parents=True)
    return Output(root=tmp_path, parts=("source", "out"))


def place(output: Output) -> Path:
    return output.root.joinpath(*output.parts)


def deep(top: Path) -> int:
    """A descriptor of a new directory below `top` whose path is longer than any may be."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=at)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    return at


def test_a_link_stands_for_what_it_points_at_and_one_to_nothing_is_told(output: Output) -> None:
    (place(output) / "index.html").write_text("x")
    (place(output) / "a.html").symlink_to("index.html")
    (place(output) / "gone").symlink_to("nowhere")
    found, dangling = walk(output, LIMITS)
    assert [each.path for each in found] == ["a.html", "index.html"]
    assert dangling == ["gone"]


def test_links_that_lead_to_nothing_again_and_again_are_too_many(output: Output) -> None:
    (place(output) / "a").mkdir()
    for number in range(60):
        (place(output) / f"a/l{number}").symlink_to("nowhere")
        (place(output) / f"d{number}").symlink_to("a")
    with pytest.raises(BuildFailed) as caught:
        walk(output, LIMITS)
    assert caught.value.code == "output_too_many_files"


def test_each_link_on_the_way_to_another_counts(output: Output) -> None:
    (place(output) / "l0").symlink_to("nowhere")
    for number in range(1, 30):
        (place(output) / f"l{number}").symlink_to(f"l{number - 1}")
    with pytest.raises(BuildFailed) as caught:
        walk(output, LIMITS)
    assert caught.value.code == "output_too_many_files"


def test_as_many_directories_as_files_are_not_too_many(output: Output) -> None:
    for number in range(99):
        (place(output) / f"d{number}").mkdir()
        (place(output) / f"d{number}/index.html").write_text("x")
    found, _ = walk(output, LIMITS)
    assert len(found) == 99


@pytest.mark.parametrize("kind", ["hidden", "links", "hard links"])
def test_a_stop_is_heard_in_the_midst_of_the_walk(tmp_path: Path, kind: str) -> None:
    output = Output(root=tmp_path, parts=("out",), source_itself=kind == "hidden")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/f").write_text("x")
    if kind == "hidden":
        for number in range(500):
            (tmp_path / f"out/.h{number}").write_text("x")
    elif kind == "links":
        for number in range(50):
            (tmp_path / f"out/l{number}").symlink_to("f")
    else:
        (tmp_path / "other").mkdir()
        os.link(tmp_path / "out/f", tmp_path / "other/f")
        for number in range(500):
            (tmp_path / f"other/{number}").write_text("x")
    checked = 0

    def check() -> None:
        nonlocal checked
        checked += 1
        if checked > 40:
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        walk(output, LIMITS, check=check)


def test_a_link_to_a_name_that_no_file_can_have_leads_to_nothing(output: Output) -> None:
    (place(output) / "long").symlink_to("a" * 300)
    assert walk(output, LIMITS) == ([], ["long"])


def test_a_hard_link_in_a_place_too_deep_to_see_is_the_repositorys_fault(output: Output) -> None:
    (place(output) / "x").write_text("x")
    at = deep(output.root)
    os.link(place(output) / "x", "x", dst_dir_fd=at)
    os.close(at)
    with pytest.raises(BuildFailed) as caught:
        walk(output, LIMITS)
    assert caught.value.code == "output_link_outside"


def test_a_hard_link_beside_a_place_too_deep_to_see_is_published(output: Output) -> None:
    (place(output) / "x").write_text("x")
    os.link(place(output) / "x", output.root / "y")
    os.close(deep(output.root))
    found, _ = walk(output, LIMITS)
    assert [each.path for each in found] == ["x"]
