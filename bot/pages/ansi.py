"""What a terminal would show of a line, as text with classes: colours stay, all else is dropped.

A log is a stranger's bytes. Of its escape sequences only SGR (colour and weight) means anything
here, and it means one of the classes below, nothing that the line itself spells. Each line begins
plain, so that any of them can be shown without those before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec
from markupsafe import Markup, escape

COLOURS: Final = (
    *("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"),
    *("grey", "bright-red", "bright-green", "bright-yellow"),
    *("bright-blue", "bright-magenta", "bright-cyan", "bright-white"),
)
"""The names in the classes `fg-…` and `bg-…`, in the order of SGR's numbers."""

MOST_PIECES: Final = 200
"""Pieces of one line; what comes after that many is one plain piece. Else a line of nothing but
colours is a page of nothing but tags."""

_ESCAPE: Final = re.compile(
    r"\x1b\[([0-9;:]*)m"  # SGR: the only group
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # any other control sequence, whole or cut
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # title, link, clipboard
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # device and private strings
    r"|\x1b[ -/]*[0-~]?"  # two characters
    # Control characters but tab, and those that turn the direction of text.
    r"|[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_RGB: Final = (
    *((0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0)),
    *((0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229)),
    *((127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0)),
    *((92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255)),
)
"""xterm's sixteen; every other colour is shown as the nearest of them."""
_ON: Final = {
    1: "bold",
    2: "dim",
    3: "italic",
    4: "underline",
    7: "inverse",
    9: "strike",
}
_OFF: Final = {
    21: ("bold",),
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    27: ("inverse",),
    29: ("strike",),
}


class Style(msgspec.Struct, frozen=True):
    """How a piece of text looks. Colours are names of `COLOURS`, or empty."""

    fg: str = ""
    bg: str = ""
    marks: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        """Its classes, separated by spaces; empty for plain text."""
        fg = [f"fg-{self.fg}"] if self.fg else []
        bg = [f"bg-{self.bg}"] if self.bg else []
        return " ".join((*fg, *bg, *sorted(self.marks)))


def pieces(line: str) -> list[tuple[str, str]]:
    """The line as (classes, text), neighbours with the same classes joined."""
    found: list[tuple[str, str]] = []
    for classes, text in _pieces(_last_written(line)):
        if found and found[-1][0] == classes:
            found[-1] = (classes, found[-1][1] + text)
        else:
            found.append((classes, text))
    return found


def plain(line: str) -> str:
    """The line's text alone."""
    return _ESCAPE.sub("", _last_written(line))


def markup(line: str) -> Markup:
    """The line as HTML: escaped text in spans that bear the classes."""
    # The classes are of the fixed set, and the text is escaped: nothing else comes from the line.
    return Markup(  # noqa: S704
        "".join(
            f'<span class="{classes}">{escape(text)}</span>' if classes else escape(text)
            for classes, text in pieces(line)
        )
    )


def _last_written(line: str) -> str:
    """A progress bar writes over its own line: what it wrote last is what stands there."""
    return line.rstrip("\r\n").rpartition("\r")[2]


def _pieces(line: str) -> Iterator[tuple[str, str]]:
    style, start, count = Style(), 0, 0
    for found in _ESCAPE.finditer(line):
        if found.start() > start:
            yield style.classes, line[start : found.start()]
            count += 1
            if count >= MOST_PIECES:
                yield "", _ESCAPE.sub("", line[found.start() :])
                return
        start = found.end()
        if found[1] is not None:
            style = _styled(style, found[1])
    if start < len(line):
        yield style.classes, line[start:]


@lru_cache(maxsize=1024)
def _styled(style: Style, parameters: str) -> Style:
    """The style after one SGR sequence. What is not known is passed over."""
    codes = _codes(parameters)
    fg, bg, marks = style.fg, style.bg, set(style.marks)
    for code in codes:
        match code:
            case 0:
                fg, bg, marks = "", "", set()
            case code if code in _ON:
                marks.add(_ON[code])
            case code if code in _OFF:
                marks.difference_update(_OFF[code])
            case 38:
                fg = _extended(codes) or fg
            case 39:
                fg = ""
            case 48:
                bg = _extended(codes) or bg
            case 49:
                bg = ""
            case code if 30 <= code <= 37 or 90 <= code <= 97:
                fg = COLOURS[code - 30 if code < 40 else code - 82]
            case code if 40 <= code <= 47 or 100 <= code <= 107:
                bg = COLOURS[code - 40 if code < 50 else code - 92]
            case _:
                pass
    return Style(fg, bg, frozenset(marks))


def _codes(parameters: str) -> Iterator[int]:
    """The numbers between the semicolons; an empty one is 0, one that is far too large -1.

    A colon has a finer number after it: the parts of a colour (`38:2::255:0:0`, where a colour
    space may stand before the last three), or the kind of an underline, which is all one here.
    """
    for word in parameters.split(";"):
        first, *finer = word.split(":")
        parts = (*finer[:1], *finer[1:][-3:]) if first in ("38", "48") else ()
        yield from (int(part or 0) if len(part) < 4 else -1 for part in (first, *parts))


def _extended(codes: Iterator[int]) -> str:
    """The colour of `5;n` or `2;r;g;b`, which it takes off `codes`; empty when it is none."""
    match next(codes, -1):
        case 5:
            return _of_256(next(codes, -1))
        case 2:
            red, green, blue = (next(codes, -1) for _ in range(3))
            return _nearest(red, green, blue) if min(red, green, blue) >= 0 else ""
        case _:
            return ""


def _of_256(number: int) -> str:
    """One of xterm's 256 colours: sixteen, then a cube of six steps a side, then greys."""
    if 0 <= number < 16:
        return COLOURS[number]
    if 16 <= number < 232:
        steps = ((number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6)
        return _nearest(*(step * 40 + 55 if step else 0 for step in steps))
    if 232 <= number < 256:
        return _nearest(*[(number - 232) * 10 + 8] * 3)
    return ""


def _nearest(red: int, green: int, blue: int) -> str:
    def distance(index: int) -> int:
        r, g, b = _RGB[index]
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return COLOURS[min(range(16), key=distance)]
