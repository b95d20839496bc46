"""No form that a build may print a secret in is to be seen."""

from __future__ import annotations

import base64
import html
import json
import re
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from worker.masking import MASK, Masker, traces

PLAIN = "hunter2-öffne/+dich?&'now"
LONG = "k" + "".join(f"{number:03}Az+/" for number in range(40))
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "hex": lambda text: text.encode().hex(),
    "upper hex": lambda text: text.encode().hex().upper(),
    "a URL's": lambda text: quote(text, safe=""),
    "a URL's in lower case": lambda text: re.sub(
        "%..", lambda found: found[0].lower(), quote(text, safe="")
    ),
    "a URL's path": quote,
    "a form's": quote_plus,
    "encodeURIComponent's": lambda text: quote(text, safe="!'()*"),
    "JSON's": lambda text: json.dumps(text)[1:-1],
    "JSON's in Unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON's within JSON": lambda text: json.dumps(json.dumps(text))[3:-3],
    "HTML's": html.escape,
    "Python's": lambda text: repr(text)[1:-1],
    "a shell's": lambda text: text.replace("'", "'\\''"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [PLAIN, LONG, PEM])
def test_a_form_is_masked_with_text_around_it(form: str, secret: str) -> None:
    masker = Masker([secret])
    shown = FORMS[form](secret)
    for line in f"key={shown}; next".split("\n"):
        masked = masker.mask(line)
        # What is as short as a brace or an end of a line is no secret.
        assert MASK in masked or len(line) < 12, masked
        for part in secret.splitlines():
            assert part not in masked


@pytest.mark.parametrize("before", ["", "a", "ab", "user:", "Basic x:"])
@pytest.mark.parametrize("after", ["", "!", "--", "&more"])
@pytest.mark.parametrize("coded", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_is_masked_wherever_the_secret_stands_in_it(
    before: str, after: str, coded: Callable[[bytes], bytes]
) -> None:
    for secret in (PLAIN, LONG, "sixsix"):
        line = coded((before + secret + after).encode()).decode()
        masked = Masker([secret]).mask(f"Authorization: {line}")
        # At most one letter beside the mask holds some bits of it, on either side.
        left, found, right = masked.removeprefix("Authorization: ").partition(MASK)
        assert found, masked
        assert len(left) <= len(before) * 4 / 3 + 2
        assert len(right) <= len(after) * 4 / 3 + 4


@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("before", ["", "a", "ab", "some words before it, "])
def test_base64_that_was_broken_into_lines_is_masked(width: int, before: str) -> None:
    coded = base64.b64encode((before + LONG).encode()).decode()
    masker = Masker([LONG])
    for line in textwrap.wrap(coded, width):
        assert masker.mask(line).rstrip("=") == MASK


def test_colours_in_the_midst_of_it_hide_nothing() -> None:
    masker = Masker([PLAIN])
    line = f"\x1b[31mkey\x1b[0m {PLAIN[:4]}\x1b[1m{PLAIN[4:9]}\x1b[0m{PLAIN[9:]} end"
    assert masker.mask(line) == f"key {MASK} end"
    # Where none stands inside, they stay.
    assert masker.mask(f"\x1b[31m{PLAIN}\x1b[0m") == f"\x1b[31m{MASK}\x1b[0m"


def test_a_key_on_one_line_is_masked_when_its_lines_are_printed() -> None:
    masker = Masker([PEM.replace("\n", "\\n")])
    for line in PEM.splitlines():
        assert masker.mask(f"  {line}") == f"  {MASK}"


def test_what_is_no_secret_stays() -> None:
    masker = Masker([PLAIN, LONG, PEM])
    for line in (
        "vite v7.0.0 building for production...",
        "dist/assets/index-D4f8aQ2b.js",
        "}",
        "",
    ):
        assert masker.mask(line) == line
    assert Masker().mask("anything") == "anything"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [PLAIN, LONG, PEM])
def test_each_form_leaves_a_trace(form: str, secret: str) -> None:
    found = traces([secret, "other-secret"])
    body = f"some words {FORMS[form](secret)} and more".encode()
    assert any(trace in body for trace in found)
    assert len(found) < 40
    assert not any(trace in b"-----BEGIN PRIVATE KEY-----\nMIIB" for trace in found)


@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("before", ["", "a", "ab", "some words before it, "])
def test_base64_that_was_broken_into_lines_leaves_a_trace(width: int, before: str) -> None:
    for secret in (LONG, LONG[:43]):
        coded = base64.b64encode((before + secret + " and words behind").encode()).decode()
        body = "\r\n".join(textwrap.wrap(coded, width)).encode()
        assert any(trace in body for trace in traces([secret]))


def test_a_short_secret_leaves_none() -> None:
    assert traces(["abc", ""]) == ()
