"""The commands that look and that move, against a server that answers as the API documents."""

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len

from bot.cli import server
from tests.apistub import (
    ID,
    OLDER,
    RESET,
    Pushlane,
    Reply,
    Stub,
    Told,
    at_terminal,
    changed,
    end,
    line,
    problem,
    record,
    whole_way,
)

MOVE = {
    "alias": "site",
    "url": "http://site.sites.test",
    "deployment": ID,
    "previous": OLDER,
    "pinned": True,
}
PROJECT = {
    "slug": "site",
    "repository": "acme/site",
    "repository_id": 7,
    "private": False,
    "production_branch": "main",
    "default_branch": "main",
    "created_at": "2026-01-02T03:04:00.000Z",
    "url": "http://site.sites.test",
    "live": ID,
    "pinned": True,
}
QUEUE = {
    "lists": {"fetch": [], "high": [ID], "build-queue": [OLDER]},
    "waiting": 2,
    "active": [{"id": ID, "project": "site", "status": "building", "seconds": 3.25}],
    "delayed": 0,
    "dead": 1,
    "oldest_seconds": 75.0,
    "builds_per_minute": 1.5,
    "verdict": "normal",
}


def test_list_is_a_table_that_marks_what_is_live_and_spells_out_hostile_messages(
    stub: Stub, pushlane: Pushlane
) -> None:
    hostile = record("failed", id_=OLDER, message="\x1b[31mred\x1b[0m \x1b]0;x\x07\u202e 1\x85 2\n")
    stub.on("GET", "/deployments", {"deployments": [record(), hostile], "cursor": None})
    told = pushlane("list", "--project", "acme/site", "--branch", "a/b", "--status", "ready")
    assert told.code == 0
    head, live, failed = told.out.splitlines()
    assert head.split()[:4] == ["ID", "PROJECT", "BRANCH", "COMMIT"]
    assert live.split()[:6] == ["*", ID, "site", "main", "0123456", "ready"]
    assert live.endswith("Fix the header")
    assert failed.split()[0] == OLDER
    assert failed.endswith(r"red \x1b]0;x\x07\u202e 1\x85 2")
    asked = stub.requests("GET", "/deployments")[0].query
    assert asked == {"project": "acme/site", "branch": "a/b", "status": "ready", "limit": "20"}


def test_list_calls_a_tag_a_commit_and_head_by_short_names(stub: Stub, pushlane: Pushlane) -> None:
    commit = record()["commit"]
    refs = ("refs/tags/v1.0", commit, "HEAD", "refs/heads/a/b")
    found = [record(ref=ref, branch=ref) for ref in refs]
    stub.on("GET", "/deployments", {"deployments": found, "cursor": None})
    rows = pushlane("list").out.splitlines()[1:]
    assert [row.split()[3] for row in rows] == ["v1.0", commit[:7], "HEAD", "a/b"]


def test_list_fits_a_narrow_terminal_and_never_cuts_an_id(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "85")
    wide = {"ref": "refs/heads/feature/with-a-long-name", "message": "世界 " * 50}
    stub.on("GET", "/deployments", {"deployments": [record(**wide)], "cursor": None})
    _, screen = at_terminal("list", alone=False)
    for row in screen.splitlines():
        assert cell_len(row.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= 85
    assert ID in screen
    assert "feature/w…" in screen
    assert "世界 …" in screen


def test_list_reads_on_over_short_and_empty_pages_up_to_its_limit(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on(
        "GET",
        "/deployments",
        {"deployments": [record()], "cursor": "3.000"},
        {"deployments": [], "cursor": "2.000"},
        {"deployments": [record(id_=OLDER)], "cursor": "1.000"},
    )
    told = pushlane("list", "--limit", "2", "--json")
    answer = json.loads(told.out)
    assert [each["id"] for each in answer["deployments"]] == [ID, OLDER]
    assert answer["cursor"] == "1.000"
    asked = [each.query for each in stub.requests("GET", "/deployments")]
    assert asked == [
        {"limit": "2"},
        {"limit": "1", "cursor": "3.000"},
        {"limit": "1", "cursor": "2.000"},
    ]


def test_an_empty_list_is_no_table_and_no_error(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/deployments", {"deployments": [], "cursor": None})
    assert pushlane("list") == Told(0, "", "no deployments yet\n")
    assert pushlane("list", "--branch", "x").err == "no deployments match\n"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("ready", 0),
        ("building", 0),
        ("superseded", 0),
        ("skipped", 0),
        ("failed", 1),
        ("errored", 1),
        ("cancelled", 1),
    ],
)
def test_status_ends_with_1_only_where_something_went_wrong(
    stub: Stub, pushlane: Pushlane, status: str, code: int
) -> None:
    stub.on("GET", f"/deployments/{ID}", record(status))
    told = pushlane("status", ID)
    assert told.code == code
    assert f"status      {status}" in told.out
    assert told.out.splitlines()[-1] == record(status)["url"]
    assert json.loads(pushlane("status", ID, "--json").out) == record(status)


def test_status_names_only_hosts_that_show_something(stub: Stub, pushlane: Pushlane) -> None:
    production, branch = "production  http://site.sites.test\n", "branch URL  http://main--site."
    for now, live, shown in (
        (record("ready"), True, True),
        (record("ready", live=False), False, True),
        (record("failed"), False, False),
        (record("building"), False, False),
    ):
        stub.on("GET", f"/deployments/{ID}", now)
        told = pushlane("status", ID).out
        assert ("ready, live" in told) is live
        assert (production in told) is shown
        assert (branch in told) is shown
    no_branch = {**record()["urls"], "branch": None, "production": None}
    stub.on("GET", f"/deployments/{ID}", record(ref="refs/tags/v1", urls=no_branch, live=False))
    told = pushlane("status", ID).out
    assert "tag         v1\n" in told
    assert "branch URL" not in told


def test_status_says_that_what_is_being_built_is_asked_to_stop(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("GET", f"/deployments/{ID}", record("building", stop="cancelled"))
    assert "status      building, stopping\n" in pushlane("status", ID).out
    stub.on("GET", f"/deployments/{ID}", record("cancelled", stop="cancelled"))
    assert "status      cancelled\n" in pushlane("status", ID).out


def test_status_of_a_project_is_that_of_its_newest_and_watch_follows_it(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("GET", "/deployments", {"deployments": [record("building")], "cursor": "1.000"})
    stub.streams(ID, whole_way(record("failed")))
    assert pushlane("status", "acme/site").code == 0
    told = pushlane("status", "site", "--watch")
    assert told.code == 1
    assert "✗ building" in told.err
    assert "status      failed" in told.out


def test_logs_are_text_on_stdout_with_hostile_bytes_spelled_out(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("GET", f"/deployments/{ID}", record("failed"))
    stub.on("GET", f"/deployments/{ID}/log", Reply("one\n\x1b[32mtwo\x1b[0m\tthree\x1b[2J\n\nend"))
    told = pushlane("logs", ID)
    assert (told.code, told.err) == (0, "")
    assert told.out == "one\ntwo\tthree\\x1b[2J\n\nend\n"
    answer = json.loads(pushlane("logs", ID, "--json").out)
    assert answer["lines"] == ["one", "\x1b[32mtwo\x1b[0m\tthree\x1b[2J", "", "end"]


def test_logs_that_are_followed_end_with_the_deployment_and_as_it_did(
    stub: Stub, pushlane: Pushlane
) -> None:
    wrong = record("failed", error={"code": "build_failed", "message": "npm ended with 7"})
    stub.on("GET", "/deployments", {"deployments": [record("building")], "cursor": None})
    stub.streams(ID, [changed(record("building")), line("one", "0-1-0"), RESET], [
        line("two", "0-2-0"), end(wrong),
    ])  # fmt: skip
    told = pushlane("logs", "-f", "acme/site")
    assert told == Told(1, "one\ntwo\n", "failed: npm ended with 7 (build_failed)\n")
    stub.streams(ID, [line("one", "0-1-0"), end(record("ready"))])
    told = pushlane("logs", "-f", "acme/site", "--json")
    assert told.code == 0
    assert json.loads(told.out) == {"deployment": ID, "lines": ["one"], "status": "ready"}


def test_what_has_no_deployment_yet_says_how_to_make_one(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/deployments", {"deployments": [], "cursor": None})
    for verb in ("status", "logs", "redeploy"):
        told = pushlane(verb, "acme/site")
        assert told.code == 2
        assert told.err.startswith("error: acme/site has no deployment yet: pushlane deploy ")


def test_a_log_of_which_nothing_is_there_says_why(stub: Stub, pushlane: Pushlane) -> None:
    for status, words in (("errored", "Redis only, for 7 days"), ("fetching", "nothing is logged")):
        stub.on("GET", f"/deployments/{ID}", record(status))
        stub.on("GET", f"/deployments/{ID}/log", Reply("", type="text/plain"))
        told = pushlane("logs", ID)
        assert (told.code, told.out) == (0, "")
        assert words in told.err


def test_what_names_nothing_is_said_to_be_neither_deployment_nor_project(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("GET", "/deployments", problem(404, "project_not_found", "there is no project"))
    told = pushlane("status", "nonsense")
    assert (told.code, told.out) == (2, "")
    assert told.err == "error: there is no deployment or project 'nonsense' (not_found)\n"


def test_cancel_says_whether_it_is_done_or_on_the_way(stub: Stub, pushlane: Pushlane) -> None:
    path = f"/deployments/{ID}/cancel"
    for outcome, words in (("cancelled", "is cancelled"), ("stopping", "is asked to stop")):
        stub.on("POST", path, Reply({"outcome": outcome, "deployment": record()}, status=202))
        assert pushlane("cancel", ID) == Told(0, f"{ID} {words}\n", "")
    stub.on("POST", path, problem(409, "already_ended", "it has ended as ready"))
    assert pushlane("cancel", ID) == Told(2, "", "error: it has ended as ready (already_ended)\n")
    assert pushlane("cancel", "acme/site").code == 2


def test_promote_rollback_and_unpin_end_with_the_url_and_say_what_moved(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("POST", f"/deployments/{ID}/promote", MOVE)
    stub.on("GET", "/projects", {"projects": [PROJECT]})
    stub.on("POST", "/projects/site/rollback", MOVE)
    stub.on("POST", "/projects/site/unpin", {**MOVE, "pinned": False, "previous": ""})
    for words in (("promote", ID), ("rollback", "acme/site"), ("rollback", "site", "--to", OLDER)):
        told = pushlane(*words)
        assert (told.code, told.out) == (0, "http://site.sites.test\n")
        assert told.err == (
            f"site shows {ID}, was {OLDER}; pinned: `pushlane unpin site` lets it go\n"
        )
    assert stub.requests("GET", "/projects")[0].query == {"repository": "acme/site"}
    bodies = [each.body for each in stub.requests("POST", "/projects/site/rollback")]
    assert bodies == [{}, {"to": OLDER}]
    assert pushlane("unpin", "site").err == f"site shows {ID}; not pinned\n"
    assert json.loads(pushlane("promote", ID, "--json").out) == MOVE


def test_a_move_that_moves_nothing_says_so(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/projects/site/unpin", {**MOVE, "pinned": False, "previous": ID})
    told = pushlane("unpin", "site")
    assert told.err == f"site shows {ID} as before: nothing moved; not pinned\n"


def test_a_repository_of_several_projects_or_none_is_to_be_named_closer(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("GET", "/projects", {"projects": [PROJECT, {**PROJECT, "slug": "docs"}]})
    told = pushlane("rollback", "acme/site")
    assert (told.code, told.err) == (
        2, "error: acme/site has several projects; name one: site, docs (usage)\n",
    )  # fmt: skip
    stub.on("GET", "/projects", {"projects": []})
    assert pushlane("unpin", "acme/site").code == 2


def test_projects_queue_and_deliveries_are_shown(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", "/projects", {"projects": [PROJECT]})
    assert pushlane("projects").out.splitlines()[1].split() == [
        "site", "acme/site", "main", ID, "pinned", "http://site.sites.test",
    ]  # fmt: skip

    stub.on("GET", "/queue", QUEUE)
    told = pushlane("queue").out
    assert told.startswith("verdict          normal\n")
    assert "waiting          2, the oldest for 1 min 15 s\n" in told
    assert f"build-queue      {OLDER}\n" in told
    assert told.endswith(f"  {ID}  site  building for 3.2 s\n")

    delivery = {
        "guid": "8f2c41d0",
        "event": "push",
        "repository": "acme/site",
        "ref": "refs/heads/main",
        "outcome": "recorded",
        "rule": "a push of a branch",
        "deployment": ID,
        "at": "2026-01-02T03:04:00.000Z",
    }
    stub.on("GET", "/deliveries/8f2c41d0", delivery)
    told = pushlane("deliveries", "8f2c41d0").out
    assert f"deployment  {ID}\n" in told
    assert "rule        a push of a branch\n" in told

    for verb, path in (("projects", "/projects"), ("queue", "/queue")):
        assert json.loads(pushlane(verb, "--json").out) == (
            QUEUE if path == "/queue" else {"projects": [PROJECT]}
        )


def test_a_newer_server_may_say_more(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("GET", f"/deployments/{ID}", {**record(), "status": "resting", "novelty": [1]})
    told = pushlane("status", ID)
    assert told.code == 0
    assert "status      resting" in told.out


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (problem(404, "not_found", "there is no deployment"), 2, "no deployment (not_found)"),
        (problem(500, "broken", "it broke"), 3, "it broke (broken)"),
        (problem(503, "redis_unreachable", "no Redis"), 3, "no Redis (redis_unreachable)"),
        (Reply("<html>\x1b[2J", status=502), 3, "answered 502 Bad Gateway (server_failed)"),
        (Reply("<html>", status=404), 2, "is the URL right? (not_pushlane)"),
        (Reply("hello", status=200), 2, "is the URL right? (not_pushlane)"),
        (Reply({"id": 7}), 2, "(answer_unknown)"),
        (Reply([b"{"], status=200), 2, "(not_pushlane)"),
        (
            Reply("", status=302, headers={"location": "https://elsewhere.test/"}),
            2,
            "`pushlane login URL` (redirected)",
        ),
    ],
)
def test_every_wrong_answer_is_one_line_and_an_exit_code(
    stub: Stub,
    pushlane: Pushlane,
    monkeypatch: pytest.MonkeyPatch,
    reply: Reply,
    code: int,
    words: str,
) -> None:
    monkeypatch.setattr(server, "_PAUSES", (0.0, 0.0))
    stub.on("GET", f"/deployments/{ID}", reply)
    told = pushlane("status", ID)
    assert (told.code, told.out) == (code, "")
    assert told.err.startswith("error: ")
    assert told.err.endswith(f"{words}\n")
    assert told.err.count("\n") == 1
    assert "\x1b" not in told.err
    told = pushlane("status", ID, "--json")
    assert told.code == code
    assert set(json.loads(told.out)["error"]) == {"code", "message"}


def test_a_token_that_the_server_does_not_know_is_2(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.on("GET", "/queue", QUEUE)
    monkeypatch.setenv("PUSHLANE_TOKEN", "another")
    assert pushlane("queue") == Told(2, "", "error: this token is not known here (token_invalid)\n")
