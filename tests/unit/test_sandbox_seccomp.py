"""The system call filter, interpreted as the kernel would."""

from __future__ import annotations

import struct

import pytest

from bot.core.errors import SettingInvalid
from worker.sandbox import seccomp

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the program answers for one call."""
    call = struct.pack("=iIQ6Q", number, arch or ARCHES[machine], 0, *(*arguments, *[0] * 6)[:6])
    code = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    position = accumulator = 0
    while True:
        operation, yes, no, value = code[position]
        position += 1
        match operation:
            case 0x20:
                accumulator = struct.unpack_from("=I", call, value)[0]
            case 0x06:
                return int(value)
            case 0x15:
                position += yes if accumulator == value else no
            case 0x35:
                position += yes if accumulator >= value else no
            case 0x45:
                position += yes if accumulator & value else no
            case _:
                raise AssertionError(operation)


@pytest.mark.parametrize(
    ("machine", "read", "mount", "ptrace", "clone", "ioctl"),
    [("x86_64", 0, 165, 101, 56, 16), ("aarch64", 63, 40, 117, 220, 29)],
)
def test_ordinary_calls_pass_and_dangerous_ones_do_not(
    machine: str, read: int, mount: int, ptrace: int, clone: int, ioctl: int
) -> None:
    assert verdict(machine, read) == ALLOW
    assert verdict(machine, mount) == EPERM
    assert verdict(machine, ptrace) == EPERM
    assert verdict(machine, 425) == ENOSYS
    assert verdict(machine, 435) == ENOSYS
    assert verdict(machine, clone, 0x11) == ALLOW
    assert verdict(machine, clone, 0x10000011) == EPERM
    assert verdict(machine, ioctl, 0, 0x5413) == ALLOW
    assert verdict(machine, ioctl, 0, 0x5412) == EPERM
    assert verdict(machine, ioctl, 0, 0xABCD00005412) == EPERM


@pytest.mark.parametrize(("machine", "socket"), [("x86_64", 41), ("aarch64", 198)])
def test_only_unix_ip_and_netlink_sockets_are_opened(machine: str, socket: int) -> None:
    families = {family: verdict(machine, socket, family) for family in range(50)}
    assert {family for family, answer in families.items() if answer == ALLOW} == {1, 2, 10, 16}
    assert families[40] == 0x00050061


def test_a_call_of_another_architecture_kills() -> None:
    assert verdict("x86_64", 0, arch=0x40000003) == KILL
    assert verdict("x86_64", 0x40000000 + 1) == KILL


def test_a_machine_without_numbers_is_refused_in_one_line() -> None:
    with pytest.raises(SettingInvalid, match="riscv64"):
        seccomp.program("riscv64")
