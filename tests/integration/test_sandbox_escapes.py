"""The escapes that a hostile build tries, by name; each is blocked."""

from __future__ import annotations

import os
import secrets
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import S3
from tests.sandboxes import LIMITS, alive, lasting, shell
from worker.sandbox import Limits, Sandbox, Workspace

METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "metadata.google.internal")
"""Where clouds tell a machine its own credentials."""

_THROUGH = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
direct = socket.socket()
direct.settimeout(2)
try:
    direct.connect((host, port))
    print("reached directly")
except OSError as problem:
    print("direct:", problem)
proxy = socket.create_connection(("127.0.0.1", 3128), 5)
for line in (f"CONNECT {host}:{port} HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n",):
    proxy.sendall(line.encode())
    print("proxy:", proxy.recv(200).split(b"\\r\\n")[0].decode())
"""


def addresses() -> set[str]:
    """Those of this machine that a build might know it by."""
    found = {"127.0.0.1", "localhost", "0.0.0.0", "127.1.2.3", "[::1]", "2130706433"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: it only asks which address the machine would speak from.
        try:
            probe.connect(("192.0.2.1", 9))
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    return found


async def reach(sandbox: Sandbox, workspace: Workspace, host: str, port: int) -> str:
    """What a build hears that tries to reach a port, directly and through the proxy."""
    script = f"python3 -c {shlex.quote(_THROUGH)} {shlex.quote(host.strip('[]'))} {port}"
    _, said = await shell(sandbox, workspace, script)
    return said


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


async def test_our_redis_and_bucket_are_out_of_reach_by_every_address_of_the_machine(
    sandbox: Sandbox, workspace: Workspace, valkey: str, seaweedfs: S3
) -> None:
    for url in (valkey, seaweedfs.endpoint_url):
        for address in addresses():
            said = await reach(sandbox, workspace, address, _port(url))
            assert "direct:" in said, said
            assert "proxy: HTTP/1.1 403" in said or "proxy: HTTP/1.1 400" in said, said


@pytest.mark.parametrize("host", METADATA)
async def test_a_clouds_metadata_is_out_of_reach(
    sandbox: Sandbox, workspace: Workspace, host: str
) -> None:
    said = await reach(sandbox, workspace, host, 80)
    assert "reached" not in said
    assert "proxy: HTTP/1.1 200" not in said
    assert "proxy: HTTP/1.1 " in said


async def test_another_builds_source_and_the_workers_caches_are_not_there(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    kept = tmp_path / "closed" / "caches"
    kept.mkdir()
    (kept / "other").write_text("another project's cache")
    async with sandbox.workspace() as other:
        (other.path / "source").mkdir()
        (other.path / "source" / "theirs").write_text("another project's source")
        script = (
            f"cat {other.path}/source/theirs {kept}/other; ls {tmp_path} {other.path.parent}; "
            f"touch {kept}/mine && echo wrote; find / -name theirs -o -name other 2>/dev/null "
            "| xargs -r cat; true"
        )
        _, said = await shell(sandbox, workspace, script)
    assert "another project's" not in said
    assert "wrote" not in said
    assert [each.name for each in kept.iterdir()] == ["other"]


async def test_init_of_the_machine_is_not_the_init_that_a_build_sees(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    script = (
        "cat /proc/1/cmdline | tr '\\0' ' '; readlink /proc/1/root; ls /proc/1/root/root; "
        "cat /proc/1/environ; ls /proc/1/cwd/; for each in /proc/[0-9]*; do echo $each; done"
    )
    _, said = await shell(sandbox, workspace, script)
    ours = Path("/proc/self/environ").read_bytes().split(b"\0")
    for variable in ours:
        if len(variable) > 20 and not variable.startswith((b"PATH=", b"HOME=", b"LANG=")):
            assert variable.decode(errors="replace") not in said
    assert f"/proc/{os.getpid()}\n" not in said


_CALLS: Mapping[str, str] = {
    "ptrace": "libc.ptrace(16, {parent}, 0, 0)",
    "process_vm_readv": "libc.process_vm_readv({parent}, 0, 0, 0, 0, 0)",
    "a user namespace": "libc.unshare(0x10000000)",
    "a mount namespace": "libc.unshare(0x00020000)",
    "joining a namespace": "libc.setns(3, 0)",
    "a mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)",
    "a bind mount": "libc.mount(b'/', b'/tmp', None, 4096, None)",
    "the new mount calls": "libc.syscall(428, -100, b'/', 1)",
    "chroot": "libc.chroot(b'/tmp')",
    "becoming root": "libc.setuid(0)",
    "becoming root for files": "libc.setfsuid(0) or (-1 if libc.setfsuid(0) else 0)",
    "a key of the kernel's": "libc.syscall(250, 0, -3, 0, 0, 0)",
    "BPF": "libc.syscall(321, 0, 0, 0)",
    "a module": "libc.syscall(175, 0, 0, b'')",
    "rebooting": "libc.reboot(0)",
    "a device": "libc.mknod(b'/tmp/sda', 0o60666, 0x800)",
}


@pytest.mark.parametrize("name", _CALLS)
async def test_a_system_call_that_leads_out_is_refused(
    sandbox: Sandbox, workspace: Workspace, name: str
) -> None:
    call = _CALLS[name].format(parent="__import__('os').getppid()")
    script = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        f"found = {call}; print('allowed' if found == 0 else 'refused', ctypes.get_errno())"
    )
    _, said = await shell(sandbox, workspace, f"python3 -c {shlex.quote(script)}")
    assert said.startswith("refused"), said


async def test_a_setuid_program_gives_nothing(sandbox: Sandbox, workspace: Workspace) -> None:
    script = (
        "cp /bin/sh ./sh && chmod 6755 ./sh && ./sh -p -c 'id -u'; "
        "for each in $(find /usr/bin /bin -perm -4000 2>/dev/null | head -n 8); do "
        "timeout 2 $each --help </dev/null >/dev/null 2>&1; done; "
        "grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status; grep CapBnd "
        "/proc/self/status; touch /root/owned /etc/owned 2>/dev/null; echo done"
    )
    _, said = await shell(sandbox, workspace, script)
    assert said.splitlines()[0] != "0"
    lines = [line.split() for line in said.splitlines()]
    assert ["NoNewPrivs:", "1"] in lines
    assert ["CapEff:", "0" * 16] in lines
    assert ["CapBnd:", "0" * 16] in lines
    assert not Path("/etc/owned").exists()


async def test_the_kernels_own_settings_cannot_be_written(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    places = (
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger"),
        *("/proc/sys/vm/overcommit_memory", "/sys/kernel/uevent_helper"),
        *("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent"),
    )
    script = "; ".join(f"echo x > {place} && echo wrote {place}" for place in places)
    _, said = await shell(sandbox, workspace, script)
    assert "wrote" not in said
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


async def test_a_fork_bomb_ends_with_its_build(sandbox: Sandbox, workspace: Workspace) -> None:
    mark = lasting(61)
    limits = Limits(timeout_seconds=6, memory_mb=256, processes=64)
    outcome, _ = await shell(
        sandbox, workspace, f"f() {{ {mark} & f | f & }}; f; sleep 60", limits=limits
    )
    assert outcome.killed in ("processes", "timeout", "memory")
    assert alive(mark) == []


async def test_memory_and_disk_have_an_end(sandbox: Sandbox, workspace: Workspace) -> None:
    eaten, _ = await shell(sandbox, workspace, "tail /dev/zero")
    assert eaten.killed == "memory"
    limits = Limits(timeout_seconds=30, memory_mb=512, work_mb=16)
    for place in ("/work/source/full", "/tmp/full", "$HOME/full"):
        async with sandbox.workspace() as fresh:
            filled, _ = await shell(
                sandbox, fresh, f"head -c 64M /dev/zero > {place}", limits=limits
            )
        assert filled.killed == "disk", place


@pytest.mark.parametrize(
    "command",
    [
        "nohup setsid {mark} >/dev/null 2>&1 & exit 0",
        "(trap '' TERM HUP INT; setsid sh -c '{mark}; :' &) & exit 0",
        (
            'python3 -c "import os; os.fork() and os._exit(0); os.setsid(); '
            "os.fork() and os._exit(0); os.execvp('sleep', '{mark}'.split())\""
        ),
    ],
)
async def test_a_daemon_does_not_outlive_its_build(
    sandbox: Sandbox, workspace: Workspace, command: str
) -> None:
    mark = lasting(62)
    outcome, said = await shell(sandbox, workspace, command.format(mark=mark))
    assert outcome.exit_code == 0, said
    assert alive(mark) == []


async def test_what_a_build_leaves_is_not_what_the_next_one_finds(sandbox: Sandbox) -> None:
    word = secrets.token_hex(8)
    script = (
        f"mkdir -p .git && echo {word} | tee .git/config $HOME/.gitconfig $HOME/.npmrc "
        "$HOME/.bashrc /tmp/left /dev/shm/left /var/tmp/left >/dev/null; echo done"
    )
    async with sandbox.workspace() as first:
        _, said = await shell(sandbox, first, script)
        assert said == "done\n"
    async with sandbox.workspace() as second:
        look = (
            "cat .git/config $HOME/.gitconfig $HOME/.npmrc $HOME/.bashrc /tmp/left /dev/shm/left "
            "/var/tmp/left 2>/dev/null; find / -newermt '-1 hour' -name left 2>/dev/null; echo end"
        )
        _, said = await shell(sandbox, second, look)
    assert said == "end\n"


async def test_the_limits_of_a_build_cannot_be_raised_from_inside(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    script = (
        "ulimit -c unlimited 2>/dev/null; mount | grep cgroup; "
        "for each in $(cat /proc/self/cgroup | cut -d: -f2 | tr , ' '); do "
        "echo -1 > /sys/fs/cgroup/$each/memory.limit_in_bytes && echo raised; done; "
        "echo max > /sys/fs/cgroup/memory.max && echo raised; tail /dev/zero"
    )
    outcome, said = await shell(sandbox, workspace, script, limits=LIMITS)
    assert "raised" not in said
    assert outcome.killed == "memory"
