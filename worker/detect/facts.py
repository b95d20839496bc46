"""The table of facts about frameworks, `frameworks.toml`, read once into frozen records."""

from __future__ import annotations

import re
from functools import cached_property
from importlib import resources
from typing import Final, Literal, get_args

import msgspec

from worker.tool import ToolName


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a configuration says that the framework makes a server, which is not published."""

    file: str
    """The beginning of the configuration's name."""
    beside: str = ""
    """Of another file that may say the same."""
    when: str = ""
    """A server where the file holds this."""
    unless: str = ""
    """A server where the file does not hold this, or there is none."""
    script: str = ""
    """No server where a script of package.json holds this."""
    cure: str


class Old(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A release that was made for the Node.js of its time."""

    package: str
    below: int


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One framework; the head of `frameworks.toml` says what each field means."""

    name: str
    kind: Literal["site", "bundler"] = "site"
    language: Literal["node", "hugo", "python", "ruby", "machine"] = "node"
    provided: Literal["npm", "pypi", "debian", "machine"] = "npm"
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    bins: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ("build",)
    command: str = ""
    places: tuple[str, ...] = ()
    """Directories of which the one with `holds` in it is the command's argument."""
    holds: str = ""
    outputs: tuple[str, ...] = ("dist",)
    caches: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    """Directories besides its own where a bundler's index.html may lie."""
    tools: tuple[ToolName, ...] = ("node",)
    program: str = ""
    hint: str = ""
    last: bool = False
    """It stands beside whatever else is there, and is built where nothing else is."""
    server: tuple[Server, ...] = ()
    old: Old | None = None

    @cached_property
    def spoken(self) -> re.Pattern[str] | None:
        """Finds a call of the framework in a script."""
        if not self.bins:
            return None
        words = "|".join(re.escape(word) for word in self.bins)
        return re.compile(rf"(?:^|[\s;&|(/'\"])(?:{words})(?:\.c?js)?(?=$|[\s;&|)'\"])")


class _Python(msgspec.Struct, frozen=True, kw_only=True):
    sphinx: dict[str, str]
    mkdocs: dict[str, str]


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    framework: tuple[Fact, ...]
    python: _Python


_TABLE: Final = msgspec.toml.decode(
    resources.files(__package__).joinpath("frameworks.toml").read_bytes(), type=_Table
)
FACTS: Final = _TABLE.framework
"""In order of rank."""
SPHINX: Final = _TABLE.python.sphinx
"""Of Sphinx's extensions and themes: the package that brings each."""
MKDOCS: Final = _TABLE.python.mkdocs
"""Of MkDocs' plugins, `theme <name>` and Markdown extensions: likewise."""

_SOMEWHERE: Final = ("dist", "build", "public", "out", "_site", "www", "site", ".output/public",
                     "docs")  # fmt: skip
SCRIPT: Final = Fact(name="npm script", outputs=_SOMEWHERE)
"""A `build` script and nothing that says of what."""
COMMAND: Final = Fact(name="Command", outputs=_SOMEWHERE)
"""A command of the repository's own file, likewise."""
PLAIN: Final = Fact(name="Plain HTML", outputs=("",))
"""No build at all."""
TOOLS: Final = frozenset(get_args(ToolName))


def named(name: str) -> Fact:
    """The row of that name."""
    return next(fact for fact in FACTS if fact.name == name)
