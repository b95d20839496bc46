"""Which hosts and addresses a build may reach, without a socket."""

from __future__ import annotations

import ipaddress

import pytest

from worker.sandbox.reach import Reach, check_hosts, host_of, literal, named_hosts

PUBLIC = Reach("public")


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "168.63.129.16",
        "192.0.0.192",
        "64:ff9b:1::7f00:1",
    ],
)
def test_an_address_of_the_machine_or_its_neighbours_is_refused(text: str) -> None:
    assert not PUBLIC.permits_address(ipaddress.ip_address(text), ())


@pytest.mark.parametrize("text", ["8.8.8.8", "203.0.113.80", "198.18.0.1", "2606:4700::1111"])
def test_a_public_or_merely_reserved_address_is_permitted(text: str) -> None:
    assert PUBLIC.permits_address(ipaddress.ip_address(text), ())


def test_the_machines_own_public_address_is_refused_also_when_mapped() -> None:
    own = {ipaddress.ip_address("203.0.113.7")}
    assert not PUBLIC.permits_address(ipaddress.ip_address("203.0.113.7"), own)
    assert not PUBLIC.permits_address(ipaddress.ip_address("::ffff:203.0.113.7"), own)


@pytest.mark.parametrize("text", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_other_spellings_of_loopback_are_seen_through(text: str) -> None:
    assert literal(text) == ipaddress.ip_address("127.0.0.1")


def test_a_named_private_mirror_is_trusted_on_its_port_alone() -> None:
    reach = Reach("public", named=named_hosts(["http://127.0.0.1:4873/npm/"]))
    assert reach.trusted("127.0.0.1", 4873)
    assert not reach.trusted("127.0.0.1", 6379)


def test_an_allow_list_permits_its_hosts_and_the_named_ones() -> None:
    hosts = check_hosts(["Example.com", "*.cdn.example", "only.example:8443"])
    reach = Reach("allowlist", hosts, named_hosts(["https://mirror.example/simple"]))
    assert reach.permits_name("example.com", 443)
    assert reach.permits_name("a.cdn.example", 443)
    assert reach.permits_name("only.example", 8443)
    assert reach.permits_name("mirror.example", 443)
    assert not reach.permits_name("only.example", 443)
    assert not reach.permits_name("cdn.example", 443)
    assert not reach.permits_name("evil-example.com", 443)


def test_no_egress_permits_not_even_what_is_named() -> None:
    reach = Reach("none", named=named_hosts(["https://mirror.example/"]))
    assert not reach.permits_name("mirror.example", 443)
    assert not reach.trusted("mirror.example", 443)


@pytest.mark.parametrize("host", ["", "http://x", "a*b", "*x"])
def test_a_pattern_that_can_match_nothing_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        check_hosts([host])


def test_the_host_of_a_url_has_one_spelling() -> None:
    assert host_of("HTTPS://User:pw@Example.COM./x") == ("example.com", 443)
    assert host_of("http://[::1]:81/") == ("::1", 81)
    assert host_of("file:///opt/wheels") is None
