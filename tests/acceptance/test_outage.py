"""GitHub's API is away for the whole of fifty deployments: all go live, and all is told later."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from tests.acceptance.house import PAGE, House, Record, branch_host, until

PROJECTS = 5
BRANCHES = ("main", *(f"topic-{number}" for number in range(9)))
LONGEST_PAUSE_SECONDS = 60
"""Between two posts for a commit that GitHub does not take."""


async def ended(house: House, ids: Sequence[str]) -> list[Record]:
    """Waits until all of them have ended; their records."""
    found: list[Record] = []

    async def all_ended() -> bool:
        nonlocal found
        every = {each["id"]: each for each in await house.deployments()}
        found = [every[id_] for id_ in ids]
        return all(each["ended_at"] for each in found)

    await until(all_ended, seconds=90, why=lambda: house.log("bot")[-3000:])
    return found


@pytest.mark.timeout(300)
async def test_fifty_deployments_go_live_and_each_commit_is_told_its_end_in_order(
    own_house: House, name: str
) -> None:
    house = own_house
    house.start_bot()
    house.start_worker()
    await house.until_ready()
    away = house.github.faults.add("*", "/statuses/", status=503, times=None)
    commits: dict[str, str] = {}
    for number in range(PROJECTS):
        worktree = house.repository(f"{name}-{number}")
        for branch in BRANCHES:
            worktree.write({"index.html": PAGE.format(f"{number} {branch}")})
            sha = await asyncio.to_thread(worktree.commit, branch)
            await asyncio.to_thread(worktree.push, branch)
            commits[sha] = f"{number} {branch}"
    await house.github.settled()
    ids = [(await house.of(sha))["id"] for sha in commits]
    records = await ended(house, ids)
    assert [each["status"] for each in records] == ["ready"] * PROJECTS * len(BRANCHES)
    for record in records:
        await house.shows(branch_host(record), commits[record["commit"]])
    assert away.hits > 0
    assert not house.github.world.statuses

    house.github.faults.clear()
    for sha in commits:
        seconds = 2 * LONGEST_PAUSE_SECONDS
        states = await house.states(sha, last="success", seconds=seconds)
        # What was on the way when GitHub came back may be told before its end, never after.
        assert states in (["success"], ["pending", "success"]), sha
    assert len(list(itertools.chain(house.github.world.statuses))) <= 2 * len(commits)
