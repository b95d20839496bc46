"""What is kept of toolchains: remembered, used, and pruned by size."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bot.core.errors import Errored
from worker.toolchain.kept import once, prune, remembered, used


async def fill(cache: Path, name: str, *, age: float) -> None:
    async with once(cache, name) as (directory, ready):
        assert not ready
        (directory / "program").write_bytes(b"x" * 100_000)
    then = time.time() - age
    os.utime(cache / name, (then, then))


async def test_what_was_used_least_recently_goes_first_and_only_until_the_rest_fits(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("oldest", "older", "newer")):
        await fill(tmp_path, name, age=5000 - 1000 * number)
    assert prune(tmp_path, most_bytes=250_000, spared_seconds=100) == ["oldest"]
    assert {each.name for each in tmp_path.glob("[!.]*")} == {"older", "newer"}
    assert prune(tmp_path, most_bytes=250_000, spared_seconds=100) == []


async def test_what_a_build_may_be_using_stays_whatever_its_size(tmp_path: Path) -> None:
    await fill(tmp_path, "node-1.0.0", age=5000)
    assert used(tmp_path, "node-1.0.0")
    assert prune(tmp_path, most_bytes=0, spared_seconds=100) == []
    assert (tmp_path / "node-1.0.0/program").exists()


async def test_what_is_being_fetched_stays_and_what_a_killed_process_began_goes(
    tmp_path: Path,
) -> None:
    (tmp_path / ".left.part").mkdir()
    async with once(tmp_path, "node-1.0.0") as (directory, _):
        prune(tmp_path, most_bytes=0, spared_seconds=0)
        assert directory.is_dir()
    assert (tmp_path / "node-1.0.0").is_dir()
    assert not (tmp_path / ".left.part").exists()


async def test_what_could_not_be_filled_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="away"):
        async with once(tmp_path, "x"):
            raise OSError("away")
    assert not used(tmp_path, "x")


async def test_an_old_answer_serves_while_the_registry_is_away(tmp_path: Path) -> None:
    async def answer() -> str:
        return "1.0.0"

    async def away() -> str:
        raise Errored("the registry is away", code="registry_failed")

    assert await remembered(tmp_path, "key", answer) == "1.0.0"
    assert await remembered(tmp_path, "key", away, seconds=0) == "1.0.0"
    with pytest.raises(Errored):
        await remembered(tmp_path, "another", away)
