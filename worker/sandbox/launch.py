"""The program between the worker and a build: it sets the scene, drops its rights, and execs.

It is started as a file of its own (`python -I -S launch.py <channel> <order>`), imports nothing of
ours, and answers on the channel: `ok`, with the listening socket of the new network namespace when
one was ordered, or `error: …`. A socket belongs to the namespace that it was made in whoever holds
it, so the worker serves the egress proxy from outside, and nothing of ours has to live inside.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import marshal
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing it costs as long as all the rest
    from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 16384
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIGKILL = 9
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes) -> None:
    checked(
        libc.mount(source, target, kind, ctypes.c_ulong(flags), options),
        "mount " + os.fsdecode(target),
    )


def write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    try:
        os.write(handle, text.encode())
    finally:
        os.close(handle)


def enter_namespaces(order: dict[str, Any]) -> None:
    flags = CLONE_NEWNET if order["new_network"] else 0
    if order["uid"] is not None:
        if order["stage"]:
            flags |= CLONE_NEWNS
        if flags:
            checked(libc.unshare(flags), "unshare")
        return
    if not flags:
        return
    uid, gid = os.getuid(), os.getgid()
    checked(libc.unshare(flags | CLONE_NEWUSER), "unshare")
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")


def loopback_up() -> None:
    with_name = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    request = struct.pack("16sH14x", b"lo", 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(with_name.fileno(), SIOCGIFFLAGS, request))[1]
    up = struct.pack("16sH14x", b"lo", flags | IFF_UP)
    fcntl.ioctl(with_name.fileno(), SIOCSIFFLAGS, up)
    with_name.close()


def listen(port: int) -> _socket.socket:
    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", port))
    listener.listen(256)
    return listener


def stage(order: dict[str, Any]) -> None:
    # The build user cannot reach below the worker's own directories (0700). Here, by root and in a
    # mount namespace of its own, each such directory is covered by an empty one that it can pass,
    # in which only what this build may see is bound again, at the same path.
    mount(b"none", b"/", None, MS_REC | MS_PRIVATE, b"")
    handles = [os.open(source, os.O_PATH) for source, _, _ in order["stage"]]
    for cover in order["covers"]:
        flags = MS_NOSUID | MS_NODEV
        mount(b"pushlane", os.fsencode(cover), b"tmpfs", flags, b"mode=0755,size=1m")
    for handle, (_, target, writable) in zip(handles, order["stage"], strict=True):
        path = f"/proc/self/fd/{handle}"
        if os.path.isdir(path):
            os.makedirs(target, 0o755, exist_ok=True)
        elif not os.path.exists(target):
            os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        place = os.fsencode(target)
        mount(path.encode(), place, None, MS_BIND, b"")
        if not writable:
            kept = os.statvfs(target).f_flag & 0xE
            mount(b"none", place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept, b"")
        os.close(handle)


def drop(order: dict[str, Any]) -> None:
    for name, value in order["rlimits"]:
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(number, (value, value))
    if order["uid"] is not None:
        os.setgroups([])
        os.setresgid(order["gid"], order["gid"], order["gid"])
        os.setresuid(order["uid"], order["uid"], order["uid"])
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    # After the change of user, which clears it.
    checked(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def main() -> None:
    channel = _socket.socket(fileno=int(sys.argv[1]))
    step = "order"
    try:
        with open(int(sys.argv[2]), "rb") as stream:
            order = marshal.loads(stream.read())
        step = "limits"
        for path in order["cgroups"]:
            write(path, str(os.getpid()))
        step = "namespaces"
        enter_namespaces(order)
        passed: list[Any] = []
        if order["new_network"]:
            step = "network"
            loopback_up()
            if order["port"]:
                listener = listen(order["port"])
                rights = struct.pack("i", listener.fileno())
                passed = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)]
        os.umask(0o022)
        if order["stage"]:
            step = "mounts"
            stage(order)
        step = "rights"
        drop(order)
        if os.getppid() != order["parent"]:
            os._exit(1)
        step = "exec"
        os.chdir(order["cwd"])
        channel.sendmsg([b"ok"], passed)
        for handle in order["keep"]:
            os.set_inheritable(handle, True)
        os.set_inheritable(channel.fileno(), False)
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except BaseException as problem:
        said = f"error: {step}: {problem}".encode()[:4000]
        if step == "exec":
            os.write(2, said + b"\n")
        channel.send(said)
        os._exit(125)


main()
