"""From a host to a label, from a path to a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.gateway.route import Redirect, find, is_text, label_of, location

FILES = frozenset(
    {
        "index.html",
        "404.html",
        "style.css",
        "file.html",
        "folder/index.html",
        "both.html",
        "both/index.html",
        "a b/ü/index.html",
        "LICENSE",
        ".well-known/security.txt",
        "a\\b",
        "%2e.txt",
    }
)


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("shop.localhost", "shop"),
        ("shop.localhost:8000", "shop"),
        ("Shop.LOCALHOST:80", "shop"),
        ("shop.localhost.", "shop"),
        ("shop.localhost.:443", "shop"),
        ("fix-api-1a2b--shop.localhost", "fix-api-1a2b--shop"),
        ("localhost:8000", None),
        ("localhost", None),
        ("notlocalhost", None),
        ("shop.localhost.evil.com", None),
        ("evil.com", None),
        ("127.0.0.1:8000", None),
        ("[::1]:8000", None),
        ("", None),
        ("a.b.localhost", ""),
        (".localhost", ""),
        ("..localhost", ""),
        ("-x.localhost", ""),
        ("sh_op.localhost", ""),
        ("sh op.localhost", ""),
        ("shöp.localhost", ""),
        ("a/b.localhost", ""),
        (f"{'a' * 63}.localhost", "a" * 63),
        (f"{'a' * 64}.localhost", ""),
        (f"{'a' * 5000}.localhost", ""),
        ("a" * 5000, None),
    ],
)
def test_a_host_names_a_label_under_the_sites_domain_only(host: str, label: str | None) -> None:
    assert label_of(host, "localhost:8000") == label
    assert label_of(host, "Localhost") == label


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/style.css", "style.css"),
        ("/LICENSE", "LICENSE"),
        ("/file", "file.html"),
        ("/file.html", "file.html"),
        ("/file/", Redirect("/file")),
        ("/folder", Redirect("/folder/")),
        ("/folder/", "folder/index.html"),
        ("/folder/index", "folder/index.html"),
        ("/both", "both.html"),
        ("/both/", "both/index.html"),
        ("/a b/ü", Redirect("/a b/ü/")),
        ("/a b/ü/", "a b/ü/index.html"),
        ("/.well-known/security.txt", ".well-known/security.txt"),
        ("/%2e.txt", "%2e.txt"),
        ("/a\\b", "a\\b"),
        ("/nothing", None),
        ("/style.css/", None),
        ("/STYLE.css", None),
    ],
)
def test_a_path_finds_what_a_user_of_netlify_expects(
    path: str, found: str | Redirect | None
) -> None:
    assert find(FILES, path) == found


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "index.html",
        "//",
        "//folder",
        "//evil.com",
        "/folder//",
        "/../index.html",
        "/folder/..",
        "/folder/../",
        "/./",
        "/.",
        "/\\evil.com",
        "/folder\\",
        "/\0",
        "/index.html\0",
        "/a\nb",
        "/\x7f",
        "http://sites.test/",
    ],
)
@pytest.mark.parametrize("spa", [False, True])
def test_an_odd_path_finds_nothing(path: str, *, spa: bool) -> None:
    assert find(FILES, path, spa=spa) is None


def test_a_folder_without_a_page_of_its_own_is_not_found() -> None:
    assert find({"a/b.html"}, "/a") is None
    assert find({"a/b.html"}, "/a/") is None
    assert find({"a/b.html"}, "/") is None
    assert find({".html"}, "/") is None


@pytest.mark.parametrize(
    "path", ["/users/7", "/u/jane.doe", "/v1.2", "/a/b/", "/license", "/x.html"]
)
def test_a_single_page_application_routes_what_looks_like_a_page(path: str) -> None:
    assert find({"index.html"}, path, spa=True) == "index.html"
    assert find({"index.html"}, path) is None
    assert find({"app.html"}, path, spa=True) is None


@pytest.mark.parametrize(
    "path",
    [
        "/assets/index-BxYz12ab.js",
        "/favicon.ico",
        "/robots.txt",
        "/img/logo.svg",
        "/.env",
        "/.well-known/apple-app-site-association",
        "/a/.git/HEAD",
    ],
)
def test_a_single_page_application_gives_no_html_for_a_missing_asset(path: str) -> None:
    assert find({"index.html"}, path, spa=True) is None


def test_a_redirect_keeps_the_query_and_is_ascii() -> None:
    assert location(Redirect("/a b/ü/"), b"") == b"/a%20b/%C3%BC/"
    assert location(Redirect("/a/"), b"x=1&y=%20%2F") == b"/a/?x=1&y=%20%2F"
    assert location(Redirect("/a?b/"), b"") == b"/a%3Fb/"
    assert location(Redirect("/a/"), b"x=\r\nSet-Cookie: a\xff") == (
        b"/a/?x=%0D%0ASet-Cookie:%20a%FF"
    )


_PARTS = st.sampled_from(["", "a", "b", ".", "..", "evil.com", "index.html", "\\", "é", "\0"])


@given(
    st.lists(_PARTS, max_size=5).map("/".join) | st.text(max_size=20),
    st.sets(st.lists(_PARTS, min_size=1, max_size=4).map("/".join)),
    st.binary(max_size=10),
    st.booleans(),
)
def test_whatever_is_asked_nothing_fails_and_no_redirect_leaves_the_host(
    path: str, files: set[str], query: bytes, spa: bool
) -> None:
    found = find(files, path, spa=spa)
    if isinstance(found, Redirect):
        where = location(found, query).decode("ascii")
        assert where.startswith("/")
        assert where[1:2] not in ("/", "\\")
        assert where.isprintable()
        assert not isinstance(find(files, found.path, spa=spa), Redirect | None)
    elif found is not None:
        assert found in files


def test_a_path_that_is_no_utf8_is_told_from_one_that_is() -> None:
    assert is_text(b"/%C3%BC")
    assert is_text(b"/%EF%BF%BD")
    assert not is_text(b"/%FF")
    assert not is_text(b"/%C0%AE")
