"""What a build needs to be there before it begins: a program, in the version asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ToolName = Literal[
    "node", "npm", "pnpm", "yarn", "bun", "deno",
    "python", "uv", "poetry", "pipenv", "pdm",
    "hugo", "ruby", "bundler", "jekyll",
    "zola", "mdbook", "elm",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One program that a plan asks for."""

    name: ToolName
    version: str = ""
    """As the repository wrote it: exact, a range or a name (`lts/*`); `""` leaves it to us."""
    why: str = ""
    """The file that says so, for the log: `.nvmrc`; `""` where it is our own choice."""
