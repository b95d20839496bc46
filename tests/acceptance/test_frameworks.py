"""A few frameworks, each with another package manager, as `scripts/frameworks` tries them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.house import House
from tests.frameworks.catalogue import Pair, catalogue
from tests.frameworks.locks import with_lock
from tests.frameworks.repositories import files_of
from tests.frameworks.trying import attempt

KNOWN = catalogue()
QUICK = [pair for pair in KNOWN.pairs.values() if pair.quick]


@pytest.mark.parametrize("pair", QUICK, ids=lambda pair: pair.name)
async def test_a_site_is_built_as_it_is_and_shows_the_words_of_the_newest_push(
    house: House, pair: Pair, tmp_path: Path
) -> None:
    tools = house.directory / "kept" / "toolchains"
    files = await with_lock(pair, files_of(pair), kept=tmp_path, toolchains=tools)
    made = await attempt(house, KNOWN, pair, files)
    assert made.ok, made.why
    assert made.framework == KNOWN.sites[pair.site].framework
