"""What tools are made from, and what a build is given of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.sandbox import Mount

Log = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Programs for a build: put `paths` first on its PATH, and give it the rest."""

    paths: tuple[Path, ...] = ()
    mounts: tuple[Mount, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    """`{"node": "22.3.0", "pnpm": "9.8.0"}`."""
    variables: dict[str, str] = field(default_factory=dict)
    """For the build's environment; what a repository sets itself goes before."""

    def behind(self, front: Toolchain) -> Toolchain:
        """Both, those of `front` first on the PATH, and what is the machine's own last.

        /usr/bin has a Node.js and a Python of its own, which are not to hide the wanted ones.
        """
        paths = dict.fromkeys((*front.paths, *self.paths))
        return Toolchain(
            tuple(sorted(paths, key=lambda each: each.is_relative_to("/usr"))),
            tuple(dict.fromkeys((*front.mounts, *self.mounts))),
            self.versions | front.versions,
            self.variables | front.variables,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Where tools come from, and where they are kept."""

    cache: Path
    environment: Mapping[str, str]
    """The worker's own: its PATH, and how npm and pip reach their registries."""
    log: Log


def kept_at(directory: Path, versions: dict[str, str]) -> Toolchain:
    """A directory of the cache with its programs in `bin`, seen by a build where it is."""
    directory = directory.resolve()
    return Toolchain((directory / "bin",), (Mount(directory, str(directory)),), versions)
