"""How the command writes: plain text that no stranger's bytes can turn into something else.

What the user asked for goes to stdout, all else to stderr. Commit messages, log lines and whatever
a server says were written by others, so control characters in them are shown, never sent.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

# C0, DEL and C1; line and paragraph separators; marks and overrides of direction; lone surrogates.
_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;:]{0,32}m")
_RESET: Final = "\x1b[0m"
_BOLD: Final = 1
_NARROWEST: Final = 6
"""Letters that a column keeps at least."""
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def say(text: str) -> None:
    """One line for a person, on stderr."""
    print(text, file=sys.stderr, flush=True)


def put(text: str) -> None:
    """One line of the answer, on stdout."""
    print(text, flush=True)


def put_json(answer: Any) -> None:
    """The whole answer as one line of JSON, in ASCII: so nothing in it is a control character."""
    put(json.dumps(answer, separators=(",", ":"), ensure_ascii=True))


def plain(text: str) -> str:
    """The text on one line, without colours; each control character in it is spelled out."""
    return _CONTROL.sub(_spelled, _COLOUR.sub("", text))


def title(message: str, *, most: int = 200) -> str:
    """A commit message's first line, plain, cut to `most` characters."""
    first = plain(message.strip().partition("\n")[0])
    return first if len(first) <= most else first[: most - 1] + "…"


def log_line(line: str, *, colour: bool) -> str:
    """A build's line: tabs stay, colours too where the terminal shows them, all else is spelled."""
    parts = []
    at = 0
    for found in _COLOUR.finditer(line):
        parts += [_spell_all(line[at : found.start()]), found[0] if colour else ""]
        at = found.end()
    parts.append(_spell_all(line[at:]))
    if colour and at:
        parts.append(_RESET)
    return "".join(parts)


def shows_colour(stream: TextIO) -> bool:
    """Whether the stream is a terminal whose user wants colours (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty()


def coloured(text: str, colour: int) -> str:
    """Text for stdout in one of the terminal's colours (an SGR code), where they are shown."""
    return f"\x1b[{colour}m{text}{_RESET}" if shows_colour(sys.stdout) else text


def seconds_in_words(seconds: float | None) -> str:
    """A duration: `0.04 s`, `5.7 s`, `2 min 5 s`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def seconds_since(at: str | None) -> float | None:
    """Seconds from an ISO 8601 time to now, none of them negative; None for an unknown one."""
    try:
        since = datetime.fromisoformat(at or "")
    except ValueError:
        return None
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return max((datetime.now(UTC) - since).total_seconds(), 0)


def age(at: str | None) -> str:
    """How long ago an ISO 8601 time was: `12 s`, `3 min`, `5 h`, `2 d`; `-` for an unknown one."""
    seconds = seconds_since(at)
    if seconds is None:
        return "-"
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def at_terminal() -> bool:
    """Whether stdout is one: then a table is cut to its width, and GUIDs to their beginning."""
    return sys.stdout.isatty()


def put_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, elastic: Collection[str] = ()
) -> None:
    """A table on stdout. At a terminal its `elastic` columns are cut to fit, the widest first.

    What is to be copied, an id say, is never cut; and in a pipe nothing is.
    """
    from rich.cells import cell_len, set_cell_size

    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    if at_terminal():
        over = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
        for _ in range(over if elastic else 0):
            widest = max(map(heads.index, elastic), key=widths.__getitem__)
            widths[widest] = max(widths[widest] - 1, _NARROWEST)

    def fitted(cell: str, width: int) -> str:
        if cell_len(cell) > width:
            cell = f"{set_cell_size(cell, width - 1)}…"
        return set_cell_size(cell, width)

    for number, row in enumerate((heads, *rows)):
        text = "  ".join(map(fitted, row, widths)).rstrip()
        put(text if number else coloured(text, _BOLD))


def put_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Names with their values, one a line; empty values are left out."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        if value:
            put(f"{name:{width}}  {value}")


def _spell_all(text: str) -> str:
    return "\t".join(_CONTROL.sub(_spelled, part) for part in text.split("\t"))


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "backslashreplace").decode("ascii")
