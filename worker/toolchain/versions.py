"""Version ranges as npm writes them, and which release they mean, or come nearest to."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable

Version = tuple[int, int, int]

_CODENAMES = {
    "argon": 4,
    "boron": 6,
    "carbon": 8,
    "dubnium": 10,
    "erbium": 12,
    "fermium": 14,
    "gallium": 16,
    "hydrogen": 18,
    "iron": 20,
    "jod": 22,
    "krypton": 24,
    "lithium": 26,
}
_ANY = ("", "*", "x", "X", "latest")
_NUMBER = r"[0-9]{1,9}"
"""Python reads no number of more than some thousand digits, and no version has ten."""
_WHOLE = re.compile(rf"\s*[v=]*({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:\+\S*)?\s*")
_PART = re.compile(
    rf"^(>=|<=|>|<|=|\^|~>?)?\s*v?({_NUMBER}|[xX*])(?:\.({_NUMBER}|[xX*]))?(?:\.({_NUMBER}|[xX*]))?"
)
_PRERELEASE = re.compile(r"[-+][0-9A-Za-z.+-]*")
"""No slash, colon or at: npm would take what has one for a path, a URL or a repository."""
_END: Version = (1 << 30, 0, 0)


def parse(text: str) -> Version | None:
    """A whole version like `v22.3.0`; None for anything else, pre-releases too."""
    found = _WHOLE.fullmatch(text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def show(version: Version) -> str:
    """`22.3.0`."""
    return ".".join(str(part) for part in version)


def satisfies(version: Version, wanted: str) -> bool:
    """Whether a range like `>=18 <21 || ^22.3 || 24.x` includes `version`.

    Raises ValueError for what is no range.
    """
    # All of it is read before any of it may do: a strange part is refused wherever it stands.
    alternatives = [_bounds(alternative) for alternative in wanted.split("||")]
    return any(all(low <= version < high for low, high in each) for each in alternatives)


def best_node(available: Iterable[str], wanted: str | None, today: dt.date) -> str | None:
    """The release of Node.js that `wanted` means, the newest long-term one where several do.

    Takes what `.nvmrc`, `.node-version` and `engines` hold: `22`, `>=20`, `lts/*`, `lts/iron`,
    `node`, `v22.3.0`; None is `lts/*`. Raises ValueError for what is none of these.
    """
    versions = sorted({each for each in map(parse, available) if each is not None}, reverse=True)
    text = plain_node(wanted)
    if text is None:
        return next((show(each) for each in versions if long_term(each[0], today)), None)
    fitting = [each for each in versions if satisfies(each, text)]
    if text != "*":
        fitting.sort(key=lambda each: (long_term(each[0], today), each), reverse=True)
    return show(fitting[0]) if fitting else None


def maintained(major: int, today: dt.date) -> bool:
    """Whether a long-term line of Node.js still gets mends: it does until its third April."""
    if not long_term(major, today):
        return False
    began = 2013 + major // 2 if major <= 26 else 2000 + major
    return today <= dt.date(began + 3, 4, 30)


def newest(available: Iterable[str], wanted: str) -> str | None:
    """The newest release in a range (`""` is any); None where there is none.

    Raises ValueError for what is no range.
    """
    fitting = [each for each in _known(available) if satisfies(each, wanted)]
    return show(max(fitting)) if fitting else None


def nearest(available: Iterable[str], wanted: str) -> str | None:
    """The release that comes next above a range that none is in; None where all are below it.

    Raises ValueError for what is no range.
    """
    low = lowest(wanted)
    above = [each for each in _known(available) if each >= low]
    return show(min(above)) if above else None


def nearest_node(available: Iterable[str], wanted: str | None) -> str | None:
    """The newest release of the line of Node.js that comes next above what is `wanted`.

    None where all are below it; raises ValueError as `best_node` does.
    """
    versions = _known(available)
    low = lowest(plain_node(wanted) or "*")
    majors = sorted({each[0] for each in versions if each >= low})
    if not majors:
        return None
    # An odd line lived for half a year, and next to nothing was made for it.
    major = next((each for each in majors if each == low[0] or each % 2 == 0), majors[0])
    return show(max(each for each in versions if each[0] == major))


def plain_python(wanted: str) -> str:
    """What a repository wants of Python as a range like npm's; `""` for what cannot be read.

    Takes what `.python-version`, `runtime.txt` and `requires-python` hold: `3.11`, `3.11.4`,
    `python-3.11.4`, `>=3.9,<4`, `~=3.10`, `^3.10`.
    """
    words = []
    for word in wanted.strip().removeprefix("python").lstrip("-").split(","):
        text = re.sub(r"\s+", "", word)
        if text.startswith("!="):
            continue
        compatible = re.fullmatch(r"~=(\d+(?:\.\d+)*)\.\d+", text)
        if compatible:
            words += [f">={text[2:]}", compatible[1]]
            continue
        text = re.sub(r"^={2,3}", "", text)
        # No release is asked for more closely than by its minor: its mends are compatible.
        exact = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", text)
        words.append(f"{exact[1]}.{exact[2]}" if exact else text)
    found = " ".join(words)
    try:
        satisfies((0, 0, 0), found or "*")
    except ValueError:
        return ""
    return found


def plain_node(wanted: str | None) -> str | None:
    """What a repository wants of Node.js as a range; None for the newest long-term release."""
    text = (wanted or "").strip()
    lower = text.lower()
    if lower in ("", "lts", "lts/*", "stable"):
        return None
    if lower in ("node", "latest", "current"):
        return "*"
    if lower.startswith("lts/"):
        major = _CODENAMES.get(lower[4:])
        if major is None:
            raise ValueError(f"{wanted!r} names no line of Node.js")
        return str(major)
    return text.removeprefix("node@").removeprefix("node-")


def long_term(major: int, today: dt.date) -> bool:
    """Whether a major release of Node.js is, or was, under long-term support.

    Even ones to 26, then each: from the October of the year in which they came out
    (https://github.com/nodejs/release#release-schedule).
    """
    if major <= 26:
        return major % 2 == 0 and today >= dt.date(2013 + major // 2, 10, 29)
    return today >= dt.date(2000 + major, 10, 29)


def _known(available: Iterable[str]) -> list[Version]:
    return [each for each in map(parse, available) if each is not None]


def lowest(wanted: str) -> Version:
    """The least version that a range may include. Raises ValueError for what is no range."""
    alternatives = [_bounds(each) for each in wanted.split("||")]
    return min(max((low for low, _ in each), default=(0, 0, 0)) for each in alternatives)


def _bounds(alternative: str) -> list[tuple[Version, Version]]:
    text = alternative.strip()
    if text in _ANY:
        return [((0, 0, 0), _END)]
    hyphen = re.fullmatch(r"(\S+)\s+-\s+(\S+)", text)
    if hyphen:
        return [(_bound(f">={hyphen[1]}")[0], _END), ((0, 0, 0), _bound(f"<={hyphen[2]}")[1])]
    words = re.sub(r"(>=|<=|>|<|=|\^|~>?)\s+", r"\1", text).replace(",", " ").split()
    return [_bound(word) for word in words]


def _bound(word: str) -> tuple[Version, Version]:
    if word in _ANY:
        return (0, 0, 0), _END
    found = _PART.match(word)
    rest = word[found.end() :] if found else word
    if found is None or (rest and not _PRERELEASE.fullmatch(rest)):
        raise ValueError(f"{word[:100]!r} is no version range")
    operator = found[1] or ""
    numbers = [int(part) for part in found.groups()[1:] if part and part.isdigit()]
    if not numbers:
        return (0, 0, 0), _END
    padded = [*numbers, 0, 0][:3]
    low: Version = (padded[0], padded[1], padded[2])
    after = _raised(low, len(numbers) - 1)
    match operator:
        case ">=":
            return low, _END
        case ">":
            return after, _END
        case "<":
            return (0, 0, 0), low
        case "<=":
            return (0, 0, 0), after
        case "^":
            position = next((at for at, part in enumerate(numbers) if part), len(numbers) - 1)
            return low, _raised(low, position)
        case "~" | "~>":
            return low, _raised(low, min(1, len(numbers) - 1))
        case _:
            return low, after


def _raised(version: Version, position: int) -> Version:
    parts = [*version[:position], version[position] + 1, 0, 0][:3]
    return parts[0], parts[1], parts[2]
