"""Loopback ports: free ones, chosen once and kept in a file so that a restart finds them again."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from bot.core.errors import Errored

LOOPBACK = "127.0.0.1"
GRPC_OFFSET = 10_000
_CHOICE = range(20_000, 22_700)
"""Below the range that Linux gives to outgoing connections (32768 up), with the offset added too:
a kept port is then still free at the next start."""


def is_free(port: int, *, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: a port with connections in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_local(host: str) -> bool:
    """Whether a server on this machine could listen at that address at all."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def kept_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """A free port for each name: those of `file` while they all are free, else fresh ones, kept.

    `port + GRPC_OFFSET` is free too: SeaweedFS derives ports by that distance.

    Raises:
        Errored: No free ports were found.
    """
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(file.read_text(encoding="ascii"))
        ports = {name: int(kept[name]) for name in names if name in kept}
        if len(ports) == len(names) and all(map(_pair_is_free, ports.values())):
            return ports
    candidates = random.sample(_CHOICE, len(_CHOICE))
    free = (port for port in candidates if _pair_is_free(port))
    ports = dict(zip(names, free, strict=False))
    if len(ports) < len(names):
        raise Errored("no free port is left on 127.0.0.1", code="embedded_ports")
    file.write_text(json.dumps(ports), encoding="ascii")
    return ports


def _pair_is_free(port: int) -> bool:
    return is_free(port) and is_free(port + GRPC_OFFSET)
