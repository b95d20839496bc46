"""The sites and pairs of catalogue.toml, as frozen records."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

FILE: Final = Path(__file__).with_name("catalogue.toml")
SITES: Final = Path(__file__).parents[1] / "fixtures" / "sites"


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one folder of fixtures is, and shows."""

    framework: str
    shows: dict[str, str]
    """Path → words on its page."""
    script: bool = False
    """The words are in a script that the page names."""
    without: str = ""
    """Why it is only detected here."""


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One site with one package manager."""

    name: str
    site: str
    by: str = ""
    """`npm`, `pnpm@10`…; `""` where nothing is installed."""
    lock: bool = False
    checked_in: bool = False
    """Yarn itself lies in the repository."""
    under: str = ""
    files: dict[str, str] = {}
    package: dict[str, Any] = {}
    drop: tuple[str, ...] = ()
    submodules: dict[str, str] = {}
    quick: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All sites by folder, all pairs by name, in the file's order."""

    sites: dict[str, Site]
    pairs: dict[str, Pair]

    @property
    def detected_only(self) -> dict[str, Site]:
        """The sites that no pair builds."""
        return {folder: site for folder, site in self.sites.items() if site.without}


def catalogue() -> Catalogue:
    """What catalogue.toml says; msgspec.ValidationError names what is wrong in it."""
    read = tomllib.loads(FILE.read_text())
    pairs = msgspec.convert(read["pair"], list[Pair])
    return Catalogue(
        sites=msgspec.convert(read["sites"], dict[str, Site]),
        pairs={pair.name: pair for pair in pairs},
    )
