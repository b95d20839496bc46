"""Redeploy, cancel, promote, roll back, unpin: by API and by the command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.house import PAGE, House, Record, own_label, until

PUSHLANE = Path(sys.executable).with_name("pushlane")


async def command(house: House, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Runs `pushlane`; answers what it wrote to stdout and stderr."""
    environ = {**os.environ, "PUSHLANE_URL": house.url, "PUSHLANE_TOKEN": house.token}
    process = await asyncio.create_subprocess_exec(
        PUSHLANE, *arguments, env=environ, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == code, (process.returncode, out, err)
    return out.decode(), err.decode()


async def as_json(house: House, *arguments: str, code: int = 0) -> Any:
    """What `pushlane … --json` prints."""
    out, _ = await command(house, *arguments, "--json", code=code)
    assert len(out.splitlines()) == 1
    return json.loads(out)


async def two_releases(house: House, name: str) -> tuple[Any, Record, Record]:
    worktree = house.repository(name)
    first = await house.ready(await house.push(worktree, {"index.html": PAGE.format("one")}))
    second = await house.ready(await house.push(worktree, {"index.html": PAGE.format("two")}))
    await house.shows(second["project"], "two")
    return worktree, first, second


async def test_rollback_by_api_builds_nothing_pins_and_a_later_push_says_so(
    house: House, name: str
) -> None:
    worktree, first, second = await two_releases(house, name)
    project = first["project"]
    answer = await house.call("POST", f"/api/v1/projects/{project}/rollback")
    assert answer.status_code == 200
    moved = answer.json()
    assert (moved["deployment"], moved["previous"]) == (first["id"], second["id"])
    assert moved["pinned"]
    await house.shows(project, "one", seconds=1)
    assert len(await house.deployments(project=project)) == 2

    sha = await house.push(worktree, {"index.html": PAGE.format("three")})
    third = await house.ready(sha)
    assert third["reason"] == "built, not live: production is pinned"
    assert "one" in (await house.get(project)).text
    assert "three" in (await house.get(own_label(third))).text
    await house.states(sha, last="success")
    assert "production is pinned" in str(house.github.statuses(sha)[-1].description)

    unpinned = (await house.call("POST", f"/api/v1/projects/{project}/unpin")).json()
    assert (unpinned["deployment"], unpinned["pinned"]) == (third["id"], False)
    await house.shows(project, "three", seconds=1)


async def test_promote_and_roll_back_and_unpin_by_command(house: House, name: str) -> None:
    _, first, second = await two_releases(house, name)
    project = first["project"]
    moved = await as_json(house, "promote", first["id"])
    assert (moved["deployment"], moved["pinned"]) == (first["id"], True)
    await house.shows(project, "one", seconds=1)
    moved = await as_json(house, "unpin", name)
    assert (moved["deployment"], moved["pinned"]) == (second["id"], False)
    await house.shows(project, "two", seconds=1)
    out, _ = await command(house, "rollback", project)
    assert out.splitlines()[-1].endswith(f"{project}.localhost:{house.port}")
    await house.shows(project, "one", seconds=1)
    # Promoting the newest lets production follow pushes again.
    moved = await as_json(house, "promote", second["id"])
    assert not moved["pinned"]


async def test_a_redeploy_of_an_old_commit_moves_only_its_own_host(house: House, name: str) -> None:
    _, first, second = await two_releases(house, name)
    out, err = await command(house, "redeploy", first["id"])
    assert out.splitlines()[-1].startswith("http://")
    newest = (await house.deployments(project=first["project"]))[0]
    assert newest["redeploy_of"] == first["id"], err
    assert newest["commit"] == first["commit"]
    assert "one" in (await house.get(own_label(newest))).text
    assert "two" in (await house.get(first["project"])).text
    assert "not live" in newest["reason"]
    again = await as_json(house, "redeploy", second["id"])
    assert again["live"]


async def test_deploy_by_command_shows_the_way_and_ends_with_the_url(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    house.github.hook.enabled = False
    try:
        await house.push(worktree, {"index.html": PAGE.format("typed")})
    finally:
        house.github.hook.enabled = True
    out, err = await command(house, "deploy", f"{name}@main")
    assert len(out.splitlines()) == 1
    for stage in ("fetching", "building", "publishing"):
        assert stage in err.lower()
    record = (await as_json(house, "list", "--project", name))["deployments"][0]
    assert out.strip() in (record["url"], record["urls"]["production"])
    assert (await as_json(house, "status", name))["id"] == record["id"]
    log, _ = await command(house, "logs", record["id"])
    assert "Fetched" in log


async def test_deploy_of_what_fails_exits_with_1_and_says_why(house: House, name: str) -> None:
    worktree = house.repository(name)
    toml = '[build]\ncommand = "echo the reason; exit 3"\n'
    house.github.hook.enabled = False
    try:
        await house.push(worktree, {"pushlane.toml": toml})
    finally:
        house.github.hook.enabled = True
    _, err = await command(house, "deploy", name, code=1)
    assert "build_failed" in err
    assert "the reason" in err
    failed = await as_json(house, "deploy", f"{name}@no-such-branch", code=1)
    assert failed["error"]["code"] == "ref_not_found"
    await command(house, "status", "dzzzzzzzzzzzzzzzz", code=2)


async def test_a_build_is_cancelled_by_command_and_its_sandbox_dies(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    mark = "46511"
    toml = f'[build]\ncommand = "echo begun; sleep {mark}"\n'
    sha = await house.push(worktree, {"pushlane.toml": toml})
    id_ = (await house.of(sha))["id"]

    async def begun() -> bool:
        return "begun" in (await house.build_log(id_)).splitlines()

    await until(begun)
    await command(house, "cancel", id_)
    record = await house.ended(id_, seconds=6 / 3 + 3)
    assert record["status"] == "cancelled"
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert mark.encode() not in path.read_bytes().split(b"\0")
        except OSError:
            continue
    assert await house.states(sha, last="error")
    await command(house, "cancel", id_)
    other = await house.ready(
        await house.push(worktree, {"pushlane.toml": None, "index.html": PAGE.format("x")})
    )
    answer = await house.call("POST", f"/api/v1/deployments/{other['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


async def test_the_queue_is_told_by_command(house: House) -> None:
    found = await as_json(house, "queue")
    assert found["verdict"] in ("idle", "normal")
    assert set(found["lists"]) == {"fetch", "high", "build-queue"}
    out, _ = await command(house, "queue")
    assert found["verdict"] in out


async def test_making_room_takes_nothing_that_is_shown_or_young(house: House, name: str) -> None:
    _, first, second = await two_releases(house, name)
    found = await as_json(house, "gc", "--dry-run")
    assert (found["complete"], found["stopped"]) == (True, "")
    assert found["kept"]["releases"]["count"] >= 2
    assert not found["condemned"].get("releases")
    out, _ = await command(house, "gc")
    assert out.splitlines()[1].split()[0] == "releases"
    await house.shows(own_label(first), "one", seconds=1)
    await house.shows(second["project"], "two", seconds=1)
