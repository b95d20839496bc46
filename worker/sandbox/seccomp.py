"""The seccomp filter of a build, assembled as a BPF program for this machine's architecture."""

from __future__ import annotations

import platform
import struct

from bot.core.errors import SettingInvalid

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NUMBER, _ARCH, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24
_CLONE_NEWUSER = 0x10000000
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_X32 = 0x40000000
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
"""The families of sockets that a build may open: no network namespace holds AF_VSOCK, which reaches
the machine's own host."""

# Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
_FORBIDDEN: dict[str, tuple[int, int]] = {  # name: (x86_64, aarch64); -1 where there is none
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "unshare": (272, 97),
    "setns": (308, 268),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "open_by_handle_at": (304, 265),
    "syslog": (103, 116),
    "iopl": (172, -1),
    "ioperm": (173, -1),
}
_ABSENT: dict[str, tuple[int, int]] = {  # programs fall back when these "do not exist"
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "clone3": (435, 435),  # its flags lie in memory, where a filter cannot read them
}
_MACHINES = {"x86_64": (0, 0xC000003E, 56, 16, 41), "aarch64": (1, 0xC00000B7, 220, 29, 198)}


def supported(machine: str | None = None) -> bool:
    """Whether there is a filter for `machine` (this one)."""
    return (machine or platform.machine()) in _MACHINES


def program(machine: str | None = None) -> bytes:
    """An array of `struct sock_filter`, as bubblewrap's --seccomp reads it.

    Mounting, tracing, keys, BPF, modules, new user namespaces and terminal injection answer EPERM;
    io_uring and clone3 answer ENOSYS, sockets of other families than Unix, IP and netlink
    EAFNOSUPPORT; another architecture's call kills the process.
    Raises SettingInvalid on a machine that there are no numbers for.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise SettingInvalid(
            "PUSHLANE_SANDBOX",
            f"no system call filter is known for {machine}; use a worker on x86_64 or aarch64",
        )
    column, arch, clone, ioctl, socket = _MACHINES[machine]
    out: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        out += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for calls, errno in ((_FORBIDDEN, _EPERM), (_ABSENT, _ENOSYS)):
        for numbers in calls.values():
            if numbers[column] >= 0:
                out += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ERRNO | errno)]
    out += [
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_ANY_BIT, 0, 1, _CLONE_NEWUSER),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 7, socket),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_EQUAL, 4, 0, _UNIX),
        (_EQUAL, 3, 0, _INET),
        (_EQUAL, 2, 0, _INET6),
        (_EQUAL, 1, 0, _NETLINK),
        (_RETURN, 0, 0, _ERRNO | _EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 4, ioctl),
        (_LOAD, 0, 0, _ARGUMENT_1),
        (_EQUAL, 1, 0, _TERMINAL_INJECTION[0]),
        (_EQUAL, 0, 1, _TERMINAL_INJECTION[1]),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in out)
