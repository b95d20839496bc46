"""Forty seconds of storm, and a crash in each part of the way: nothing lost, twice, or stale."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chaos import ways
from tests.chaos import ways_of_keeping as keeping
from tests.chaos.crashes import FailingHouse, a_failing_house
from tests.chaos.failpoints import FAILPOINTS, Failpoint, survive
from tests.conftest import S3
from tests.standin import StandIn

_CHOSEN = {
    ("bot", "after record", ways.Way),
    ("bot", "after archive", ways.Way),
    ("bot", "after post", ways.Way),
    ("bot", "after saved", ways.Way),
    ("bot", "after merge", keeping.Lost),
    ("bot", "after delete", keeping.CollectWhatIsDue),
    ("bot", "after record", keeping.Untold),
    ("worker", "after wait", ways.Way),
    ("worker", "after upload", ways.Way),
    ("worker", "after finish", ways.Way),
}
CHOSEN = [each for each in FAILPOINTS if (each.module, each.point, each.way) in _CHOSEN]
"""Some of each part; `scripts/chaos --failpoints` tries them all, which takes some minutes."""


@pytest.fixture(scope="session")
def failing(
    tmp_path_factory: pytest.TempPathFactory, valkey: str, seaweedfs: S3
) -> Iterator[FailingHouse]:
    """A house whose processes die when they are told to, for the whole session."""
    directory = tmp_path_factory.mktemp("failing")
    github = StandIn(directory / "github")
    asyncio.run(github.__aenter__())
    house = a_failing_house(directory, redis_url=valkey, s3=seaweedfs, github=github)
    try:
        house.start_bot()
        house.start_worker()
        asyncio.run(house.until_ready())
        yield house
    finally:
        house.close()
        asyncio.run(github.__aexit__(None, None, None))


@pytest.fixture
async def failing_house(failing: FailingHouse) -> AsyncIterator[FailingHouse]:
    """The same, with nobody dead or frozen after the test, whatever came of it."""
    yield failing
    await failing.revive()


@pytest.mark.parametrize("failpoint", CHOSEN, ids=[each.name for each in CHOSEN])
async def test_a_process_dies_at_a_named_point_and_the_deployment_ends_right(
    failing_house: FailingHouse, failpoint: Failpoint
) -> None:
    await survive(failing_house, failpoint)


def test_a_failpoint_of_each_part_is_among_those_that_are_always_tried() -> None:
    assert len(CHOSEN) == len(_CHOSEN)
    assert len({(each.module, each.point, each.way) for each in FAILPOINTS}) == len(FAILPOINTS) > 70
