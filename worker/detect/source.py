"""What is looked at of a source: the names of its upper directories, and some small files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from worker.detect.package import Package

_TEXT: Final = 1 << 16
"""Bytes of a configuration that are read."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One directory of the source."""

    path: str = ""
    """Relative to the source; `""` is its top."""
    names: Mapping[str, bool] = field(default_factory=dict)
    """The names there, each with whether it is a directory."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Of the files that are read, what is there."""

    def has(self, *names: str) -> bool:
        """Whether there is a file of one of these names."""
        return any(self.names.get(name) is False for name in names)

    def holds(self, *names: str) -> bool:
        """Whether there is a directory of one of these names."""
        return any(self.names.get(name) is True for name in names)

    def text(self, *names: str) -> str:
        """The content of the first of these files that was read; `""` where none was."""
        body = next((self.contents[name] for name in names if name in self.contents), b"")
        # Patterns look through it: what a stranger wrote is bounded.
        return body[:_TEXT].decode("utf-8-sig", "replace")

    def texts(self, beginning: str) -> Iterator[tuple[str, str]]:
        """Names and contents of the files that were read and whose names begin so."""
        for name in sorted(self.contents):
            if name.startswith(beginning):
                yield name, self.text(name)

    def within(self, name: str) -> str:
        """The path of what lies here."""
        return f"{self.path}/{name}" if self.path else name

    @cached_property
    def package(self) -> Package | None:
        """Its package.json. Raises `BuildFailed` where that cannot be read."""
        body = self.contents.get("package.json")
        return None if body is None else Package.of(body, self.within("package.json"))


@dataclass(frozen=True, kw_only=True)
class Source:
    """The directories that were looked at, by path."""

    places: Mapping[str, Place]

    @property
    def top(self) -> Place:
        """The repository's top."""
        return self.places.get("", Place())

    def at(self, path: str) -> Place:
        """A directory; an empty one where it was not looked at."""
        return self.places.get(path) or Place(path=path)

    def below(self, place: Place, name: str) -> Place:
        """A directory below another."""
        return self.at(place.within(name))

    def above(self, place: Place) -> Iterator[Place]:
        """The directories above, nearest first."""
        path = place.path
        while path:
            path = path.rpartition("/")[0]
            yield self.at(path)
