"""Every text of the pages can be told from what it stands on: WCAG's AA, in both schemes."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from bot.pages import ansi

AA = 4.5
STYLE = (resources.files("bot.pages") / "static" / "style.css").read_text("utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{([^}]*)\}", STYLE)
)
TONES = ("good", "bad", "ours", "going", "waiting", "off")
IN_LOGS = (*(name for name in LIGHT if name.startswith("fg-")), "text", "soft")


def luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_statuses_have_contrast(scheme: dict[str, str]) -> None:
    for text in ("text", "soft", "link", *TONES):
        for ground in ("page", "card"):
            assert contrast(scheme[text], scheme[ground]) >= AA, (text, ground)
    assert contrast(scheme["card"], scheme["link"]) >= AA, "a button's words"


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_a_log_has_contrast_in_all_colours_on_all_grounds(scheme: dict[str, str]) -> None:
    grounds = ("log", "page", "target", *(name for name in scheme if name.startswith("bg-")))
    for text in IN_LOGS:
        for ground in grounds:
            assert contrast(scheme[text], scheme[ground]) >= AA, (text, ground)


def test_both_schemes_name_the_same_colours() -> None:
    assert set(LIGHT) == set(DARK)


@pytest.mark.parametrize("colour", ansi.COLOURS)
def test_every_colour_of_a_log_has_a_rule(colour: str) -> None:
    assert re.search(rf"\.fg-{colour}\b", STYLE)
    assert re.search(rf"\.bg-{colour}\b", STYLE)


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert not re.search(r"url\(|@import|https?://", STYLE)
