"""What the repository's own files ask of a build and of a site, whichever of them says it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

FILE: Final = "pushlane.toml"
"""Our own, the first of them."""

Word = Annotated[str, msgspec.Meta(max_length=1000)]
Words = Annotated[tuple[Word, ...], msgspec.Meta(max_length=200)]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How to build. An empty string means: find out."""

    root: Word = ""
    """Where to work, relative to the repository; `""` is its top."""
    command: Word | None = None
    """None: the framework's own; `""`: no build at all."""
    install: Word | None = None
    """None: the package manager's own; `""`: install nothing."""
    output: Word = ""
    """The directory to publish, relative to `root`: `.` is `root` itself, and `../` may lead out
    of it, never out of the repository."""
    node: Word = ""
    """A version or the beginning of one."""
    fetch_depth: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    """Commits of history in the source; 0 is the whole of it."""
    submodules: bool = True
    watch: Words = ()
    """Globs: deploy only when one of these changed. Empty: always."""
    skip_branches: Words = ()
    """Globs of branches that are never deployed."""
    environment: dict[str, str] = {}
    """Variables for the build. Those that ask for a version (`NODE_VERSION`, `HUGO_VERSION`…) are
    among them."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One of `[[projects]]`: a further site of the same repository."""

    name: str
    build: dict[str, Any] = {}
    """Keys of `Build` that it says, but `environment`."""
    environment: dict[str, str] = {}


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve."""

    spa: bool = False
    """Paths that are not there show `index.html`."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One rule of `[[redirects]]`."""

    from_: Word
    to: Word
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 301


class Headers(msgspec.Struct, frozen=True, kw_only=True, rename={"for_": "for"}):
    """One rule of `[[headers]]`."""

    for_: Word
    values: dict[str, Word]


class Sitefile(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; every part has a default, so that no file is an empty one."""

    build: Build = Build()
    projects: tuple[Entry, ...] = ()
    site: Site = Site()
    redirects: Annotated[tuple[Redirect, ...], msgspec.Meta(max_length=10_000)] = ()
    headers: Annotated[tuple[Headers, ...], msgspec.Meta(max_length=10_000)] = ()
    notes: tuple[str, ...] = ()
    """One line for each file that decided something, for the log."""
    warnings: tuple[str, ...] = ()
    """One line for each key that is not understood, not served yet or passed over, likewise."""
    told_by: dict[str, str] = {}
    """Where each key of `build` and `site` came from: a file, or the project's settings."""

    def file_of(self, key: str) -> str:
        """Who says `key`: a file or the settings; where none does, the file in which to say it."""
        return self.told_by.get(key, FILE)
