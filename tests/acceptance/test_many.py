"""Many pushes at once: nothing twice, in order, the newest of each branch live at the end."""

from __future__ import annotations

import asyncio
import itertools

from tests.acceptance.house import PAGE, House, Record, branch_host, until

PROJECTS = 4
BRANCHES = ("main", "a", "b", "c", "d")


async def recorded(house: House, count: int) -> list[Record]:
    found: list[Record] = []

    async def all_there() -> bool:
        nonlocal found
        found = await house.deployments()
        return len(found) == count and all(each["status"] == "queued" for each in found)

    await until(all_there, seconds=60, why=lambda: f"{found}\n{house.log('bot')[-3000:]}")
    return found


async def test_twenty_pushes_to_four_projects_wait_in_order_and_two_workers_build_each_once(
    own_house: House, name: str
) -> None:
    house = own_house
    house.start_bot()
    await house.until_ready()
    worktrees = [house.repository(f"{name}-{number}") for number in range(PROJECTS)]
    pushes = itertools.product(range(PROJECTS), BRANCHES)

    async def push(number: int, branch: str) -> None:
        worktree = worktrees[number]
        worktree.write({"index.html": PAGE.format(f"{number} {branch} old")})
        await asyncio.to_thread(worktree.commit, branch)
        await asyncio.to_thread(worktree.push, branch)

    await asyncio.gather(*(_one_by_one(push, list(group)) for group in _by_project(pushes)))
    await house.github.settled()
    waiting = await recorded(house, PROJECTS * len(BRANCHES))
    # By the time of recording, newest first: an id is made a moment before that.
    order = [each["id"] for each in reversed(waiting)]
    production = {each["id"] for each in waiting if each["production"]}
    lists = (await house.call("GET", "/api/v1/queue")).json()["lists"]
    assert lists["high"] == [id_ for id_ in order if id_ in production]
    assert lists["build-queue"] == [id_ for id_ in order if id_ not in production]
    assert lists["fetch"] == []

    house.start_worker()
    house.start_worker()
    ended = [await house.ready(id_) for id_ in order]
    assert [each["attempts"]["build"] for each in ended] == [1] * len(order)
    by_start = sorted(ended, key=lambda each: str(each["building_at"]))
    # Two workers may claim in the other order than they popped, by one place.
    for place, each in enumerate(sorted(ended, key=lambda each: each["id"] not in production)):
        assert abs(by_start.index(each) - place) <= 1

    # And now newer ones, two of each branch at once: the newest is what is live.
    for word in ("newer", "newest"):
        for number, branch in itertools.product(range(PROJECTS), ("main", "a")):
            worktrees[number].write({"index.html": PAGE.format(f"{number} {branch} {word}")})
            await asyncio.to_thread(worktrees[number].commit, f"{branch} {word}")
            await asyncio.to_thread(worktrees[number].push, branch, force=True)
    await house.github.settled()

    async def quiet() -> bool:
        queue = (await house.call("GET", "/api/v1/queue")).json()
        return not queue["waiting"] and not queue["active"]

    await until(quiet, seconds=60)
    for each in await house.deployments():
        assert each["status"] in ("ready", "superseded"), each
        assert each["attempts"]["build"] <= 1
    for number, branch in itertools.product(range(PROJECTS), ("main", "a")):
        newest = (await house.deployments(project=f"{name}-{number}", branch=branch))[0]
        await house.shows(branch_host(newest), f"{number} {branch} newest")
    assert (await house.call("GET", "/api/v1/queue")).json()["verdict"] == "idle"


def _by_project(pushes: itertools.product[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    every = list(pushes)
    return [[each for each in every if each[0] == number] for number in range(PROJECTS)]


async def _one_by_one(push: object, group: list[tuple[int, str]]) -> None:
    for number, branch in group:
        await push(number, branch)  # type: ignore[operator]
