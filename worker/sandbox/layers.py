"""A workspace in layers: what lies in it so far is covered, what is written then lies on top.

What is covered never changes again: it can be copied while the build goes on, and trees that were
kept of earlier builds can lie between, which this build reads and cannot write.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.sandbox import kernel
from worker.sandbox.records import Workspace

BOTTOM: Final = "0"
"""The lowest layer's name in the workspace's room; the ones above it are numbered."""
_VIEW: Final = "view"


class Layers:
    """Those of one workspace. Nothing executes in it while they change."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._top = workspace.room / BOTTOM
        self._below: list[Path] = []
        """Under the top, the highest first."""

    @property
    def possible(self) -> bool:
        """Whether this workspace can have more than one: its worker must be root."""
        return self._workspace.room != self._workspace.path

    @property
    def bottom(self) -> Path:
        """What lay in the workspace before anything covered it."""
        return self._workspace.room / BOTTOM

    def cover(self, kept: Sequence[Path] = ()) -> Path:
        """Lays an empty layer on top, and `kept` trees under it, the first the highest.

        Returns what was the top until now. Blocking. Raises OSError where the kernel refuses; then
        the workspace is as it was.
        """
        covered = self._top
        number = 1 + sum(each.parent == self._workspace.room for each in self._below)
        top = self._workspace.room / str(number)
        for directory in (top, _work(top)):
            directory.mkdir(mode=0o700, exist_ok=True)
        if self._workspace.owner is not None:
            os.chown(top, self._workspace.owner.uid, self._workspace.owner.gid)
        below = [*kept, covered, *self._below]
        kernel.unmount(self._workspace.path)
        try:
            self._mount(top, below)
        except OSError:
            self._mount(self._top, self._below)
            raise
        self._top, self._below = top, below
        return covered

    @property
    def below(self) -> tuple[Path, ...]:
        """What lies under the top now, the highest first: it never changes again."""
        return tuple(self._below)

    @contextmanager
    def view(self, below: Sequence[Path]) -> Iterator[Path]:
        """Shows what once lay `below` as one tree, to be read. Blocking. Raises OSError."""
        place = self._workspace.room / _VIEW
        place.mkdir(mode=0o700, exist_ok=True)
        kernel.mount_overlay(place, lowers=below)
        try:
            yield place
        finally:
            kernel.unmount(place)

    def _mount(self, top: Path, below: Sequence[Path]) -> None:
        if below:
            kernel.mount_overlay(self._workspace.path, upper=top, work=_work(top), lowers=below)
        else:
            kernel.mount_bind(top, self._workspace.path)


def _work(top: Path) -> Path:
    return top.with_name(f"{top.name}.work")
