"""What a build sees of the machine and the network: nothing that is not shown to it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes import LIMITS, shell
from worker.sandbox import Mount, Sandbox, Workspace


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of something on the machine's loopback that a build must not reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_the_self_test_finds_every_wall_in_place(sandbox: Sandbox) -> None:
    findings = await sandbox.self_test()
    limits = "limits by cgroup"
    assert [each for each in findings if not each.ok and each.name != limits] == []
    assert len(findings) == 7


async def test_the_build_is_nobody_in_a_place_of_its_own(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    (workspace.path / "source").mkdir(exist_ok=True)
    script = (
        "id -un; id -u; pwd; echo $HOME; touch $HOME/a /tmp/b ../c && echo wrote; "
        "ls /root /run/user /var/lib 2>/dev/null; ls /proc | grep -c '^[0-9]'"
    )
    _, said = await shell(sandbox, workspace, f"cd /work/source; {script}")
    assert said.split()[:5] == ["build", "1000", "/work/source", "/work/home", "wrote"]
    assert int(said.split()[-1]) < 10
    assert (workspace.temporary / "b").exists()
    if os.geteuid() == 0:
        assert workspace.owner is not None
        assert (workspace.path / "c").stat().st_uid == workspace.owner.uid != 0


async def test_our_environment_is_in_no_process_inside(tmp_path: Path) -> None:
    environment = {**os.environ, "PUSHLANE_SECRET_KEY": "open-sesame"}
    made = Sandbox(kind="bubblewrap", scratch=tmp_path, egress="public", environment=environment)
    await made.start()
    try:
        async with made.workspace() as workspace:
            script = "env; cat /proc/*/environ /proc/*/cmdline"
            _, said = await shell(made, workspace, script, environment={"GIVEN": "yes-it-is"})
            _, argv = await shell(made, workspace, "cat /proc/*/cmdline", environment={"G": "hid"})
    finally:
        await made.aclose()
    assert "GIVEN=yes-it-is" in said
    assert "open-sesame" not in said
    assert "hid" not in argv


@pytest.mark.parametrize(
    "command",
    [
        "echo x > /proc/sys/kernel/core_pattern",
        "cat /proc/1/root/etc/shadow",
        "cat /etc/shadow",
        "mount -t tmpfs none /tmp",
        "unshare --user --map-root-user true",
        "touch /usr/x || touch /etc/x || touch /x",
        "kill -9 1 && sleep 1 && kill -0 1 && false",
        "ls /sys/fs/cgroup/memory",
        "dmesg",
    ],
)
async def test_a_way_out_is_shut(sandbox: Sandbox, workspace: Workspace, command: str) -> None:
    outcome, said = await shell(sandbox, workspace, command)
    assert outcome.exit_code not in (0, 127), said


async def test_loopback_of_the_machine_is_out_of_reach_both_ways_and_named(
    sandbox: Sandbox, workspace: Workspace, listener: int
) -> None:
    script = (
        f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{listener}' 2>/dev/null && echo reached; "
        f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; "
        f'printf "CONNECT localhost:{listener} HTTP/1.1\\r\\n\\r\\n" >&3; head -n 1 <&3\''
    )
    outcome, said = await shell(sandbox, workspace, script)
    assert "reached" not in said
    assert "403" in said
    assert outcome.refused_hosts == (f"localhost:{listener}",)


async def test_what_one_execution_was_refused_is_not_said_of_another(
    sandbox: Sandbox, workspace: Workspace, listener: int
) -> None:
    script = (
        f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; "
        f'printf "GET http://127.0.0.1:{listener}/ HTTP/1.1\\r\\n\\r\\n" >&3; cat <&3\''
    )
    async with sandbox.workspace() as other:
        (first, said), (second, _) = await asyncio.gather(
            shell(sandbox, workspace, script), shell(sandbox, other, "sleep 0.3")
        )
    assert "private or local network" in said
    assert first.refused_hosts == (f"127.0.0.1:{listener}",)
    assert second.refused_hosts == ()


async def test_without_network_there_is_no_proxy(sandbox: Sandbox, workspace: Workspace) -> None:
    script = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128'; echo $?; env | grep -ci _proxy"
    _, said = await shell(sandbox, workspace, script, network=False)
    assert said.split()[-2:] == ["1", "0"]


async def test_unix_sockets_of_the_machine_are_out_of_reach(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as abstract:
        path = str(tmp_path / "s")
        named.bind(path)
        named.listen()
        Path(path).chmod(0o777)
        name = f"pushlane-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        _, said = await shell(sandbox, workspace, f"ls {path}; cat /proc/net/unix; true")
    assert "cannot access" in said
    assert name not in said


async def test_a_real_package_is_installed_through_the_proxy(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    script = "npm init -y >/dev/null && npm install --no-audit --no-fund is-number"
    outcome, said = await shell(sandbox, workspace, script)
    assert outcome.exit_code == 0, said
    assert outcome.refused_hosts == ()
    assert (workspace.path / "source/node_modules/is-number/index.js").exists()


async def test_mounts_are_shown_where_they_are_asked_for(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    tool = tmp_path / "closed" / "tool"
    cache = tmp_path / "closed" / "cache"
    tool.mkdir()
    cache.mkdir()
    (tool / "hello").write_text("#!/bin/sh\necho hello\n")
    (tool / "hello").chmod(0o755)
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    outcome = await sandbox.execute(
        f"hello; touch {tool}/x || echo shut; echo kept > /work/cache/y; ls {tool.parent}",
        workspace=workspace,
        environment={"PATH": f"{tool}:/usr/bin:/bin"},
        limits=LIMITS,
        mounts=[Mount(tool, str(tool)), Mount(cache, "/work/cache", writable=True)],
        on_output=hear,
    )
    assert outcome.exit_code == 0, said
    assert said.decode().split()[0] == "hello"
    assert "shut" in said.decode()
    assert said.decode().split()[-1] == "tool"
    assert (cache / "y").read_text() == "kept\n"
    assert not (tool / "x").exists()
