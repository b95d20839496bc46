"""Proves the sandbox by using it, and tells the cure where it does not hold."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from bot.core.errors import PushlaneError
from worker.sandbox.records import Finding, Limits, Workspace

if TYPE_CHECKING:
    from worker.sandbox import Sandbox

_EATER = "dd if=/dev/zero bs=400M count=1 2>/dev/null | sleep 5"
"""Takes 400 MB at once, and holds them: dd waits for a reader that never reads."""


def cure(detail: str) -> str:
    """One line: what bubblewrap or the kernel said, and what to do about it."""
    said = " ".join(detail.split())
    lower = said.lower()
    if "namespace" in lower or "unshare" in lower or "setting up uid map" in lower:
        advice = (
            "user namespaces are forbidden here; allow them (Ubuntu: sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0; Debian: sysctl -w "
            "kernel.unprivileged_userns_clone=1; Docker: --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --cap-add SYS_ADMIN)"
        )
    elif "mount" in lower or "proc" in lower:
        advice = (
            "mounting is forbidden here; a container needs --cap-add SYS_ADMIN and "
            "--security-opt systempaths=unconfined"
        )
    else:
        advice = "see `pushlane doctor`"
    return f"bubblewrap cannot make a sandbox ({said}); {advice}"


async def findings(sandbox: Sandbox, *, protected: bool) -> list[Finding]:
    """What was tried, one finding each. `protected` is False for a sandbox of kind `none`."""
    out: list[Finding] = []
    async with sandbox.workspace() as workspace:
        out.append(await _not_root(sandbox, workspace))
        if not protected:
            out.append(
                Finding("bubblewrap", False, "PUSHLANE_SANDBOX=none: builds see the machine")
            )
        else:
            out.append(await _loopback(sandbox, workspace))
            out.append(
                await _fails(
                    sandbox,
                    workspace,
                    "core_pattern cannot be written",
                    "echo x > /proc/sys/kernel/core_pattern",
                )
            )
            out.append(
                await _fails(
                    sandbox,
                    workspace,
                    "no further user namespace",
                    "unshare --user true",
                )
            )
            out.append(
                await _fails(sandbox, workspace, "/usr cannot be written", "touch /usr/.pushlane")
            )
        out.append(await _memory(sandbox, workspace))
    return out


async def _say(
    sandbox: Sandbox, workspace: Workspace, command: str, *, memory_mb: int = 256
) -> tuple[int, str, str]:
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk[:4096])

    try:
        outcome = await sandbox.execute(
            command,
            workspace=workspace,
            cwd="/work",
            environment={},
            limits=Limits(timeout_seconds=30, memory_mb=memory_mb),
            on_output=hear,
        )
    except PushlaneError as problem:
        return 125, problem.message, ""
    return outcome.exit_code, said.decode(errors="replace").strip(), outcome.killed


async def _not_root(sandbox: Sandbox, workspace: Workspace) -> Finding:
    code, said, _ = await _say(sandbox, workspace, "id -u")
    ok = code == 0 and said.isdigit() and said != "0"
    return Finding("builds are not root", ok, f"uid {said} inside")


async def _fails(sandbox: Sandbox, workspace: Workspace, name: str, command: str) -> Finding:
    code, said, _ = await _say(sandbox, workspace, command)
    ok = code not in (0, 125, 127)
    return Finding(name, ok, said or f"exit code {code}")


async def _loopback(sandbox: Sandbox, workspace: Workspace) -> Finding:
    name = "loopback is out of reach"
    reached = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(accept, sock=listener)
    try:
        # By the shell's own means, since a machine need not have curl: directly, and through the
        # proxy, which must answer and refuse.
        script = (
            "exec 2>&1; command -v bash >/dev/null || { echo no bash; exit 9; }; "
            f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}' && echo direct; "
            f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && "
            f'printf "CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n" >&3 && head -n 1 <&3\'; true'
        )
        _, said, _ = await _say(sandbox, workspace, script)
    finally:
        server.close()
        await server.wait_closed()
    ok = not reached.is_set() and "direct" not in said
    return Finding(name, ok, "nothing arrived" if ok else f"a listener was reached: {said}")


async def _memory(sandbox: Sandbox, workspace: Workspace) -> Finding:
    code, said, killed = await _say(sandbox, workspace, _EATER, memory_mb=64)
    detail = "killed" if killed == "memory" else f"exit code {code}, killed {killed!r}: {said}"
    return Finding("the memory limit kills", killed == "memory", detail)
