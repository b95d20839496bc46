"""Which names bear a hash."""

from __future__ import annotations

import hashlib
import random
import string

import pytest

from bot.gateway.hashed import is_hashed


@pytest.mark.parametrize(
    "path",
    [
        "assets/index-BxYz12ab.js",
        "assets/index-Di8DUHzh.css",
        "assets/index-Di8DUHzh.js.map",
        "assets/logo-DkJ2abCd.svg",
        "docs/assets/chunks/theme.DkJxQbCd.js",
        "assets/guide.md.B7_k-2Xa.lean.js",
        "assets/inter-roman-latin.Di8DUHzh.woff2",
        "main.8f3a2b1c.js",
        "static/js/2.8f3a2b1c.chunk.js",
        "static/css/main.8f3a2b1c.min.css",
        "webpack-runtime-4c2f3d1e5a6b7c8d9e0f.js",
        "css/style.d2f1c0a9b8e7d6c5b4a3928170615243d2f1c0a9b8e7d6c5b4a3928170615243.css",
        "img/8f3a2b1c9d8e7f6a5b4c.png",
        "main-K3YBWD2E.js",
        "_next/static/chunks/pages/index-1.js",
        "_next/static/aBcDeF/_buildManifest.js",
        "shop/_next/static/media/font.woff2",
        "_astro/hoisted.js",
        "_app/immutable/entry/start.js",
        "_nuxt/entry.css",
    ],
)
def test_what_a_bundler_names_by_its_content_never_changes(path: str) -> None:
    assert is_hashed(path)


@pytest.mark.parametrize(
    "path",
    [
        "index.html",
        "app.js",
        "report-2024.pdf",
        "report-20240131.pdf",
        "photo-20240131.jpg",
        "report-24-01-31.svg",
        "jquery-3.7.1.min.js",
        "lib-1-2-3-4b.js",
        "bootstrap.bundle.min.js",
        "my-component.js",
        "user-settings.js",
        "src-Chapter1.js",
        "assets/share-LinkedIn.js",
        "assets/share-LinkedIn.svg",
        "assets/logo-GitHubUI.svg",
        "assets/api-HTMLPage.css",
        "assets/v2-iPhone15.png",
        "menu-cafe2024.jpg",
        "film-deadbeef.mp4",
        "film-12345678.mp4",
        "COVID19A.js",
        "js/app-SECTIONS.js",
        "photo-123e4567-e89b-12d3-a456-4266141740ab.jpg",
        "notes-8f3a2b1c9d8e7f6a5b4c.html",
        "8f3a2b1c.html",
        "api-8f3a2b1c.json",
        "_nuxt/builds/latest.json",
        "_next/data/aBcDeF/index.json",
        "my_next/static/x.js",
        "_astro/page.html",
        "8f3a2b1c.js",
        "sw.js",
        "BxYz12ab",
        ".BxYz12ab",
        "",
    ],
)
def test_a_name_that_people_may_have_given_counts_as_changing(path: str) -> None:
    assert not is_hashed(path)


def test_nearly_all_of_what_vite_and_webpack_write_is_recognised() -> None:
    chance = random.Random(7)  # the same names each time
    letters = string.ascii_letters + string.digits + "-_"
    vite = [f"assets/index-{''.join(chance.choices(letters, k=8))}.js" for _ in range(2000)]
    webpack = [
        f"main.{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()[:8]}.js" for n in range(2000)
    ]
    assert sum(map(is_hashed, vite)) > 1800
    assert sum(map(is_hashed, webpack)) > 1700
