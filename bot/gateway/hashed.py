"""Which files bear a hash of their content in their name, and so never change under it. Pure.

To miss one costs a visitor a 304. To take one too many shows an old file for a year, so a name that
could be words, a version or a date does not count, and a page never does.
"""

from __future__ import annotations

import re
from typing import Final

_CODE: Final = frozenset({"js", "mjs", "cjs", "css"})
_PICTURES: Final = frozenset({"svg", "png", "jpg", "jpeg", "gif", "webp", "avif", "ico"})
_OTHERS: Final = frozenset(
    {"wasm", "woff", "woff2", "ttf", "otf", "eot", "mp3", "m4a", "ogg", "mp4", "webm"}
)
_KINDS: Final = _CODE | _PICTURES | _OTHERS
"""Extensions of what bundlers put a hash on. A PDF is as often named by people."""

_FOLDERS: Final = ("/_next/static/", "/_astro/", "/_app/immutable/", "/_nuxt/")
"""Where Next, Astro, SvelteKit and Nuxt put such files only: their own documentation says so."""
_PAGES: Final = frozenset({"html", "htm", "xhtml", "json", "txt"})

_TAIL: Final = re.compile(r"\.(min|chunk|bundle|lean|module|async)$")
_HEX: Final = re.compile(r"(^|[-._])([0-9a-f]+)$")
_HEX_LENGTHS: Final = frozenset({8, 10, 16, 20, 32, 40, 64, 96, 128})
"""Of webpack, Parcel and Hugo. Twelve is the end of a UUID, which names a thing, not its content"""
_BASE64: Final = re.compile(r"[-.]([A-Za-z0-9_-]{8})$")
"""Rollup's, and so Vite's: `index-BxYz12ab`."""
_BASE32: Final = re.compile(r"[-.]([A-Z2-7]{8})$")
"""esbuild's, and so Angular's: `main-K3YBWD2E`."""
_WORDS: Final = re.compile(r"[A-Z]{2,}(?=[A-Z][a-z]|[^a-z]|$)|[A-Z]?[a-z]+|[A-Z]|[0-9]+")
"""What people join to a name: Word, word, WORD and 2024."""


def is_hashed(path: str) -> bool:
    """Whether the file at `path` (no leading slash) may be kept for ever by who has it."""
    name = path.rpartition("/")[2]
    stem, _, kind = name.rpartition(".")
    kind = kind.lower()
    if kind in _PAGES:
        return False
    if any(folder in f"/{path}" for folder in _FOLDERS):
        return True
    if kind == "map":
        stem, _, kind = stem.rpartition(".")
    if kind not in _KINDS:
        return False
    stem = _TAIL.sub("", stem)
    if (found := _HEX.search(stem)) and _is_hex_hash(found[2], alone=not found[1]):
        return True
    if kind in _CODE and (found := _BASE32.search(stem)):
        return bool(re.search(r"[2-7][A-Z]", found[1]))
    if found := _BASE64.search(stem):
        # Vite's own folder is its word for it, so that less of chance is proof enough.
        least = 3 if kind in _CODE and "/assets/" in f"/{path}" else 4
        return _is_base64_hash(found[1], least=least)
    return False


def _is_hex_hash(digits: str, *, alone: bool) -> bool:
    if len(digits) not in _HEX_LENGTHS or digits.isdigit() or digits.isalpha():
        return False
    if alone:
        return len(digits) >= 20
    # `cafe2024` and `2024face` are words with a number; chance changes between them more often.
    return len(digits) >= 16 or len(_WORDS.findall(digits)) >= 3


def _is_base64_hash(token: str, *, least: int) -> bool:
    mixed = token != token.lower() and token != token.upper()
    return mixed and len(_WORDS.findall(token)) >= least
