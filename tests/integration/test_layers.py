"""The layers of a workspace: what is covered stays as it is, whatever a build does above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sandboxes import LIMITS, shell
from worker.sandbox import Layers, Sandbox, Workspace, workspaces

ROOT = os.geteuid() == 0


def a_kept_tree(directory: Path, workspace: Workspace, text: str) -> Path:
    place = directory / "kept"
    (place / "source").mkdir(parents=True)
    (place / "source" / "kept").write_text(text)
    if workspace.owner is not None:
        for each in (place, place / "source", place / "source" / "kept"):
            os.chown(each, workspace.owner.uid, workspace.owner.gid)
    return place


async def test_a_worker_that_is_not_root_has_no_layers(workspace: Workspace) -> None:
    assert Layers(workspace).possible is ROOT


async def test_a_build_writes_over_what_is_kept_and_never_into_it(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    await shell(sandbox, workspace, "echo source > one; mkdir sub; echo x > sub/file")
    layers = Layers(workspace)
    kept = a_kept_tree(tmp_path, workspace, "kept\n")
    covered = layers.cover([kept])
    outcome, said = await shell(
        sandbox,
        workspace,
        "cat one kept && echo spoilt > kept && rm one && mv sub moved && cat kept moved/file && ls",
    )
    assert (outcome.exit_code, said.split()) == (
        0,
        ["source", "kept", "spoilt", "x", "kept", "moved"],
    )
    assert (kept / "source" / "kept").read_text() == "kept\n"
    assert (covered / "source" / "one").read_text() == "source\n"
    assert (workspace.path / "source" / "moved" / "file").read_text() == "x\n"
    assert layers.cover() != covered
    _, said = await shell(sandbox, workspace, "cat kept moved/file; echo more > two")
    assert said.split() == ["spoilt", "x"]


async def test_a_build_sees_none_of_the_layers_and_of_their_room(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    Layers(workspace).cover([a_kept_tree(tmp_path, workspace, "kept")])
    _, said = await shell(
        sandbox,
        workspace,
        f"ls -A /work; ls {workspace.room} {tmp_path} 2>&1; grep -c kept /etc/passwd",
    )
    assert said.split()[:3] == ["home", "source", "tmp"]
    assert said.count("No such file") == 2


async def test_what_is_written_counts_and_what_is_kept_does_not(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    await shell(sandbox, workspace, "true")
    before = workspaces.size(workspace)
    layers = Layers(workspace)
    layers.cover([a_kept_tree(tmp_path, workspace, "x" * 20_000_000)])
    assert workspaces.size(workspace) - before < 1_000_000
    await shell(sandbox, workspace, "head -c 10M /dev/zero > new")
    layers.cover()
    assert workspaces.size(workspace) - before > 10_000_000
    assert not workspaces.full(workspace, LIMITS)


async def test_a_mount_that_is_refused_leaves_the_workspace_as_it_was(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    layers = Layers(workspace)
    await shell(sandbox, workspace, "echo here > one")
    for _ in range(2):
        with pytest.raises(OSError, match="kept"):
            layers.cover([tmp_path / "kept"])
        _, said = await shell(sandbox, workspace, "cat one; echo again >> one")
        assert said.startswith("here")
        layers.cover()
