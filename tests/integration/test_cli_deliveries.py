"""`pushlane deliveries` and `pushlane redeliver`, against the real application over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from bot.core import keys
from bot.core.ledger.restores import Progress
from bot.wording import size_in_words
from tests.apistub import Told, at_terminal, tell
from tests.builders import commit, finished, queued
from tests.conftest import S3
from tests.front import TOKEN, FrontDoor, a_front_door, a_payload, served
from tests.ledgers import redis_of

Pushlane: TypeAlias = Callable[..., Awaitable[Told]]
WRONG = "sha256=" + "0" * 64


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


@pytest.fixture
async def pushlane(
    door: FrontDoor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Pushlane]:
    """The command, in a thread of its own: the application serves in this one."""
    async with served(door.app) as url:
        monkeypatch.setenv("PUSHLANE_URL", url)
        monkeypatch.setenv("PUSHLANE_TOKEN", TOKEN)
        yield lambda *words: asyncio.to_thread(tell, capsys, *words)


async def test_deliveries_are_a_table_newest_first(door: FrontDoor, pushlane: Pushlane) -> None:
    told = await pushlane("deliveries")
    assert (told.code, told.out) == (0, "")
    assert "no deliveries yet" in told.err
    id_ = (await door.send(a_payload("A", branch="topic"), guid="g1")).json()["deployment"]
    await door.send({"action": "created"}, event="star", guid="g2")
    told = await pushlane("deliveries")
    heads, *rows = told.out.splitlines()
    assert heads.split() == [
        "AGE", "EVENT", "REPOSITORY", "REF", "OUTCOME", "DEPLOYMENT", "GUID", "RULE",
    ]  # fmt: skip
    assert rows[0].split()[2:6] == ["star", "ignored", "-", "g2"]
    assert rows[0].endswith("star events lead to nothing: only pushes are deployed")
    assert rows[1].split()[2:8] == ["push", "acme/site", "topic", "recorded", id_, "g1"]
    assert rows[1].endswith("a new push of a branch")


async def test_deliveries_may_be_narrowed_down(door: FrontDoor, pushlane: Pushlane) -> None:
    for number in range(3):
        await door.send(a_payload("A", branch=f"b{number}"), guid=f"g{number}")
    await door.send(a_payload("A", repository="acme/blog", repository_id=8), guid="blog")

    async def guids(*words: str) -> list[str]:
        found = json.loads((await pushlane("deliveries", "--json", *words)).out)
        return [each["guid"] for each in found["deliveries"]]

    assert await guids() == ["blog", "g2", "g1", "g0"]
    assert await guids("--project", "blog") == ["blog"]
    assert await guids("--project", "acme/site", "--limit", "2") == ["g2", "g1"]
    assert await guids("--repository", "acme/blog") == ["blog"]
    assert await guids("--outcome", "ignored") == []
    told = await pushlane("deliveries", "--outcome", "ignored")
    assert (told.code, told.out, told.err) == (0, "", "no deliveries match\n")
    told = await pushlane("deliveries", "--outcome", "lost")
    assert told.code == 2
    assert "it takes recorded, repeated" in told.err
    told = await pushlane("deliveries", "--repository", "nope")
    assert (told.code, told.out) == (2, "")
    assert "'nope' is no repository; it takes OWNER/NAME" in told.err
    for words in (("g1", "--refused"), ("g1", "--project", "x"), ("--refused", "--project", "x")):
        assert (await pushlane("deliveries", *words)).code == 2


async def test_one_says_what_it_led_to_and_why(door: FrontDoor, pushlane: Pushlane) -> None:
    body = json.dumps(a_payload("A")).encode()
    id_ = (await door.send(body, guid="g")).json()["deployment"]
    told = await pushlane("deliveries", "g")
    assert told.code == 0
    fields = dict(line.split("  ", 1) for line in told.out.splitlines())
    found = {name: text.strip() for name, text in fields.items()}
    assert found.pop("received").endswith(" ago")
    assert found == {
        "delivery": "g",
        "event": "push",
        "repository": "acme/site",
        "project": "site",
        "ref": "refs/heads/main",
        "commit": commit("A")[:7],
        "outcome": "recorded",
        "rule": "a new push of a branch",
        "deployment": f"{id_} (received)",
        "answered": "202",
        "payload": f"{size_in_words(len(body))}, kept",
        "why": f"it led to {id_}; its source waits to be fetched",
    }
    await queued(door.ledger, await door.pushed("A"))
    await finished(door.ledger, id_)
    assert f"it led to {id_}; it is live\n" in (await pushlane("deliveries", "g")).out
    whole = json.loads((await pushlane("deliveries", "g", "--json")).out)
    assert (whole["status"], whole["payload_kept"]) == ("ready", True)
    told = await pushlane("deliveries", "other")
    assert told.code == 2
    assert "compare with the webhook's recent deliveries on GitHub" in told.err


async def test_the_beginning_of_a_guid_is_enough(door: FrontDoor, pushlane: Pushlane) -> None:
    first, second = (f"8f2c41d0-{each * 4}-11ef-8c3b-1d2e3f4a5b6c" for each in "12")
    other = "61b0e7aa-0000-11ef-8c3b-1d2e3f4a5b6c"
    for number, guid in enumerate((first, second, other)):
        await door.send(a_payload("A", branch=f"b{number}"), guid=guid)
    assert (await pushlane("deliveries", other[:8])).out.startswith(f"delivery    {other}\n")
    assert (await pushlane("redeliver", first[:11])).code == 0
    told = await pushlane("deliveries", first[:8])
    assert told.code == 2
    assert "2 deliveries begin with '8f2c41d0': give more of it (delivery_ambiguous)" in told.err
    assert "delivery_not_found" in (await pushlane("deliveries", other[:7])).err


@pytest.mark.parametrize("text", ["../../x", "../gc?dry_run=1#", "", "a/b", "x" * 65, "é"])
async def test_what_is_no_guid_never_reaches_the_server(text: str, pushlane: Pushlane) -> None:
    told = await pushlane("redeliver", text)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"error: {text!r} is no GUID")


async def test_at_a_terminal_a_row_fits_and_guids_are_short_where_that_is_enough(
    door: FrontDoor, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = "8f2c41d0-0000-11ef-8c3b-1d2e3f4a5b6c"
    await door.send(a_payload("A", branch="a-branch-with-a-long-name"), guid=one)
    await door.send({"action": "created"}, event="star", guid="61b0e7aa")
    assert one in (await pushlane("deliveries")).out
    monkeypatch.setenv("COLUMNS", "80")
    _, screen = await asyncio.to_thread(at_terminal, "deliveries", alone=False)
    lines = screen.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[7] == "8f2c41d0"


async def test_what_a_restoration_could_not_bring_back_is_said(
    door: FrontDoor, pushlane: Pushlane
) -> None:
    restores = door.ledger.restores
    await restores.begin("token")
    now = int(time.time() * 1000)
    await restores.end("token", Progress(begun_at=now, ended_at=now, deployments=1), noted=True)
    told = await pushlane("deliveries")
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith("this Redis was restored ")
    assert "the deliveries before that were lost" in told.err


async def test_what_was_refused_is_counted_and_shown(door: FrontDoor, pushlane: Pushlane) -> None:
    told = await pushlane("deliveries", "--refused")
    assert (told.code, told.out) == (0, "")
    assert told.err == "nothing was refused in the last 30 days\n"
    for number in range(2):
        await door.send(a_payload("A"), guid=f"g{number}", headers={"X-Hub-Signature-256": WRONG})
    await door.send(b"{", guid="g2", headers={"X-GitHub-Event": "\x1b[2J"})
    await door.ledger.refusals.aclose()
    told = await pushlane("deliveries", "--refused")
    assert told.code == 0
    assert told.out.startswith("signature_invalid  2\nevent_missing      1\n\nAGE ")
    rows = [line.split() for line in told.out.splitlines()[4:]]
    assert rows[0][2:] == ["event_missing", "127.0.0.1", "?[2J", "g2"]
    assert rows[1][2:] == ["signature_invalid", "127.0.0.1", "push", "acme/site", "g1"]
    assert "what the sender claims" in told.err
    found = json.loads((await pushlane("deliveries", "--refused", "--json")).out)
    assert found["counts"] == {"signature_invalid": 2, "event_missing": 1}
    assert [each["guid"] for each in found["newest"]] == ["g2", "g1", "g0"]


async def test_redeliver_decides_anew_and_says_what_became_of_it(
    door: FrontDoor, pushlane: Pushlane
) -> None:
    id_ = (await door.send(a_payload("A"), guid="g")).json()["deployment"]
    told = await pushlane("redeliver", "g")
    assert (told.code, told.out) == (0, f"{id_}\n")
    assert told.err.startswith(f"repeated: it led to {id_}; its source waits to be fetched; ")
    assert told.err.endswith(f"to build it anew: pushlane redeploy {id_}\n")
    found = json.loads((await pushlane("redeliver", "g", "--json")).out)
    assert (found["deployment"], found["outcome"]) == (id_, "repeated")

    await door.send({"zen": "…"}, event="ping", guid="ping")
    told = await pushlane("redeliver", "ping")
    assert (told.code, told.out) == (0, "")
    assert told.err == "ignored: nothing was built (ping: the webhook works)\n"
    assert (await pushlane("redeliver", "other")).code == 2


async def test_redeliver_of_what_is_not_kept_says_where_to_do_it(
    door: FrontDoor, pushlane: Pushlane
) -> None:
    await door.send(a_payload("A"), guid="g")
    await redis_of(door.ledger).delete(keys.payload(door.settings.redis_prefix, "g"))
    told = await pushlane("redeliver", "g")
    assert (told.code, told.out) == (2, "")
    assert "redeliver it from the webhook's settings on GitHub (payload_not_kept)" in told.err
    assert "not kept\n" in (await pushlane("deliveries", "g")).out
