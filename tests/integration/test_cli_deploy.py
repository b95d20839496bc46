"""`pushlane deploy` and `redeploy`: followed to the end, whatever becomes of the connection."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from bot.cli import follow
from tests.apistub import (
    COMMAND,
    ID,
    OLDER,
    RESET,
    STAGES,
    Pushlane,
    Reply,
    Stub,
    at_terminal,
    changed,
    end,
    line,
    problem,
    record,
    whole_way,
)

READY = record("ready")


@pytest.fixture
def stub(stub: Stub) -> Stub:
    """One that takes a deployment and brings it live."""
    stub.on("POST", "/deployments", Reply(record("received"), status=202))
    stub.streams(ID, whole_way(READY))
    return stub


def test_a_repository_of_several_projects_is_followed_in_each(
    stub: Stub, pushlane: Pushlane
) -> None:
    main = record("skipped", beside=[OLDER])
    other = record("ready", id=OLDER, project="docs", url="http://docs.localhost")
    stub.streams(ID, [end(main)])
    stub.streams(OLDER, whole_way(other))
    stub.on("GET", f"/deployments/{OLDER}", Reply(record("received", id=OLDER, project="docs")))
    told = pushlane("deploy", "acme/site")
    assert (told.code, told.out) == (0, "http://docs.localhost\n")
    assert f"docs: deployment {OLDER}" in told.err


def test_a_line_a_stage_goes_to_stderr_and_the_url_alone_to_stdout(pushlane: Pushlane) -> None:
    told = pushlane("deploy", "acme/site")
    assert told.code == 0
    assert told.out == f"{READY['url']}\n"
    lines = told.err.splitlines()
    assert lines[0] == f"site: deployment {ID}"
    assert [each.split()[1] for each in lines[1:6]] == list(STAGES)
    assert lines[1].endswith("0.50 s")
    assert lines[6] == "ready in 8.5 s, live at http://site.sites.test"
    assert "building" not in lines[6]
    assert "\x1b" not in told.err


def test_the_first_at_sign_ends_the_name_and_the_rest_is_the_ref(
    stub: Stub, pushlane: Pushlane
) -> None:
    for words, body in (
        ("acme/site", {"repository": "acme/site"}),
        ("acme/site@fix/a@b", {"repository": "acme/site", "ref": "fix/a@b"}),
        ("site@v1", {"project": "site", "ref": "v1"}),
    ):
        assert pushlane("deploy", words, "--no-wait").code == 0
        assert stub.requests("POST", "/deployments")[-1].body == body
    for words in ("acme/site@", "a/b/c", "a b/c", "", "/", "Acme"):
        told = pushlane("deploy", words)
        assert told.code == 2, words
    assert len(stub.requests("POST", "/deployments")) == 3


def test_a_post_says_who_calls_and_has_a_key_of_its_own(stub: Stub, pushlane: Pushlane) -> None:
    for _ in range(2):
        pushlane("deploy", "acme/site", "--no-wait")
    first, second = stub.requests("POST", "/deployments")
    assert first.headers["user-agent"].startswith("pushlane/")
    assert len(first.headers["idempotency-key"]) == 32
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_no_wait_returns_with_the_page(stub: Stub, pushlane: Pushlane) -> None:
    told = pushlane("deploy", "acme/site", "--no-wait")
    assert (told.code, told.out) == (0, f"{record('received')['url']}\n")
    assert ID in told.err
    assert not stub.requests("GET", f"/deployments/{ID}/log")


def test_json_is_the_last_record_on_one_line_and_nothing_else(
    stub: Stub, pushlane: Pushlane
) -> None:
    hostile = {**READY, "message": "a\x9b31mb\u202ec", "newer": {"field": 1}}
    stub.streams(ID, whole_way(hostile))
    told = pushlane("deploy", "acme/site", "--json")
    assert told.code == 0
    assert json.loads(told.out) == hostile
    assert told.out.count("\n") == 1
    assert told.out.isascii()


def test_a_failed_build_ends_with_1_its_last_lines_and_the_error(
    stub: Stub, pushlane: Pushlane
) -> None:
    wrong = record("failed", error={"code": "build_failed", "message": "npm ended with 7"})
    lines = [line(f"line {number}", f"0-{number}-0") for number in range(30)]
    stub.streams(ID, [changed(record("building")), *lines, end(wrong)])
    told = pushlane("deploy", "acme/site")
    assert told.code == 1
    assert told.out == f"{wrong['urls']['page']}\n"
    assert "  line 10\n  line 11\n" in told.err
    assert "line 9\n" not in told.err
    assert told.err.endswith("  line 29\nfailed: npm ended with 7 (build_failed)\n")
    assert "✗ building" in told.err


@pytest.mark.parametrize("status", ["errored", "cancelled", "superseded", "skipped"])
def test_whatever_is_not_ready_ends_with_1_and_its_reason(
    stub: Stub, pushlane: Pushlane, status: str
) -> None:
    stub.streams(ID, [end(record(status, reason="so it is"))])
    told = pushlane("deploy", "acme/site")
    assert told.code == 1
    assert told.err.splitlines()[-1].startswith(status)


def test_logs_are_shown_as_they_come_and_hostile_bytes_are_spelled_out(
    stub: Stub, pushlane: Pushlane
) -> None:
    evil = "\x1b]0;title\x07 \x1b[2J\x1b[32mgreen\x1b[0m end\x9b \u202e"
    stub.streams(ID, [line(evil, "0-1-0"), end(READY)])
    told = pushlane("deploy", "acme/site", "--logs")
    assert r"\x1b]0;title\x07 \x1b[2Jgreen end\x9b \u202e" in told.err
    assert "\x1b" not in told.err


def test_a_broken_stream_is_taken_up_after_the_last_line_each_line_once(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.streams(
        ID,
        [changed(record("building")), line("one", "0-1-0"), line("two", "0-2-0"), RESET],
        [],
        [line("three", "0-3-0"), end(READY)],
    )
    told = pushlane("deploy", "acme/site", "--logs")
    assert told.code == 0
    assert [each for each in told.err.splitlines() if each in ("one", "two", "three")] == [
        "one", "two", "three",
    ]  # fmt: skip
    asked = stub.requests("GET", f"/deployments/{ID}/log")
    assert [each.headers.get("last-event-id") for each in asked] == [None, "0-2-0", "0-2-0"]
    assert [each.split()[1] for each in told.err.splitlines() if each[0] == "✓"] == list(STAGES)


def test_a_bot_that_starts_anew_meanwhile_is_waited_for(stub: Stub, pushlane: Pushlane) -> None:
    away = problem(503, "redis_unreachable", "Redis cannot be reached")
    stub.on(
        "GET", f"/deployments/{ID}/log", RESET, away, Reply("", status=502), Reply([end(READY)])
    )
    assert pushlane("deploy", "acme/site").code == 0


def test_a_server_out_of_reach_for_too_long_ends_with_3_and_the_deployment_goes_on(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", 0.3)
    stub.on("GET", f"/deployments/{ID}/log", RESET)
    told = pushlane("deploy", "acme/site")
    assert (told.code, told.out) == (3, "")
    assert f"pushlane logs -f {ID}" in told.err.splitlines()[-1]
    assert told.err.splitlines()[-1].endswith("(server_unreachable)")


def test_a_post_whose_answer_was_lost_is_sent_again_under_the_same_key(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("POST", "/deployments", RESET, RESET, Reply(record("received"), status=202))
    assert pushlane("deploy", "acme/site").code == 0
    keys = [each.headers["idempotency-key"] for each in stub.requests("POST", "/deployments")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_refusal_is_one_line_with_its_code_and_2(stub: Stub, pushlane: Pushlane) -> None:
    refusal = problem(403, "repository_not_allowed", "PUSHLANE_REPOS does not name \x1bacme/site")
    stub.on("POST", "/deployments", refusal)
    told = pushlane("deploy", "acme/site")
    assert (told.code, told.out) == (2, "")
    assert told.err == (
        "error: PUSHLANE_REPOS does not name \\x1bacme/site (repository_not_allowed)\n"
    )
    assert len(stub.requests("POST", "/deployments")) == 1
    told = pushlane("deploy", "acme/site", "--json")
    assert json.loads(told.out)["error"]["code"] == "repository_not_allowed"


def test_redeploy_takes_a_projects_newest_and_follows_the_new_one(
    stub: Stub, pushlane: Pushlane
) -> None:
    old = record("ready", id_=OLDER)
    stub.on("GET", "/deployments", {"deployments": [old], "cursor": None})
    stub.on("POST", f"/deployments/{OLDER}/redeploy", Reply(record("received"), status=202))
    told = pushlane("redeploy", "acme/site")
    assert (told.code, told.out) == (0, f"{READY['url']}\n")
    assert stub.requests("GET", "/deployments")[0].query == {"project": "acme/site", "limit": "1"}


def test_attempts_after_the_first_are_counted_and_a_stage_begun_anew_is_told_again(
    stub: Stub, pushlane: Pushlane
) -> None:
    again = record("ready", attempts={"fetch": 1, "build": 2})
    for stage in again["stages"][2:]:
        stage["started_at"] = stage["started_at"].replace("03:04", "03:05")
    stub.streams(ID, [changed(record("publishing")), changed(record("queued")), end(again)])
    told = pushlane("deploy", "acme/site")
    assert told.err.count("✓ building") == 2
    assert told.err.count("✓ fetching") == 1
    assert told.err.count("(attempt 2)") == 1


def test_ctrl_c_ends_with_130_without_a_traceback_and_says_that_it_goes_on(stub: Stub) -> None:
    stub.streams(ID, [changed(record("building")), line("one", "0-1-0"), 3600.0])
    process = subprocess.Popen(
        [COMMAND, "deploy", "acme/site", "--logs"],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for each in process.stderr:
        if each == "one\n":
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "")
    assert err == f"the deployment goes on; follow it by: pushlane logs -f {ID}\n"


def test_without_a_terminal_no_spinner_is_drawn_even_when_colours_are_forced(stub: Stub) -> None:
    done = subprocess.run(
        [COMMAND, "deploy", "acme/site"],
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b[?25l" not in done.stderr
    assert "\r" not in done.stderr
    assert done.stderr.count("building") == 1
    assert done.stdout == f"{READY['url']}\n"


def test_at_a_terminal_a_spinner_turns_and_is_gone_at_the_end(stub: Stub) -> None:
    stub.streams(ID, [changed(record("building")), 0.4, end(READY)])
    out, screen = at_terminal("deploy", "acme/site")
    assert out == f"{READY['url']}\n"
    assert "⠋" in screen
    assert screen.count("building") > 2
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l"), "the cursor is shown again"
    # What is told last stands where the spinner was, which is erased.
    assert screen.endswith("\x1b[2Kready in 8.5 s, live at http://site.sites.test\r\n")
