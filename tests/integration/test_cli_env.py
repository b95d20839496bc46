"""`pushlane env` and `pushlane project`, against a server that answers as the API documents."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.apistub import COMMAND, Pushlane, Stub, Told, problem

VALUE = "hunter2-is-my-password"
SECRET = {
    "name": "API_KEY",
    "contexts": ["preview", "production"],
    "updated_at": "2026-01-02T03:04:05.000Z",
}
PROJECT: dict[str, Any] = {
    "slug": "site",
    "repository": "acme/site",
    "production_branch": "main",
    "url": "http://site.sites.test",
    "live": None,
    "pinned": False,
    "settings": {"root": "docs", "command": None, "watch": ["a/**"], "environment": {"A": "b"}},
}


def typed(monkeypatch: pytest.MonkeyPatch, given: bytes) -> None:
    """Gives the command these bytes on stdin."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))


def shown(terminal: int, *, until: bytes = b"") -> bytes:
    """What is drawn there up to these words, or to its end, within 20 s."""
    drawn = b""
    ends = time.monotonic() + 20
    # At its end Linux answers EIO.
    with suppress(OSError):
        while not until or until not in drawn:
            ready, _, _ = select.select([terminal], [], [], max(ends - time.monotonic(), 0))
            assert ready, f"it stands still after {drawn!r}"
            drawn += os.read(terminal, 65_536)
    return drawn


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2", "hunter2"),
        (b"two\nlines\n\n", "two\nlines\n"),
        ("öffne".encode(), "öffne"),
    ],
)
def test_a_value_comes_from_stdin_without_its_last_end_of_line(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch, given: bytes, value: str
) -> None:
    stub.on("PUT", "/projects/site/env/API_KEY", SECRET)
    typed(monkeypatch, given)
    told = pushlane("env", "set", "site", "API_KEY")
    assert told == Told(0, "API_KEY is set for preview and production\n", "")
    assert stub.seen[-1].body == {"value": value}


def test_a_value_comes_from_a_file_as_it_is_for_one_context(
    stub: Stub, pushlane: Pushlane, tmp_path: Path
) -> None:
    stub.on("PUT", "/projects/site/env/API_KEY", {**SECRET, "contexts": ["production"]})
    file = tmp_path / "key"
    file.write_text(f"{VALUE}\n")
    words = ("env", "set", "site", "API_KEY", "--context", "production", "--json")
    told = pushlane(*words, "--from-file", str(file))
    assert json.loads(told.out)["contexts"] == ["production"]
    assert stub.seen[-1].body == {"value": f"{VALUE}\n", "contexts": ["production"]}
    missing = pushlane("env", "set", "site", "API_KEY", "--from-file", str(tmp_path / "none"))
    assert missing.code == 2
    assert "cannot be read: No such file" in missing.err


def test_at_a_terminal_it_is_asked_for_and_not_shown(stub: Stub) -> None:
    stub.on("PUT", "/projects/site/env/API_KEY", SECRET)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [COMMAND, "env", "set", "site", "API_KEY"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    )
    # Else its end would not be seen.
    os.close(theirs)
    try:
        drawn = shown(ours, until=b"(not shown)")
        # What is typed before the echo is off would be shown, and thrown away.
        assert not termios.tcgetattr(ours)[3] & termios.ECHO
        os.write(ours, f"{VALUE}\n".encode())
        drawn += shown(ours)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert out == b"API_KEY is set for preview and production\n"
    assert stub.seen[-1].body == {"value": VALUE}
    assert VALUE.encode() not in drawn


def test_a_value_is_never_an_argument(stub: Stub, pushlane: Pushlane) -> None:
    told = pushlane("env", "set", "site", "API_KEY", VALUE)
    assert told.code == 2
    assert stub.seen == []


def test_names_are_listed_with_their_contexts(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects/site/env", {"secrets": [SECRET]}, {"secrets": []})
    head, row = pushlane("env", "list", "site").out.splitlines()
    assert head.split() == ["NAME", "CONTEXTS", "SET"]
    assert row.startswith("API_KEY  preview and production  ")
    assert "pushlane env set site NAME" in pushlane("env", "list", "site").err


def test_one_is_unset_of_a_repositorys_project_too(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects", {"projects": [PROJECT]})
    stub.on("DELETE", "/projects/site/env/API_KEY", {**SECRET, "contexts": ["preview"]})
    told = pushlane("env", "unset", "acme/site", "API_KEY", "--context", "preview")
    assert told == Told(0, "API_KEY is gone for preview\n", "")
    assert stub.seen[-1].query == {"context": "preview"}
    stub.on(
        "DELETE", "/projects/site/env/API_KEY", problem(404, "secret_not_found", "there is none")
    )
    told = pushlane("env", "unset", "site", "API_KEY")
    assert told == Told(2, "", "error: there is none (secret_not_found)\n")


def test_a_project_is_shown_with_its_settings(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects/site", PROJECT)
    told = pushlane("project", "site")
    lines = [line.split() for line in told.out.splitlines()]
    assert ["root", "docs"] in lines
    assert ["watch", "a/**"] in lines
    assert ["environment.A", "b"] in lines
    assert lines[-1] == ["http://site.sites.test"]
    assert json.loads(pushlane("project", "site", "--json").out) == PROJECT


def test_settings_are_changed_by_name(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects/site", PROJECT)
    stub.on("PATCH", "/projects/site", PROJECT)
    sets = ("root=", "node=22", "watch=a/**, b/**", "environment.B=c=d", "environment.A=")
    told = pushlane("project", "site", *(word for each in sets for word in ("--set", each)))
    assert told.code == 0, told.err
    assert stub.seen[-1].body == {
        "root": None,
        "node": "22",
        "watch": ["a/**", "b/**"],
        "environment": {"B": "c=d"},
    }
    assert pushlane("project", "site", "--set", "root").code == 2


def test_caches_are_cleared_by_another_epoch_each_time(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects/site", PROJECT)
    stub.on("PATCH", "/projects/site", PROJECT)
    told = pushlane("clear-caches", "site")
    assert told.out == "the caches of site are cleared; its next build is a cold one\n", told.err
    body = stub.seen[-1].body
    assert isinstance(body, dict)
    assert body["cache_epoch"] > 1_700_000_000_000


def test_a_project_is_made_before_its_first_push(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("PUT", "/projects/site", PROJECT)
    told = pushlane("project", "site", "--create", "acme/site", "--set", "root=docs")
    assert told.code == 0, told.err
    assert stub.seen[-1].body == {"repository": "acme/site", "root": "docs"}
    assert pushlane("project", "site", "--create", "acme").code == 2
