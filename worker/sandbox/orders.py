"""From what the worker asks for to what the launcher is told."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from bot.core.errors import Errored
from worker.sandbox import bubblewrap, kernel, pipes, processes, seccomp
from worker.sandbox.execution import PROXY_PORT, Order
from worker.sandbox.passing import Passing
from worker.sandbox.records import Limits, Mount, Workspace

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROXY_URL = f"http://127.0.0.1:{PROXY_PORT}"
_PROXY_NAMES = (
    *("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    *("npm_config_proxy", "npm_config_https_proxy"),
    # Yarn from 2 on heeds none of those.
    *("YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `Sandbox.execute`."""

    argv: Sequence[str]
    cwd: str
    environment: Mapping[str, str]
    workspace: Workspace
    mounts: Sequence[Mount]
    network: bool
    marker: str
    """`NAME=value`, set in an unprotected command's environment, and in no other's."""


def cgroup_name(scratch: Path) -> str:
    """The name of the cgroup directory that belongs to a scratch directory, and to no other."""
    return "pushlane-" + hashlib.sha256(os.fsencode(scratch)).hexdigest()[:16]


def make_directories(call: Call) -> None:
    """Makes the working directory where it lies in the workspace.

    The build user may then write to the writable mounts. A link that an earlier command left on
    the way is not followed.
    """
    owner = call.workspace.owner
    parts = PurePosixPath(call.cwd).parts
    if parts[:2] == ("/", "work"):
        _make_inside(call.workspace, parts[2:])
    for mount in call.mounts:
        if mount.writable and owner is not None and mount.source.is_dir():
            kernel.own_tree(mount.source, uid=owner.uid, gid=owner.gid)


def sandboxed(call: Call, passing: Passing, bwrap: str, limits: Limits) -> Order:
    """bubblewrap, told by descriptors: an argument list can be read by everyone."""
    workspace = call.workspace
    # The /tmp that is seen inside is the workspace's own.
    environment = _basics("/work/home", "/tmp") | passing.variables  # noqa: S108
    if call.network:
        environment |= dict.fromkeys(_PROXY_NAMES, _PROXY_URL)
        environment |= dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1")
    environment |= call.environment
    _check(call.argv, environment)
    descriptors: list[int] = []

    def descriptor(content: bytes, name: str) -> int:
        descriptors.append(pipes.sealed(content, name))
        return descriptors[-1]

    files = {target: descriptor(text.encode(), "file") for target, text in bubblewrap.FILES.items()}
    program = descriptor(seccomp.program(), "seccomp")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    options = bubblewrap.arguments(
        workspace=workspace.path,
        mounts=call.mounts,
        shown=passing.paths,
        environment=environment,
        cwd=call.cwd,
        # Half of the memory, as Linux' own.
        shared_memory=limits.memory_mb * 1024 * 1024 // 2,
        status=writer,
        filter_program=program,
        files=files,
    )
    arguments = descriptor(options, "arguments")
    bound = [
        (bwrap, bwrap, False),
        (str(workspace.path), str(workspace.path), True),
        *((str(each.source), str(each.source), each.writable) for each in call.mounts),
        *((str(path), str(path), False) for path in passing.paths),
    ]
    stage, covers = _stage(bound, workspace)
    return Order(
        argv=[bwrap, "--args", str(arguments), "--", *call.argv],
        cwd="/",
        environment={},
        owner=workspace.owner,
        new_network=True,
        port=PROXY_PORT if call.network else 0,
        stage=stage,
        covers=covers,
        descriptors=descriptors,
        status=(reader, writer),
    )


def unprotected(call: Call, passing: Passing) -> Order:
    """The command itself, without bubblewrap. Paths below /work are spoken as they are outside."""
    workspace = call.workspace

    def outside(text: str) -> str:
        if text == "/work" or text.startswith("/work/"):
            return str(workspace.path) + text[len("/work") :]
        return text

    environment = _basics(str(workspace.home), str(workspace.temporary)) | passing.variables
    if call.network:
        environment |= passing.proxies
    for name, value in call.environment.items():
        environment[name] = ":".join(outside(each) for each in value.split(":"))
    name, _, value = call.marker.partition("=")
    environment[name] = value
    _check(call.argv, environment)
    bound = [(str(workspace.path), str(workspace.path), True)]
    for mount in call.mounts:
        target = outside(mount.target)
        if workspace.owner is not None:
            bound.append((str(mount.source), target, mount.writable))
        elif target != str(mount.source) and target != mount.target:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                Path(target).symlink_to(mount.source)
    bound += [(str(path), str(path), False) for path in passing.paths]
    stage, covers = _stage(bound, workspace)
    program = call.argv[0]
    if "/" not in program:
        path = environment["PATH"].split(":")
        program = next((f"{each}/{program}" for each in path if _executable(each, program)), "")
        program = program or "/usr/bin/env"
    argv = [program, *call.argv[1:]] if program != "/usr/bin/env" else [program, *call.argv]
    return Order(
        argv=argv,
        cwd=outside(call.cwd),
        environment=environment,
        owner=workspace.owner,
        new_network=not call.network and workspace.owner is not None,
        port=0,
        stage=stage,
        covers=covers,
    )


def counting_processes(order: Order, limits: Limits) -> Order:
    """The same order, with the kernel's own count of a user's processes for want of a cgroup."""
    used = 0
    if order.owner is None:
        for pid in processes.ids():
            if processes.owner(pid) == os.getuid():
                with contextlib.suppress(OSError):
                    used += len(list(Path(f"/proc/{pid}/task").iterdir()))
    return replace(order, extra_rlimits={"RLIMIT_NPROC": limits.processes + used})


def _basics(home: str, temporary: str) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "USER": "build",
        "LOGNAME": "build",
        "SHELL": "/bin/sh",
        "npm_config_update_notifier": "false",
    }


def _check(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    for text in (*argv, *environment, *environment.values()):
        if "\0" in text:
            raise Errored("a command or variable holds a NUL byte", code="sandbox_nul_byte")
    for name in environment:
        if not name or "=" in name:
            raise Errored(f"{name!r} is no variable's name", code="sandbox_variable_name")


def _stage(
    bound: Iterable[tuple[str, str, bool]], workspace: Workspace
) -> tuple[list[tuple[str, str, bool]], list[str]]:
    if workspace.owner is None:
        return [], []
    wanted = list(dict.fromkeys(bound))
    uid = workspace.owner.uid
    covers = bubblewrap.covers((Path(source) for source, _, _ in wanted), uid=uid)
    hidden = [
        each
        for each in wanted
        if each[0] != each[1] or any(each[0].startswith(cover + "/") for cover in covers)
    ]
    return sorted(hidden, key=lambda each: each[1].count("/")), covers


def _make_inside(workspace: Workspace, parts: Sequence[str]) -> None:
    handle = os.open(workspace.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            try:
                os.mkdir(part, 0o755, dir_fd=handle)
                made = True
            except FileExistsError:
                made = False
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            try:
                entered = os.open(part, flags, dir_fd=handle)
            except OSError:
                # What the repository made of it is the repository's to answer for: inside, the
                # same path is entered by the build itself, with no more rights than it has.
                return
            os.close(handle)
            handle = entered
            if made and workspace.owner is not None:
                os.fchown(handle, workspace.owner.uid, workspace.owner.gid)
    finally:
        os.close(handle)


def _executable(directory: str, name: str) -> bool:
    path = Path(directory, name)
    return os.access(path, os.X_OK) and path.is_file()
