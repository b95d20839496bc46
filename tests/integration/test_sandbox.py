"""The build sandbox against the real kernel. As root, and as a stranger where one can be made."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from bot.core.errors import Errored, SettingInvalid
from worker.sandbox import Finding, Limits, Mount, Outcome, Sandbox, Workspace

LIMITS = Limits(timeout_seconds=30, memory_mb=512)
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = Sandbox(
        kind="bubblewrap", scratch=closed / "scratch", egress="public", environment=os.environ
    )
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def workspace(sandbox: Sandbox) -> AsyncIterator[Workspace]:
    async with sandbox.workspace() as made:
        yield made


async def shell(
    sandbox: Sandbox,
    workspace: Workspace,
    command: str,
    *,
    limits: Limits = LIMITS,
    stop: asyncio.Event | None = None,
    environment: Mapping[str, str] | None = None,
    network: bool = True,
) -> tuple[Outcome, str]:
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    outcome = await sandbox.execute(
        command,
        workspace=workspace,
        environment=environment or {},
        limits=limits,
        on_output=hear,
        stop=stop,
        network=network,
    )
    return outcome, said.decode(errors="replace")


def alive(mark: str) -> list[int]:
    """Processes of this machine whose command line begins with `mark`."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if line.startswith(mark.encode()):
                found.append(int(name))
    return found


def zombies() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            state, parent = text.rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == os.getpid():
                found.append(int(name))
    return found


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


async def test_a_command_exits_with_its_own_code_and_both_its_streams(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    outcome, said = await shell(sandbox, workspace, "echo out; echo err >&2; exit 7")
    assert (outcome.exit_code, outcome.killed) == (7, "")
    assert sorted(said.split()) == ["err", "out"]


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


async def test_memory_beyond_the_limit_kills(sandbox: Sandbox, workspace: Workspace) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=96)
    eat = "x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo survived"
    outcome, said = await shell(sandbox, workspace, eat, limits=limits)
    assert outcome.killed == "memory"
    assert outcome.exit_code != 0
    assert "survived" not in said


async def test_a_fork_bomb_is_contained_and_named(sandbox: Sandbox, workspace: Workspace) -> None:
    limits = Limits(timeout_seconds=25, memory_mb=1024, processes=100)
    bomb = "bash -c 'f() { f | f & }; f; sleep 20; exit 1' 2>/dev/null"
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
    assert alive("bash -c f()") == []


@pytest.mark.parametrize("ended_by", ["timeout", "stopped", ""])
async def test_nothing_survives_the_end_not_even_what_detached_itself(
    sandbox: Sandbox, workspace: Workspace, ended_by: str
) -> None:
    mark = f"sleep 54{os.getpid()}"
    wait = "" if ended_by == "" else "; sleep 60"
    script = f"setsid sh -c '(trap \"\" TERM HUP; {mark}) & {mark}' >/dev/null 2>&1 & echo on{wait}"
    stop = asyncio.Event()
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
    assert zombies() == []


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


async def test_files_of_the_workspace_do_not_eat_the_memory_limit(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    limits = Limits(timeout_seconds=30, memory_mb=200)
    script = "for i in 1 2 3 4 5 6; do head -c 60000000 /dev/zero > f$i; sleep 0.25; done"
    outcome, said = await shell(sandbox, workspace, script, limits=limits)
    assert (outcome.exit_code, outcome.killed) == (0, ""), said


async def test_an_output_that_cannot_be_taken_kills_and_is_raised_again(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    async def refuse(_: bytes) -> None:
        raise Errored("the log is gone", code="log_gone")

    mark = f"sleep 55{os.getpid()}"
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
    mark = f"sleep 56{os.getpid()}"
    running = asyncio.ensure_future(shell(sandbox, workspace, f"{mark} & {mark}"))
    while not alive(mark):
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert alive(mark) == []
    assert zombies() == []


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

    with pytest.raises(Errored, match="the archive is cut"):
        await sandbox.execute(
            "cat > got; touch complete; sleep 20",
            workspace=workspace,
            environment={},
            limits=LIMITS,
            stdin=content(),
            on_output=None,
        )
    assert alive("sleep 20") == []


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


async def test_a_workspace_is_removed_with_what_was_locked_in_it(sandbox: Sandbox) -> None:
    async with sandbox.workspace() as workspace:
        await shell(sandbox, workspace, "mkdir -p a/b && touch a/b/c && chmod 0 a/b a")
        assert workspace.path.exists()
    assert not workspace.path.exists()


async def test_a_real_package_is_installed_through_the_proxy(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    script = "npm init -y >/dev/null && npm install --no-audit --no-fund is-number"
    outcome, said = await shell(sandbox, workspace, script)
    assert outcome.exit_code == 0, said
    assert outcome.refused_hosts == ()
    assert (workspace.path / "source/node_modules/is-number/index.js").exists()


async def test_a_sandbox_starts_in_less_than_a_tenth_of_a_second(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    seconds = sorted([(await shell(sandbox, workspace, "true"))[0].seconds for _ in range(9)])
    print(f"median start and end of a sandbox: {seconds[4] * 1000:.1f} ms")  # noqa: T201
    assert seconds[4] < 0.1


async def test_a_missing_bubblewrap_is_one_line_with_the_cure(tmp_path: Path) -> None:
    made = Sandbox(
        kind="bubblewrap", scratch=tmp_path, egress="public", environment={"PATH": "/nowhere"}
    )
    with pytest.raises(SettingInvalid, match="apt-get install bubblewrap") as caught:
        await made.start()
    assert "\n" not in str(caught.value)


async def test_a_bubblewrap_that_fails_is_one_line_with_what_it_said(tmp_path: Path) -> None:
    false = tmp_path / "bin" / "bwrap"
    false.parent.mkdir()
    false.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    false.chmod(0o755)
    path = f"{false.parent}:{os.environ['PATH']}"
    made = Sandbox(
        kind="bubblewrap",
        scratch=tmp_path / "scratch",
        egress="public",
        environment={**os.environ, "PATH": path},
    )
    tmp_path.chmod(0o755)
    with pytest.raises(SettingInvalid, match="unprivileged_userns") as caught:
        await made.start()
    assert "\n" not in str(caught.value)


async def test_without_bubblewrap_a_build_is_still_a_stranger_within_limits(
    tmp_path: Path,
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    environment = {**os.environ, "PUSHLANE_SECRET_KEY": "open-sesame"}
    made = Sandbox(kind="none", scratch=closed, egress="public", environment=environment)
    await made.start()
    mark = f"sleep 57{os.getpid()}"
    try:
        async with made.workspace() as workspace:
            script = f"id -u; env; setsid {mark} >/dev/null 2>&1 & sleep 0.3; touch here"
            outcome, said = await shell(made, workspace, script)
            assert outcome.exit_code == 0, said
            assert said.split()[0] != "0"
            assert "open-sesame" not in said
            assert (workspace.path / "source" / "here").exists()
            assert alive(mark) == []
            eat = "x=$(head -c 400000000 /dev/zero | tr '\\0' x)"
            limits = Limits(timeout_seconds=20, memory_mb=96)
            outcome, _ = await shell(made, workspace, eat, limits=limits)
            assert outcome.killed == "memory"
        findings = await made.self_test()
        assert [each.name for each in findings if not each.ok][:1] == ["bubblewrap"]
    finally:
        await made.aclose()
    assert zombies() == []


_ABANDONED = """
import asyncio, os, sys
from pathlib import Path
from worker.sandbox import Limits, Sandbox
async def main():
    made = Sandbox(kind=sys.argv[1], scratch=Path(sys.argv[2]), egress="public",
                   environment=os.environ)
    await made.start()
    async with made.workspace() as workspace:
        await made.execute(sys.argv[3] + " & " + sys.argv[3], workspace=workspace, environment={},
                           limits=Limits(timeout_seconds=90, memory_mb=128), on_output=None)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
async def test_what_a_killed_worker_left_is_gone_when_the_next_has_started(
    tmp_path: Path, kind: str
) -> None:
    mark = f"sleep 58{os.getpid()}"
    left = subprocess.Popen(
        [sys.executable, "-c", _ABANDONED, kind, str(tmp_path), mark], cwd=REPOSITORY
    )
    while len(alive(mark)) < 2:
        assert left.poll() is None
        await asyncio.sleep(0.02)
    left.kill()
    left.wait()
    made = Sandbox(kind="bubblewrap", scratch=tmp_path, egress="public", environment=os.environ)
    await made.start()
    try:
        assert alive(mark) == []
        assert [each.name for each in (tmp_path / "worker-0").iterdir()] == [".lock"]
    finally:
        await made.aclose()


async def test_two_workers_on_one_scratch_do_not_touch_each_other(tmp_path: Path) -> None:
    made = [
        Sandbox(kind="bubblewrap", scratch=tmp_path, egress="public", environment=os.environ)
        for _ in range(2)
    ]
    await made[0].start()
    try:
        async with made[0].workspace() as workspace:
            running = asyncio.ensure_future(shell(made[0], workspace, "sleep 1.5; echo through"))
            await made[1].start()
            await made[1].aclose()
            outcome, said = await running
            assert (outcome.exit_code, said) == (0, "through\n")
    finally:
        await made[0].aclose()


_STRANGER = """
import asyncio, json, os, sys, time
from pathlib import Path
from worker.sandbox import Limits, Sandbox
async def main():
    made = Sandbox(kind="bubblewrap", scratch=Path(sys.argv[1]), egress="public",
                   environment=os.environ)
    await made.start()
    killed = {}
    async with made.workspace() as workspace:
        async def told(command, **limits):
            limits = {"timeout_seconds": 20, "memory_mb": 256, **limits}
            outcome = await made.execute(command, workspace=workspace, environment={},
                                         limits=Limits(**limits), on_output=None)
            return outcome.killed
        killed["memory"] = await told("x=$(head -c 400000000 /dev/zero | tr '\\\\0' x)",
                                      memory_mb=96)
        killed["timeout"] = await told("setsid sleep 50 & sleep 50", timeout_seconds=1)
        killed["processes"] = await told(
            "bash -c 'f() { f | f & }; f; sleep 15; exit 1' 2>/dev/null", processes=80)
        killed["disk"] = await told(
            "while head -c 9000000 /dev/zero >> /tmp/f; do sleep 0.05; done; exit 3", work_mb=50)
    findings = [[each.name, each.ok, each.detail] for each in await made.self_test()]
    await made.aclose()
    print(json.dumps({"killed": killed, "findings": findings}))
asyncio.run(main())
"""


def _stranger(directory: Path) -> tuple[list[str], str]:
    """An interpreter that an unprivileged user can start, and the path to import from."""
    packages = directory / "packages"
    for name in ("bot", "worker"):
        shutil.copytree(REPOSITORY / name, packages / name)
    assert msgspec.__file__
    shutil.copytree(Path(msgspec.__file__).parent, packages / "msgspec")
    subprocess.run(["chmod", "-R", "a+rX", str(packages)], check=True)
    for parent in (packages, *packages.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import sys; open(sys.executable).close()"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}"):
        found = subprocess.run([*drop, candidate, "-c", probe], capture_output=True, check=False)
        if found.returncode == 0:
            return [*drop, candidate], str(packages)
    pytest.skip("every Python of this version is in a directory that only root may enter")


@pytest.mark.skipif(os.geteuid() != 0, reason="the whole suite is the stranger's already")
async def test_a_worker_that_is_not_root_holds_the_same_walls(tmp_path: Path) -> None:
    prefix, packages = _stranger(tmp_path)
    scratch = tmp_path / "strangers"
    scratch.mkdir(mode=0o700)
    os.chown(scratch, 65534, 65534)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": packages, "HOME": str(scratch)}
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *("-c", _STRANGER, str(scratch)),
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found = msgspec.json.decode(out)
    findings = [Finding(*each) for each in found["findings"]]
    assert [each.name for each in findings if not each.ok] == ["limits by cgroup"]
    assert found["killed"] == {
        "memory": "memory",
        "timeout": "timeout",
        "processes": "processes",
        "disk": "disk",
    }
    assert alive("sleep 50") == []
