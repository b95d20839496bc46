"""What hides secrets in what a build prints: each in every form that a build may give it. Pure.

Masked are a secret as it is and line by line, base64 and base64url at any place of longer base64
and wrapped into lines, hex, and as URLs, JSON, HTML, Python and a shell write it; also with colours
in between. A build that means to can always hide a secret from us: what it knows, its author knows.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "•••"
SHORTEST: Final = 6
"""Characters of a form that is masked: a shorter one stands in other words by chance."""

_URL: Final = str.maketrans("+/", "-_")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]*m")
_WRAPPED: Final = 56
"""Characters of base64 that some tool breaks into lines."""
_PIECE: Final = 12
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_LAST: Final = re.compile(r"\s*([A-Za-z0-9+/_-]{4,})={0,2}\s*")
_JAVASCRIPT: Final = ("!'()*", ";,/?:@&=+$-_.!~*'()#")
"""What encodeURIComponent and encodeURI leave as it is."""


class Masker:
    """Hides some secrets. Immutable."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        forms: set[str] = set()
        wrapped: set[str] = set()
        for secret in self._secrets:
            forms.update(_forms(secret))
            wrapped.update(form for form in _wholes(secret) if len(form) > _WRAPPED)
        # By their first letters: so what it takes to mask a line does not grow with their number.
        self._forms: dict[str, tuple[str, ...]] = {}
        for form in sorted(forms, key=len, reverse=True):
            if len(form) >= SHORTEST:
                head = form[:SHORTEST]
                self._forms[head] = (*self._forms.get(head, ()), form)
        self._wrapped = tuple(wrapped)
        # Lines of base64 are broken between its groups of four.
        self._pieces = {form[at : at + _PIECE] for form in wrapped for at in range(0, len(form), 4)}
        self.longest = max((len(found[0]) for found in self._forms.values()), default=0)
        """Characters of the longest form."""

    def hiding(self, secrets: Iterable[str]) -> Masker:
        """One that hides these too. Of some 10 KB of secrets it is made in milliseconds."""
        return Masker((*self._secrets, *secrets))

    def mask_all(self, text: str) -> str:
        """As `mask`, for several lines."""
        return "\n".join(map(self.mask, text.split("\n")))

    def mask(self, line: str) -> str:
        """The line without any secret; its colours go where one of them stands inside a secret."""
        if not self._forms:
            return line
        if "\x1b" in line:
            bare = _COLOUR.sub("", line)
            if (masked := self._masked(bare)) != bare:
                coloured = self._masked(line)
                return coloured if _COLOUR.sub("", coloured) == masked else masked
            return line
        return self._masked(line)

    def _masked(self, text: str) -> str:
        text = self._without_forms(text)
        if not self._wrapped:
            return text
        text = _TOKEN.sub(self._piece, text)
        last = _LAST.fullmatch(text)
        if last and any(form.endswith(last[1]) for form in self._wrapped):
            return MASK
        return text

    def _without_forms(self, text: str) -> str:
        known = self._forms
        begins = [at for at in range(len(text) - SHORTEST + 1) if text[at : at + SHORTEST] in known]
        parts: list[str] = []
        end = 0
        for at in begins:
            forms = known[text[at : at + SHORTEST]]
            length = next((len(form) for form in forms if text.startswith(form, at)), 0)
            # One may begin within another, and end behind it.
            if length and at >= end:
                parts += [text[end:at], MASK]
            if length:
                end = max(end, at + length)
        return "".join([*parts, text[end:]])

    def _piece(self, found: re.Match[str]) -> str:
        """Hides what is one line of base64 that was broken into lines."""
        token = found[0]
        if token[:_PIECE] in self._pieces or token[-_PIECE:] in self._pieces:
            return MASK
        return token


def traces(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """What to look for in a file: one of them is in each that holds a secret in any form.

    Of each secret it is the longest line, which whoever writes the whole of it writes too: so they
    are few. It is never a key's first or last, which other keys have too.
    """
    found: set[str] = set()
    for secret in secrets:
        lines = (each.strip() for each in _unfolded(secret).splitlines())
        line = max(lines, key=lambda each: (not each.startswith("-----"), len(each)), default="")
        if len(line) < SHORTEST:
            continue
        found.update((line, *_spelled(line)))
        for form in _coded(line.encode("utf-8", "surrogateescape")):
            found.update(_two_of(form) if len(form) > 2 * _PIECE else (form,))
    return tuple(form.encode("utf-8", "surrogateescape") for form in found)


def _two_of(form: str) -> tuple[str, str]:
    """Two neighbours in its middle: a form that is broken into lines has one of them whole."""
    middle = len(form) // 2
    length = min(2 * _PIECE, middle)
    return form[middle - length : middle], form[middle : middle + length]


def _forms(secret: str) -> Iterator[str]:
    unfolded = _unfolded(secret)
    for text in {secret, secret.strip(), unfolded, unfolded.strip()}:
        yield text
        yield from _spelled(text)
        for line in text.splitlines():
            yield from (line, line.strip())
    raw = secret.encode("utf-8", "surrogateescape")
    for coded in {raw, raw.strip()}:
        yield from _coded(coded)


def _unfolded(secret: str) -> str:
    # A key in PEM is often given on one line, its ends spelled out.
    return secret.replace("\\r", "").replace("\\n", "\n")


def _coded(raw: bytes) -> Iterator[str]:
    """Hex, and what is the same wherever the bytes stand in longer base64."""
    yield from (raw.hex(), raw.hex().upper())
    for form in _inner(raw):
        yield from (form, form.translate(_URL))


def _spelled(text: str) -> Iterator[str]:
    """As URLs, JSON, HTML, Python and a shell write it."""
    for safe in ("", "/", *_JAVASCRIPT):
        yield from _both_cases(quote(text, safe=safe, errors="surrogateescape"))
    yield from _both_cases(quote_plus(text, errors="surrogateescape"))
    for ascii_only in (True, False):
        spelled = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield from (spelled, spelled.replace("/", "\\/"), json.dumps(spelled)[1:-1])
    yield from (html.escape(text), html.escape(text).replace("&#x27;", "&#39;"))
    yield from (repr(text)[1:-1], text.replace("'", "'\\''"), text.replace("'", "'\"'\"'"))


def _both_cases(quoted: str) -> Iterator[str]:
    yield quoted
    yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _inner(raw: bytes) -> Iterator[str]:
    """What is the same wherever the bytes stand in longer base64.

    They begin at one of three places there; their ends mix with what is before and after.
    """
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).decode()
        inner = coded[-(-shift * 8 // 6) :].rstrip("=")
        yield inner[: len(inner) - (1 if (shift + len(raw)) % 3 else 0)]


def _wholes(secret: str) -> Iterator[str]:
    """Its base64, alone and within longer, to the end: what may be broken into lines."""
    raw = secret.encode("utf-8", "surrogateescape")
    for coded in (raw, raw + b"\n", raw[1:], raw[2:]):
        whole = base64.b64encode(coded).decode().rstrip("=")
        yield whole
        yield whole.translate(_URL)
