"""What the gateway keeps and shares: memory, flights, blocks."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from bot.gateway.flights import Flights
from bot.gateway.located import BLOCK, Located, blocks, encoded, identity
from bot.gateway.memory import Memory


def test_memory_forgets_what_was_used_longest_ago() -> None:
    memory: Memory[str, int] = Memory(10)
    assert memory.put("a", 1, 4) == []
    memory.put("b", 2, 4)
    assert memory.get("a") == 1
    assert memory.put("c", 3, 4) == ["b"]
    assert memory.get("b") is None
    assert (memory.keys(), memory.weight) == (["a", "c"], 8)


def test_memory_weighs_a_new_value_in_place_of_the_old() -> None:
    memory: Memory[str, int] = Memory(10)
    memory.put("a", 1, 4)
    memory.put("a", 2, 6)
    assert (memory.get("a"), memory.weight) == (2, 6)


def test_memory_keeps_the_newest_even_if_it_is_too_heavy() -> None:
    memory: Memory[str, int] = Memory(10)
    memory.put("a", 1, 4)
    assert memory.put("b", 2, 11) == ["a"]
    assert memory.get("b") == 2


async def test_one_act_is_shared_by_all_who_wait_and_ends_for_none_who_leave() -> None:
    flights: Flights[int] = Flights()
    begun, go = 0, asyncio.Event()

    async def act() -> int:
        nonlocal begun
        begun += 1
        await go.wait()
        return begun

    waiting = [asyncio.create_task(flights.wait("k", act)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1, 1, 1]
    assert await flights.wait("k", act) == 2


async def test_an_act_that_was_forgotten_knows_it_and_the_next_begins_anew() -> None:
    flights: Flights[bool] = Flights()
    go = asyncio.Event()

    async def act() -> bool:
        await go.wait()
        return flights.flies("k")

    old = flights.join("k", act)
    await asyncio.sleep(0)
    flights.forget("k")
    new = flights.join("k", act)
    assert new is not old
    go.set()
    assert (await old, await new) == (False, True)


async def test_what_an_act_raises_is_raised_to_all_and_kept_for_nobody() -> None:
    flights: Flights[int] = Flights()

    async def fail() -> int:
        raise OSError("no")

    async def succeed() -> int:
        return 1

    waiting = [flights.wait("k", fail) for _ in range(3)]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(each, OSError) for each in found)
    assert await flights.wait("k", succeed) == 1


async def test_closing_ends_what_is_under_way() -> None:
    flights: Flights[bool] = Flights()
    flight = flights.join("k", asyncio.Event().wait)
    await flights.aclose()
    assert flight.cancelled()


def test_a_content_has_one_name_and_each_compressed_form_of_it_another() -> None:
    assert identity("ab", "p", 0, 9).key == identity("ab", "q", 5, 9).key
    forms = [encoded("p", 0, 9), encoded("q", 0, 9), encoded("p", 1, 9), encoded("p", 0, 8)]
    assert len({form.key for form in forms}) == 4


def a_content(length: int) -> Located:
    return Located("k", "pack", 1000, length, "hash")


def test_what_fits_into_a_block_is_read_whole() -> None:
    content = a_content(BLOCK)
    assert list(blocks(content, 5, 9)) == [(content, 5, 9)]
    assert list(blocks(a_content(0), 0, 0)) == [(a_content(0), 0, 0)]


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 3 * BLOCK + 7),
        (0, 1),
        (BLOCK - 1, BLOCK + 1),
        (BLOCK, 2 * BLOCK),
        (3 * BLOCK, 3 * BLOCK + 7),
        (3 * BLOCK + 6, 3 * BLOCK + 7),
    ],
)
def test_the_blocks_of_a_part_are_the_fewest_and_join_to_it(start: int, stop: int) -> None:
    content = a_content(3 * BLOCK + 7)
    found = list(blocks(content, start, stop))
    taken = [
        (block.offset - content.offset + first, block.offset - content.offset + last)
        for block, first, last in found
    ]
    assert (taken[0][0], taken[-1][1]) == (start, stop)
    assert all(before[1] == after[0] for before, after in pairwise(taken))
    assert all(first < last <= block.length <= BLOCK for block, first, last in found)
    assert all(block.offset + block.length <= 1000 + content.length for block, _, _ in found)
    assert len({block.key for block, _, _ in found}) == len(found)
    assert not any(block.remembered or block.sha256 for block, _, _ in found)
