"""A thousand pushes in a minute: all are taken, and the newest of each branch goes live."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter

import pytest

from tests.acceptance.house import PAGE, House, Record, branch_host, until
from tests.standin import Worktree, push_payload

PROJECTS = 2
BRANCHES = ("main", "a", "b", "c", "d")
COMMITS = 100
AT_ONCE = 20


def history(worktree: Worktree, words: str) -> list[str]:
    """So many commits, all branches at the last of them; GitHub says nothing of it."""
    found = []
    for number in range(COMMITS):
        worktree.write({"index.html": PAGE.format(f"{words} {number}")})
        found.append(worktree.commit(f"{number}"))
    for branch in BRANCHES:
        worktree.push(branch)
    return found


async def every_deployment(house: House) -> list[Record]:
    found: list[Record] = []
    query = {"limit": "100"}
    while True:
        page = (await house.call("GET", "/api/v1/deployments", params=query)).json()
        found += page["deployments"]
        if not page["cursor"]:
            return found
        query["cursor"] = page["cursor"]


@pytest.mark.timeout(300)
async def test_a_thousand_pushes_coalesce_to_the_newest_of_each_branch(
    own_house: House, name: str
) -> None:
    house = own_house
    house.start_bot()
    house.start_worker()
    await house.until_ready()
    alone = house.repository(f"{name}-alone")
    house.github.hook.enabled = False
    names = [f"{name}-{number}" for number in range(PROJECTS)]
    commits = {
        each: await asyncio.to_thread(history, house.repository(each), each) for each in names
    }
    began = int(time.time())
    few = asyncio.Semaphore(AT_ONCE)

    async def deliver(repository: str, branch: str, number: int) -> int:
        shas = commits[repository]
        payload = push_payload(
            repository=repository,
            repository_id=house.github.repository(repository).id,
            ref=f"refs/heads/{branch}",
            before=shas[number - 1] if number else "0" * 40,
            after=shas[number],
            pushed_at=began + number,
        )
        async with few:
            sent = await house.github.send_event("push", json.dumps(payload).encode())
        return sent.status_code

    pushes = itertools.product(range(COMMITS), names, BRANCHES)
    crowd = [
        asyncio.create_task(deliver(repository, branch, number))
        for number, repository, branch in pushes
    ]
    house.github.hook.enabled = True
    beside = await house.ready(
        await house.push(alone, {"index.html": PAGE.format("not starved")}), seconds=60
    )
    await house.shows(beside["project"], "not starved")
    answers = Counter(await asyncio.gather(*crowd))
    assert answers == {202: PROJECTS * len(BRANCHES) * COMMITS}

    async def quiet() -> bool:
        queue = (await house.call("GET", "/api/v1/queue")).json()
        return not queue["waiting"] and not queue["active"]

    await until(quiet, seconds=120, why=lambda: house.log("bot")[-2000:])
    for repository, branch in itertools.product(names, BRANCHES):
        newest = (await house.deployments(project=repository, branch=branch))[0]
        assert (newest["commit"], newest["status"]) == (commits[repository][-1], "ready")
        await house.shows(branch_host(newest), f"{repository} {COMMITS - 1}")
    ends = Counter(each["status"] for each in await every_deployment(house))
    assert ends.keys() <= {"ready", "superseded"}
    assert ends["superseded"] > ends["ready"]
    assert sum(ends.values()) == sum(answers.values()) + 1
