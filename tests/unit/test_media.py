"""Media types by name."""

from __future__ import annotations

import pytest

from bot.core.media import DEFAULT, compresses, media_type

UTF8 = "; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("index.html", f"text/html{UTF8}"),
        ("a/b/INDEX.HTML", f"text/html{UTF8}"),
        ("assets/app.js", f"text/javascript{UTF8}"),
        ("x.mjs", f"text/javascript{UTF8}"),
        ("x.css", f"text/css{UTF8}"),
        ("x.json", f"application/json{UTF8}"),
        ("x.map", f"application/json{UTF8}"),
        ("x.svg", f"image/svg+xml{UTF8}"),
        ("feed.xml", f"application/xml{UTF8}"),
        ("site.webmanifest", f"application/manifest+json{UTF8}"),
        ("x.wasm", "application/wasm"),
        ("x.woff2", "font/woff2"),
        ("x.png", "image/png"),
        ("favicon.ico", "image/x-icon"),
        ("x.tar.gz", "application/gzip"),
        ("robots.txt", f"text/plain{UTF8}"),
        ("LICENSE", f"text/plain{UTF8}"),
        (".well-known/apple-app-site-association", f"application/json{UTF8}"),
        ("page", DEFAULT),
        (".html", DEFAULT),
        ("x.", DEFAULT),
        ("x.unheard-of", DEFAULT),
        ("dir.html/page", DEFAULT),
        ("", DEFAULT),
    ],
)
def test_the_name_alone_says_the_type(path: str, expected: str) -> None:
    assert media_type(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x.html", True),
        ("x.json", True),
        ("x.svg", True),
        ("x.wasm", True),
        ("x.ttf", True),
        ("page", True),
        ("x.png", False),
        ("x.woff2", False),
        ("x.mp4", False),
        ("x.zip", False),
        ("x.pdf", False),
    ],
)
def test_text_and_what_is_stored_plain_is_worth_compressing(path: str, expected: bool) -> None:
    assert compresses(media_type(path)) is expected
