"""Each step that a process takes is one after which a test kills it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.failpoints import FAILPOINTS
from tests.failing import points
from tests.failing.points import Module


@pytest.mark.parametrize("module", ["bot", "worker"])
def test_a_process_dies_after_each_of_its_steps(module: Module) -> None:
    died = {each.point for each in FAILPOINTS if each.module == module}
    assert {f"after {each.step}" for each in points.of(module)} <= died
    assert died <= set(points.names(module))


def test_the_real_processes_know_nothing_of_it() -> None:
    root = Path(__file__).parents[2]
    source = (
        "import sys, bot.__main__, worker.__main__\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'tests'])"
    )
    said = subprocess.run(
        [sys.executable, "-c", source], cwd=root, capture_output=True, check=True, text=True
    )
    assert said.stdout == "[]\n"
    for package in ("bot", "worker"):
        for path in (root / package).rglob("*.py"):
            assert "FAILING" not in path.read_text(), path
