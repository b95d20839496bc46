"""Which repository a submodule's URL names, and which URLs are refused. Without git."""

from __future__ import annotations

import pytest

from bot.core.errors import BuildFailed
from bot.source.origin import Origin, no_token
from bot.source.submodules import origin_of, urls


async def a_token(repository: str) -> str | None:
    return f"for {repository}"


def an_origin(repository: str = "octo/site", base_url: str = "https://github.com") -> Origin:
    return Origin(
        base_url=base_url, repository=repository, key="7", token=a_token, opens=all_but_secrets
    )


def all_but_secrets(repository: str) -> bool:
    return "secret" not in repository


def named(url: str, *, base_url: str = "https://github.com", parent: str = "octo/site") -> Origin:
    top = an_origin(base_url=base_url)
    return origin_of(url, path="lib", parent=an_origin(parent, base_url), top=top)


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("../lib.git", "octo/lib"),
        ("../lib", "octo/lib"),
        ("../../other/lib.git", "other/lib"),
        ("./../lib/", "octo/lib"),
        ("https://github.com/octo/lib.git", "octo/lib"),
        ("https://GitHub.com/octo/lib", "octo/lib"),
        ("https://github.com:443/octo/lib/", "octo/lib"),
        ("https://someone:secret@github.com/octo/lib.git", "octo/lib"),
        ("git@github.com:octo/lib.git", "octo/lib"),
        ("github.com:octo/lib.git", "octo/lib"),
        ("ssh://git@github.com/octo/lib.git", "octo/lib"),
        ("ssh://git@github.com:22/octo/lib.git", "octo/lib"),
    ],
)
def test_a_url_of_the_same_host_names_a_repository(url: str, repository: str) -> None:
    found = named(url)
    assert (found.base_url, found.repository) == ("https://github.com", repository)
    assert found.url == f"https://github.com/{repository}.git"


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/octo/lib.git",
        "https://github.com.evil.example/octo/lib.git",
        "https://github.com@evil.example/octo/lib.git",
        "https://github.com:8443/octo/lib.git",
        "http://github.com/octo/lib.git",
        "git://github.com/octo/lib.git",
        "git@evil.example:octo/lib.git",
        "file:///etc/passwd",
        "/etc/passwd",
        "octo/lib",
        "ext::sh -c touch% pwn",
        "ext::sh",
        "-u./payload",
        "--upload-pack=touch pwn",
        "ssh://-oProxyCommand=touch/octo/lib",
        "https://github.com/octo/lib\nx",
        "https://github.com\\@evil.example/octo/lib.git",
        "https://[::1/octo/lib.git",
        "https://github.com:x/octo/lib.git",
        "../../../lib.git",
        "../../..",
        "..",
        "https://github.com/octo",
        "https://github.com/octo/lib/tree/main",
        "https://github.com/octo/..",
        "https://github.com/-octo/lib",
        "",
    ],
)
def test_every_other_url_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(BuildFailed, match=r"submodule at 'lib' .*\.gitmodules") as caught:
        named(url)
    assert caught.value.code == "submodule_refused"


def test_a_relative_url_is_relative_to_its_own_parent() -> None:
    assert named("../lib.git", parent="other/middle").repository == "other/lib"


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("http://ghe.example:8080/git/octo/lib.git", "octo/lib"),
        ("../lib.git", "octo/lib"),
    ],
)
def test_a_github_below_a_path_and_by_a_port_is_known_by_both(url: str, repository: str) -> None:
    assert named(url, base_url="http://ghe.example:8080/git").repository == repository


def test_a_url_beside_that_path_is_refused() -> None:
    with pytest.raises(BuildFailed, match="outside"):
        named("http://ghe.example:8080/other/octo/lib.git", base_url="http://ghe.example:8080/git")


def test_our_token_goes_along_to_what_is_opened_of_the_pushed_repositorys_owner_only() -> None:
    ours = named("https://github.com/OCTO/lib.git")
    assert ours.token is a_token
    for url in ("../../other/lib.git", "../secrets.git"):
        theirs = named(url)
        assert theirs.token is no_token
        # And neither is ever taken from the other's mirror.
        assert named(url).key == theirs.key
        assert ours.key.partition("-")[0] != theirs.key.partition("-")[0]


def test_a_source_opens_no_other_repository_unless_it_is_said() -> None:
    top = Origin(base_url="https://github.com", repository="octo/site", key="7", token=a_token)
    assert origin_of("../lib.git", path="lib", parent=top, top=top).token is no_token


def test_urls_are_read_from_what_git_lists() -> None:
    listing = (
        b"submodule.lib.path\nvendor/lib\0submodule.lib.url\n../lib.git\0"
        b"submodule.a.b/c d.url\nhttps://github.com/o/r\0submodule.a.b/c d.path\nother/\0"
        b"submodule.none.path\nno-url\0submodule.half.url\n../x\0"
        b"core.hookspath\n/tmp\0submodule.lib.update\n!touch pwn\0"
    )
    assert urls(listing) == {b"vendor/lib": "../lib.git", b"other": "https://github.com/o/r"}
