"""Which hosts a build may reach: the operator's policy, by name and by address."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Egress = Literal["public", "allowlist", "none"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443, "ftp": 21, "socks5": 1080, "socks5h": 1080}

# Ranges by list and not by `is_global`: a company's package mirror may sit in a reserved range,
# and what must be shut out is the machine itself and its neighbours.
_SHUT = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.192/32",  # Oracle's metadata
        "192.168.0.0/16",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 of the local network (RFC 8215)
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_TEREDO = ipaddress.ip_network("2001::/32")


@dataclass(frozen=True, slots=True)
class Reach:
    """The policy. `named` are the (host, port) pairs that the operator's configuration names."""

    egress: Egress
    hosts: tuple[str, ...] = ()
    """For `allowlist`: `host`, `host:port`, or `*.domain` for all below a domain."""
    named: frozenset[tuple[str, int]] = frozenset()

    def trusted(self, host: str, port: int) -> bool:
        """The operator named it: whatever address it has will do."""
        return self.egress != "none" and (host, port) in self.named

    def permits_name(self, host: str, port: int) -> bool:
        """Whether the name alone is no reason to refuse."""
        match self.egress:
            case "none":
                return False
            case "public":
                return True
            case "allowlist":
                if (host, port) in self.named or _is_named(host, self.named):
                    return True
                return any(_matches(pattern, host, port) for pattern in self.hosts)

    def permits_address(self, address: Address, own: Iterable[Address]) -> bool:
        """Whether a name that the operator did not name may lead to this address."""
        embedded = _embedded(address)
        if any(each in shut for each in embedded for shut in _SHUT):
            return False
        return not set(embedded) & set(own)


def own_addresses() -> set[Address]:
    """The addresses of this machine's interfaces, both families."""
    found: set[Address] = set()
    try:
        text = Path("/proc/net/fib_trie").read_text()
        previous = ""
        for line in text.splitlines():
            stripped = line.strip()
            if stripped.startswith("|--"):
                previous = stripped[3:].strip()
            elif "host LOCAL" in stripped:
                found.add(ipaddress.ip_address(previous))
    except (OSError, ValueError):
        pass
    try:
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(ipaddress.IPv6Address(int(line.split()[0], 16)))
    except (OSError, ValueError):
        pass
    return found


def named_hosts(values: Iterable[str]) -> frozenset[tuple[str, int]]:
    """The (host, port) of each URL in `values`; a value may hold several, apart by spaces."""
    found = set()
    for value in values:
        for word in value.replace(",", " ").split():
            pair = host_of(word)
            if pair is not None:
                found.add(pair)
    return frozenset(found)


def host_of(url: str) -> tuple[str, int] | None:
    """The host and port that a URL leads to; None where it is none."""
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.scheme not in _PORTS:
            return None
        return plain(parts.hostname), parts.port or _PORTS[parts.scheme]
    except ValueError:
        return None


def plain(host: str) -> str:
    """One spelling for a name: lower case, no final dot, no brackets."""
    return host.strip("[]").rstrip(".").lower()


def check_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """The patterns of an allow list in one spelling.

    Raises ValueError for what can match nothing.
    """
    for host in hosts:
        if not host or "/" in host or "*" in host[1:] or (host[0] == "*" and host[1:2] != "."):
            raise ValueError(f"{host!r} is no host; give names like example.com or *.example.com")
    return tuple(host.rstrip(".").lower() for host in hosts)


def _is_named(host: str, named: frozenset[tuple[str, int]]) -> bool:
    return any(host == each and port in (80, 443) for each, port in named)


def _matches(pattern: str, host: str, port: int) -> bool:
    name, colon, wanted = pattern.rpartition(":")
    if colon and wanted.isdigit():
        if int(wanted) != port:
            return False
        pattern = name
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return host == plain(pattern)


def _embedded(address: Address) -> list[Address]:
    # An IPv6 address may carry an IPv4 one that the network, or the kernel, takes out again.
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            found.append(address.ipv4_mapped)
        if address in _NAT64 or int(address) >> 32 == 0:
            found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address in _SIX_TO_FOUR and address.sixtofour is not None:
            found.append(address.sixtofour)
        if address in _TEREDO and address.teredo is not None:
            found += address.teredo
    return found


def literal(host: str) -> Address | None:
    """The address that `host` is, in any of the spellings that getaddrinfo takes ("127.1")."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(struct.unpack("!I", socket.inet_aton(host))[0])
    except (OSError, ValueError):
        return None
