"""A project's settings where the repository's file says nothing, and who is said to say what."""

from __future__ import annotations

import pytest

from bot.core.project import ProjectSettings, overlaid
from bot.core.sitefile import parse, skip_reason
from worker.detect import detect
from worker.detect.source import Place, Source

SETTINGS = ProjectSettings(
    command="npm run docs",
    output="public",
    node="22",
    skip_branches=("wip/**",),
    environment={"A": "set", "B": "set"},
)
EMPTY = Source(places={"": Place(path="", names={}, contents={})})


def test_the_file_wins_name_by_name() -> None:
    file = parse(b'[build]\noutput = "dist"\n[build.environment]\nA = "said"\n')
    asked = overlaid(file, SETTINGS)
    assert (asked.build.command, asked.build.output) == ("npm run docs", "dist")
    assert asked.build.environment == {"A": "said", "B": "set"}
    assert asked.file_of("output") == "pushlane.toml"
    assert asked.file_of("command") == "the project's setting"


def test_a_command_that_is_set_to_nothing_says_that_nothing_is_built() -> None:
    asked = overlaid(parse(None), ProjectSettings(command="", install=""))
    assert (asked.build.command, asked.build.install) == ("", "")


@pytest.mark.parametrize("body", [None, b'[build]\nroot = ""\n'])
def test_what_a_setting_decides_is_not_laid_to_a_file(body: bytes | None) -> None:
    asked = overlaid(parse(body), SETTINGS)
    plan = detect(EMPTY, asked)
    assert "by the project's setting: npm run docs" in plan.reason
    assert "Node.js 22, by the project's setting" in plan.notes
    reason = skip_reason("A change", "wip/a", asked)
    assert reason == "the project's setting skips branches like wip/**"
