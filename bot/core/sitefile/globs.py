"""Globs on paths and branches, matched at a cost that no pattern can raise. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches the whole path. `*` and `?` stay inside a part, `**` does not.

    Goes all ways at once, a bit for each place in the pattern: every letter of the path costs a
    few operations on one number, whatever the pattern is.
    """
    glob = _glob(pattern)
    here = glob.skipping(1)
    for letter in path:
        stays, steps = glob.deep, glob.letters.get(letter, 0)
        if letter == "/":
            steps |= glob.folders
        else:
            stays |= glob.stars
            steps |= glob.marks
        inside = here & glob.folders
        here = glob.skipping((here & stays) | ((here & steps) << 1)) | inside
        if not here:
            return False
    return bool(here >> glob.length)


class _Glob(msgspec.Struct, frozen=True):
    """A pattern's parts as sets of places, each a number with a bit for a place."""

    length: int
    letters: dict[str, int]
    """Where each letter stands for itself."""
    marks: int
    """`?`"""
    stars: int
    """`*`"""
    deep: int
    """`**`"""
    folders: int
    """`**/`: any folders, or none."""

    def skipping(self, here: int) -> int:
        """The places, and those behind each star there, since it may match nothing.

        No more than two stars ever follow each other: `**/` and one of the others.
        """
        empty = self.stars | self.deep | self.folders
        here |= (here & empty) << 1
        return here | (here & empty) << 1


@lru_cache(1000)
def _glob(pattern: str) -> _Glob:
    whole = re.sub(r"(\*\*/)+", "**/", re.sub(r"\*\*+", "**", pattern))
    parts = re.findall(r"\*\*/|\*\*|.", whole, re.DOTALL)
    places: dict[str, int] = {}
    for at, part in enumerate(parts):
        places[part] = places.get(part, 0) | 1 << at
    marks, stars, deep, folders = (places.pop(sign, 0) for sign in ("?", "*", "**", "**/"))
    return _Glob(len(parts), places, marks, stars, deep, folders)
