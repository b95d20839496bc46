"""What is written to the log: each event on a line, whoever wrote its words; no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from bot.core import log as logs

FORGED = "x\n2026-01-01T00:00:00.000+00:00 info    delivery recorded\r\x1b[2J\x9b1m\u2028\u202e"
KEY = "-----BEGIN KEY-----\nabcdef\n-----END KEY-----"
log = logging.getLogger("tests.log")


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_no_value_begins_a_line_or_steers_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("text")
    log.warning("refused %s", FORGED, extra={"guid": FORGED})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert " warning refused x\\n2026-01-01" in line
    assert " guid=x\\n2026-01-01" in line
    assert "\\x1b[2J\\x9b1m\\u2028\\u202e" in line


def test_a_traceback_is_indented_whatever_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("text")
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("failed")
    first, *trace = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert first.endswith(" error   failed")
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") and line.isprintable() for line in trace)


def test_as_json_an_event_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("failed", extra={"guid": FORGED})
    (line,) = capsys.readouterr().err.removesuffix("\n").split("\n")
    found = json.loads(line)
    assert (found["message"], found["guid"]) == ("failed", FORGED)
    assert found["exception"].startswith("Traceback ")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_secret_of_several_lines_is_masked(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up("json" if style == "json" else "text", secrets=[KEY])
    log.warning("the key is %s", KEY, extra={"key": KEY})
    said = capsys.readouterr().err
    assert "abcdef" not in said
    assert said.count("•••") == 2
