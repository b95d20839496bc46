"""The arguments of bubblewrap: what a build sees of the machine, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from worker.sandbox.records import Mount

UID = GID = 1000
CURE = (
    "install it (apt-get install bubblewrap, dnf install bubblewrap), or set PUSHLANE_SANDBOX=none "
    "to build without any protection"
)
_SYSTEM = tuple(
    Path("/", name) for name in ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
)
_ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "perl",
    "pki",
    "protocols",
    "python3",
    "services",
    "ssl",
    "timezone",
)
FILES = {
    "/etc/passwd": "root:x:0:0:root:/:/usr/sbin/nologin\n"
    f"build:x:{UID}:{GID}::/work/home:/bin/sh\n",
    "/etc/group": f"root:x:0:\nbuild:x:{GID}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "/etc/resolv.conf": "",
}


def arguments(  # noqa: PLR0913 - each is one thing that is seen inside
    *,
    workspace: Path,
    mounts: Sequence[Mount],
    shown: Iterable[Path],
    environment: Mapping[str, str],
    cwd: str,
    shared_memory: int,
    status: int,
    filter_program: int | None,
    files: Mapping[str, int],
) -> bytes:
    """What bubblewrap reads from --args: NUL-separated options, without the command.

    The network namespace is the caller's. /dev/shm takes `shared_memory` bytes. `status`,
    `filter_program` and `files` are descriptors.
    """
    out = [
        *("--unshare-all", "--share-net", "--unshare-user", "--disable-userns"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--uid", str(UID), "--gid", str(GID), "--hostname", "build"),
        *("--json-status-fd", str(status)),
    ]
    if filter_program is not None:
        out += ["--seccomp", str(filter_program)]
    for system in _SYSTEM:
        if system.is_symlink():
            out += ["--symlink", str(system.readlink()), str(system)]
        elif system.is_dir():
            out += ["--ro-bind", str(system), str(system)]
    for name in _ETC:
        out += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for target, descriptor in files.items():
        out += ["--perms", "0644", "--ro-bind-data", str(descriptor), target]
    out += ["--proc", "/proc", "--dev", "/dev", "--dir", "/run"]
    out += ["--size", str(shared_memory), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
    out += ["--remount-ro", "/dev"]
    out += ["--bind", str(workspace), "/work"]
    # Inside, the build is alone: /tmp is its workspace's own.
    out += ["--bind", str(workspace / "tmp"), "/tmp"]  # noqa: S108
    out += ["--symlink", "/tmp", "/var/tmp"]  # noqa: S108
    for path in shown:
        if not str(path).startswith(("/usr/", "/bin/", "/lib/", "/etc/ssl/", "/etc/pki/")):
            out += ["--ro-bind", str(path), str(path)]
    for mount in mounts:
        out += ["--bind" if mount.writable else "--ro-bind", str(mount.source), mount.target]
    out += ["--clearenv"]
    for name, value in environment.items():
        out += ["--setenv", name, value]
    out += ["--remount-ro", "/", "--chdir", cwd]
    return b"\0".join(os.fsencode(each) for each in out) + b"\0"


def covers(paths: Iterable[Path], *, uid: int) -> list[str]:
    """The topmost directories on the way to `paths` that `uid` may not pass, shortest first."""
    found: set[Path] = set()
    for path in paths:
        for parent in reversed(path.parents):
            if parent == Path("/"):
                continue
            status = parent.stat()
            if not (status.st_mode & 0o001 or (status.st_uid == uid and status.st_mode & 0o100)):
                found.add(parent)
                break
    return sorted(str(path) for path in found)
