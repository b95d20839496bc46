"""One command in the sandbox: its streams, its limits, and an end that leaves nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bot.core.errors import Errored
from tests.sandboxes import LIMITS, Zombies, alive, lasting, shell
from worker.sandbox import Limits, Outcome, Sandbox, Workspace


async def test_a_command_exits_with_its_own_code_and_both_its_streams(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    outcome, said = await shell(sandbox, workspace, "echo out; echo err >&2; exit 7")
    assert (outcome.exit_code, outcome.killed) == (7, "")
    assert sorted(said.split()) == ["err", "out"]


async def test_memory_beyond_the_limit_kills(sandbox: Sandbox, workspace: Workspace) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=96)
    eat = "x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo survived"
    outcome, said = await shell(sandbox, workspace, eat, limits=limits)
    assert outcome.killed == "memory"
    assert outcome.exit_code != 0
    assert "survived" not in said


async def test_a_fork_bomb_is_contained_and_named(sandbox: Sandbox, workspace: Workspace) -> None:
    limits = Limits(timeout_seconds=25, memory_mb=1024, processes=100)
    mark = f"f{os.getpid()}"
    bomb = f"bash -c '{mark}() {{ {mark} | {mark} & }}; {mark}; sleep 20; exit 1' 2>/dev/null"
    begun = time.monotonic()
    running = asyncio.ensure_future(shell(sandbox, workspace, bomb, limits=limits))
    pause = 0.0
    while not running.done():
        before = time.monotonic()
        await asyncio.wait([running], timeout=0.05)
        pause = max(pause, time.monotonic() - before)
    outcome, _ = await running
    assert outcome.killed == "processes"
    assert time.monotonic() - begun < 24
    assert pause < 2
    assert alive(f"bash -c {mark}()") == []


@pytest.mark.parametrize("ended_by", ["timeout", "stopped", ""])
async def test_nothing_survives_the_end_not_even_what_detached_itself(
    sandbox: Sandbox, workspace: Workspace, ended_by: str
) -> None:
    mark = lasting(54)
    wait = "" if ended_by == "" else "; sleep 60"
    script = f"setsid sh -c '(trap \"\" TERM HUP; {mark}) & {mark}' >/dev/null 2>&1 & echo on{wait}"
    stop, zombies = asyncio.Event(), Zombies()
    limits = Limits(timeout_seconds=1 if ended_by == "timeout" else 30, memory_mb=256)
    running = asyncio.ensure_future(shell(sandbox, workspace, script, limits=limits, stop=stop))
    asked = 0.0
    if ended_by == "stopped":
        while len(alive(mark)) < 2:
            await asyncio.sleep(0.01)
        asked = time.monotonic()
        stop.set()
    outcome, said = await running
    if ended_by == "stopped":
        assert time.monotonic() - asked < 1
    assert outcome.killed == ended_by
    assert outcome.exit_code == (0 if ended_by == "" else 137)
    assert said == "on\n"
    assert alive(mark) == []
    assert zombies.found() == []


async def test_a_stop_that_is_set_before_the_start_stops(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    stop = asyncio.Event()
    stop.set()
    outcome, _ = await shell(sandbox, workspace, "sleep 20", stop=stop)
    assert outcome.killed == "stopped"
    assert outcome.seconds < 1


async def test_the_workspace_holds_no_more_than_it_may(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=256, work_mb=40)
    script = (
        "i=0; while head -c 1000000 /dev/zero > /tmp/f$i; do i=$((i+1)); sleep 0.01; done; exit 3"
    )
    outcome, _ = await shell(sandbox, workspace, script, limits=limits)
    assert outcome.killed == "disk"
    assert outcome.exit_code != 0


@pytest.mark.parametrize("sized", [True, False])
async def test_the_workspace_holds_no_more_files_than_it_may(
    sandbox: Sandbox, workspace: Workspace, sized: bool
) -> None:
    workspace = replace(workspace, sized=sized and workspace.sized)
    limits = Limits(timeout_seconds=30, memory_mb=256, work_files=300)
    script = "i=0; while echo > /tmp/f$i; do i=$((i+1)); sleep 0.001; done; exit 3"
    outcome, _ = await shell(sandbox, workspace, script, limits=limits)
    assert outcome.killed == "disk"


async def test_files_of_the_workspace_do_not_eat_the_memory_limit(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=200)
    script = "for i in 1 2 3 4 5 6; do head -c 60000000 /dev/zero > f$i; sleep 0.25; done"
    outcome, said = await shell(sandbox, workspace, script, limits=limits)
    assert (outcome.exit_code, outcome.killed) == (0, ""), said


HOLDS_SHARED = (
    "import mmap,time; m=mmap.mmap(-1,{size}); "
    "[m.write(bytes(1000000)) for _ in range({size}//1000000)]; time.sleep({wait})"
)


async def test_shared_memory_is_memory(sandbox: Sandbox, workspace: Workspace) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=96)
    script = f"python3 -c '{HOLDS_SHARED.format(size=400_000_000, wait=0)}' && echo survived"
    outcome, said = await shell(sandbox, workspace, script, limits=limits)
    assert outcome.killed == "memory"
    assert "survived" not in said


async def test_what_files_took_is_no_memory_when_they_are_gone(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=96)
    files = "for i in 1 2 3 4 5 6 7 8; do head -c 50000000 /dev/zero > f$i; sleep 0.25; done"
    shared = f"python3 -c '{HOLDS_SHARED.format(size=300_000_000, wait=20)}'"
    script = f"{files}; rm f*; echo gone; {shared} && echo survived"
    outcome, said = await shell(sandbox, workspace, script, limits=limits)
    assert outcome.killed == "memory"
    assert "gone" in said
    assert "survived" not in said


async def test_files_of_an_earlier_command_give_a_later_one_no_memory(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=96)
    files = "for i in 1 2 3 4 5 6 7 8; do head -c 50000000 /dev/zero > f$i; sleep 0.25; done"
    first, _ = await shell(sandbox, workspace, files, limits=limits)
    script = f"python3 -c '{HOLDS_SHARED.format(size=300_000_000, wait=0)}' && echo survived"
    second, said = await shell(sandbox, workspace, script, limits=limits)
    third, _ = await shell(sandbox, workspace, "head -c 1000000 f8 > g", limits=limits)
    assert [each.killed for each in (first, second, third)] == ["", "memory", ""]
    assert "survived" not in said


async def test_dev_shm_takes_half_of_the_memory_and_dev_nothing(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=256)
    script = "head -c 300000000 /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x; echo > /dev/x"
    outcome, said = await shell(sandbox, workspace, script, limits=limits)
    assert str(128 * 1024 * 1024) in said.split()
    assert (outcome.exit_code, outcome.killed) == (2, ""), said


async def test_an_output_that_cannot_be_taken_kills_and_is_raised_again(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    async def refuse(_: bytes) -> None:
        raise Errored("the log is gone", code="log_gone")

    mark = lasting(55)
    with pytest.raises(Errored, match="the log is gone"):
        await sandbox.execute(
            f"{mark} & echo x; {mark}",
            workspace=workspace,
            environment={},
            limits=LIMITS,
            on_output=refuse,
        )
    assert alive(mark) == []


async def test_a_cancelled_execution_leaves_nothing(sandbox: Sandbox, workspace: Workspace) -> None:
    mark, zombies = lasting(56), Zombies()
    running = asyncio.ensure_future(shell(sandbox, workspace, f"{mark} & {mark}"))
    while not alive(mark):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert alive(mark) == []
    assert zombies.found() == []


async def test_output_waits_for_its_receiver(sandbox: Sandbox, workspace: Workspace) -> None:
    taken = 0
    gate = asyncio.Event()

    async def hear(chunk: bytes) -> None:
        nonlocal taken
        taken += len(chunk)
        await gate.wait()

    running = asyncio.ensure_future(
        sandbox.execute(
            "head -c 20000000 /dev/zero; touch done",
            workspace=workspace,
            environment={},
            limits=LIMITS,
            on_output=hear,
        )
    )
    while not taken:
        await asyncio.sleep(0.01)
    await asyncio.wait([running], timeout=0.3)
    assert taken < 2_000_000
    assert not (workspace.path / "source" / "done").exists()
    gate.set()
    assert (await running).exit_code == 0
    assert taken == 20_000_000


async def test_standard_input_is_fed_whole_and_an_early_end_is_no_error(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 50_000

    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    async def fed(command: str) -> Outcome:
        return await sandbox.execute(
            command,
            workspace=workspace,
            environment={},
            limits=LIMITS,
            stdin=content(),
            on_output=hear,
        )

    assert (await fed("wc -c")).exit_code == 0
    assert int(said) == 10_000_000
    assert (await fed("head -c 10 >/dev/null; exit 4")).exit_code == 4


async def test_an_input_that_breaks_off_raises_and_ends_the_command(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"some"
        raise Errored("the archive is cut", code="archive_cut")

    mark = lasting(59)
    with pytest.raises(Errored, match="the archive is cut"):
        await sandbox.execute(
            f"cat > got; touch complete; {mark}",
            workspace=workspace,
            environment={},
            limits=LIMITS,
            stdin=content(),
            on_output=None,
        )
    assert alive(mark) == []


async def test_a_workspace_is_removed_with_what_was_locked_in_it(sandbox: Sandbox) -> None:
    async with sandbox.workspace() as workspace:
        await shell(sandbox, workspace, "mkdir -p a/b && touch a/b/c && chmod 0 a/b a")
        assert workspace.path.exists()
    assert not workspace.path.exists()
