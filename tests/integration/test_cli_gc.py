"""`pushlane gc`, against a server that answers as the API documents."""

from __future__ import annotations

import json
from typing import Any

from tests.apistub import Pushlane, Stub, Told, problem


def a_round(**changes: Any) -> dict[str, Any]:
    """What the API answers of a round."""
    return {
        "dry_run": False,
        "complete": True,
        "stopped": "",
        "seconds": 1.5,
        "projects": 2,
        "kept": {"releases": {"count": 1200, "bytes": 3_400_000, "names": []}},
        "condemned": {"packs": {"count": 2, "bytes": 12_000, "names": []}},
        "waiting": {},
        "deleted": {"releases": {"count": 1, "bytes": 900, "names": []}},
        "unknown": {},
        "uploads": 0,
        "trimmed": 3,
        **changes,
    }


def test_a_round_is_a_table_of_kinds(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/gc", a_round(uploads=2))
    told = pushlane("gc")
    assert told.code == 0
    head, releases, packs = told.out.splitlines()
    assert head.split() == ["KIND", "KEPT", "CONDEMNED", "WAITING", "DELETED", "UNKNOWN"]
    assert releases.split() == [
        "releases",
        "1,200,",
        "3.4",
        "MB",
        "-",
        "-",
        "1,",
        "900",
        "bytes",
        "-",
    ]
    assert packs.split() == ["packs", "-", "2,", "12", "KB", "-", "-", "-"]
    assert told.err == "2 abandoned uploads ended\n"
    request = stub.requests("POST", "/gc")[0]
    assert (request.query, bool(request.headers["idempotency-key"])) == ({}, True)


def test_a_dry_run_names_what_would_go(stub: Stub, pushlane: Pushlane) -> None:
    names = ["packs/7/a.pack", "packs/7/\x1b[2Jb.pack"]
    share = {"count": 1002, "bytes": 12_000, "names": names}
    stub.on("POST", "/gc", a_round(dry_run=True, condemned={"packs": share}))
    told = pushlane("gc", "--dry-run")
    assert told.code == 0
    assert told.out.splitlines()[3:] == [
        "condemned  packs/7/a.pack",
        r"condemned  packs/7/\x1b[2Jb.pack",
        "condemned  … and 1,000 more",
    ]
    assert told.err == "nothing was changed\n"
    assert stub.requests("POST", "/gc")[0].query == {"dry_run": "1"}


def test_json_is_the_answer_itself(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/gc", a_round())
    assert json.loads(pushlane("gc", "--json").out) == a_round()


def test_a_round_that_was_stopped_ends_with_1_and_says_that_it_goes_on(
    stub: Stub, pushlane: Pushlane
) -> None:
    stub.on("POST", "/gc", a_round(complete=False, stopped="S3 cannot be reached"))
    told = pushlane("gc")
    assert (told.code, told.err) == (1, "stopped: S3 cannot be reached; the next round goes on\n")


def test_one_that_had_enough_says_that_there_is_more(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/gc", a_round(complete=False))
    told = pushlane("gc")
    assert (told.code, told.err) == (0, "there is more: the next round goes on\n")


def test_where_nothing_is_stored_it_says_so(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/gc", a_round(kept={}, condemned={}, deleted={}))
    assert pushlane("gc") == Told(0, "", "nothing is stored yet\n")


def test_while_another_round_is_under_way_it_is_2(stub: Stub, pushlane: Pushlane) -> None:
    stub.on("POST", "/gc", problem(409, "collecting", "the collector is at work already"))
    assert pushlane("gc").code == 2
