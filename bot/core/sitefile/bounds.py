"""Reading a stranger's TOML and JSON within bounds, and what is wrong with it in one line. Pure."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final, TypeVar

import msgspec

from bot.core.errors import BuildFailed, short

T = TypeVar("T")

LIMIT: Final = 262_144
"""Bytes; a longer file is refused."""
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""The name of a variable of a build, wherever it is said."""

_DOTS: Final = 100
_SOME_DOTS: Final = 16
_LONG_LINES: Final = 50
_PLACE: Final = re.compile(r"\$\.?(\S*)")


def invalid(file: str, words: str) -> BuildFailed:
    """The error of a file that cannot be used; `words` say why and what to do."""
    return BuildFailed(f"{file} {words}", code="sitefile_invalid")


def toml(body: bytes, file: str) -> dict[str, Any]:
    """The table in a TOML file. Raises `BuildFailed` (`sitefile_invalid`)."""
    text = _text(body, file)
    _refuse_deep(text, file)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not TOMLDecodeError alone: a number of 5,000 digits is a ValueError of int's own.
        raise invalid(file, f"is not valid TOML: {error}") from None


def json(body: bytes, file: str) -> dict[str, Any]:
    """The object in a JSON file. Raises `BuildFailed` (`sitefile_invalid`)."""
    text = _text(body, file)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise invalid(file, f"is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise invalid(file, "holds no JSON object; begin it with {")
    return found


def shaped(found: object, shape: type[T], *, file: str, under: str = "") -> T:
    """`found` as `shape`. Raises `BuildFailed` that names the file and the key, below `under`."""
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        where = _PLACE.sub(r"\1", place.strip("`"))
        where = ".".join(part for part in (under, where) if part).replace(".[", "[")
        words = f"{reason[:1].lower()}{reason[1:]}"
        raise invalid(file, f"is wrong at `{short(where, 60) or 'the top'}`: {words}") from None


def inside(path: str, *, file: str, key: str, base: str = "", rooted: bool = False) -> str:
    """A path as seen from `base`, a directory of the repository: `""` for an empty one.

    It must not leave the repository, whatever it begins with, nor lead into .git. With `rooted` a
    `/` at its beginning means nothing. Raises `BuildFailed` that names the file and the key.
    """
    said = path.lstrip("/") if rooted else path
    if said.startswith("/") or any(ord(sign) < 32 or sign == "\\" for sign in said):
        raise _outside(path, file, key)
    whole = base.split("/") if base else []
    for part in said.split("/"):
        if part == "..":
            if not whole:
                raise _outside(path, file, key)
            whole.pop()
        elif part not in ("", "."):
            whole.append(part)
    if any(part.lower() == ".git" for part in whole):
        raise invalid(file, f"has `{key} = {short(path, 40)!r}`; .git cannot be built or published")
    return "/".join(whole)


def seen_from(path: str, base: str) -> str:
    """A path from the top as one from `base`; `.` is `base` itself."""
    there = path.split("/") if path else []
    here = base.split("/") if base else []
    while there and here and there[0] == here[0]:
        there, here = there[1:], here[1:]
    return "/".join([".."] * len(here) + there) or "."


def environment(found: object, *, file: str, key: str) -> dict[str, str]:
    """Variables of a build; numbers and truths stand for their text. Raises `BuildFailed`."""
    if isinstance(found, dict):
        found = {name: as_text(value) for name, value in found.items()}
    variables = shaped(found, dict[str, str], file=file, under=key)
    for name in variables:
        if not VARIABLE.fullmatch(name):
            raise invalid(file, f"has {short(name, 40)!r} in [{key}], which is no variable's name")
    refuse_nul(*variables.values(), file=file, key=key)
    return variables


def as_text(value: object) -> object:
    """A number or a truth as that text, where a text is meant (`NODE_VERSION = 22`)."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def refuse_nul(*texts: str | None, file: str, key: str) -> None:
    """Raises `BuildFailed` for a text with a NUL, which no process can be given."""
    if any("\0" in text for text in texts if text):
        raise invalid(file, f"has a NUL character in [{key}], which no command can be given")


def _outside(path: str, file: str, key: str) -> BuildFailed:
    return invalid(
        file, f"has `{key} = {short(path, 40)!r}`; it takes a path inside the repository"
    )


def _text(body: bytes, file: str) -> str:
    if len(body) > LIMIT:
        raise invalid(file, f"is longer than {LIMIT // 1024} KB; shorten it")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise invalid(file, f"is not UTF-8 in line {line}; save it as UTF-8") from None


def _refuse_deep(text: str, file: str) -> None:
    """A key of very many parts costs tomllib seconds and gigabytes: it grows by the square.

    A key lies in one line, whatever quotes and tables it is wrapped in, so its dots do. Lines of
    some more dots (addresses in a header's value) may be few.
    """
    long = 0
    for number, line in enumerate(text.split("\n"), 1):
        dots = line.count(".")
        if dots > _DOTS:
            raise invalid(file, f"has more than {_DOTS} dots in line {number}; break the line up")
        long += dots > _SOME_DOTS
        if long > _LONG_LINES:
            raise invalid(
                file,
                f"has more than {_LONG_LINES} lines of more than {_SOME_DOTS} dots, one in line "
                f"{number}; break them up",
            )
