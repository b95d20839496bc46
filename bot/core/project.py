"""A project's own settings: what holds where the repository's file says nothing. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec

from bot.core.deployment import slug_is_taken_form
from bot.core.errors import Rejected
from bot.core.sitefile import VARIABLE, Sitefile

SLUG_LONGEST: Final = 40
_SLUG: Final = re.compile(r"[a-z0-9](-?[a-z0-9])*")
_BRANCH: Final = re.compile(
    r"(?!.*(\.\.|@\{|//|\.lock(/|$)|/\.|\.$|/$))(?![-/])[^\x00-\x20\x7f~^:?*\[\\]{1,900}"
)

Word = Annotated[str, msgspec.Meta(max_length=1000)]
Words = Annotated[tuple[Word, ...], msgspec.Meta(max_length=200)]


class ProjectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person has set of a project, all optional; the meaning is that of `pushlane.toml`."""

    production_branch: Annotated[str, msgspec.Meta(max_length=900)] = ""
    """The branch that goes live; `""`: the repository's default branch."""
    root: Word = ""
    command: Word | None = None
    """None: the framework's own; `""`: no build at all."""
    install: Word | None = None
    output: Word = ""
    node: Word = ""
    watch: Words = ()
    skip_branches: Words = ()
    environment: dict[str, Annotated[str, msgspec.Meta(max_length=32_768)]] = {}
    """For what is no secret: it is shown to whoever may look."""
    cache_epoch: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0
    """Builds find only what was kept in this one: another number clears the caches everywhere."""


_NOTHING: Final = ProjectSettings()
_KEYS: Final = ("root", "command", "install", "output", "node", "watch", "skip_branches")
"""Those that stand for a key of `[build]`; its default there is the one here."""


def settings_of(given: dict[str, Any], before: ProjectSettings | None = None) -> ProjectSettings:
    """The settings that `given` makes of those from `before`; without any, of the defaults.

    A null takes a setting back to its default. Raises `Rejected` (400 `settings_invalid`).
    """
    known = msgspec.structs.asdict(before or ProjectSettings())
    kept = {name: value for name, value in {**known, **given}.items() if value is not None}
    try:
        made = msgspec.convert(kept, ProjectSettings)
    except msgspec.ValidationError as error:
        raise _invalid(f"a setting is wrong: {error}") from None
    if made.production_branch and not _BRANCH.fullmatch(made.production_branch):
        raise _invalid(f"production_branch is {made.production_branch[:100]!r}; it takes a branch")
    for name in made.environment:
        if not VARIABLE.fullmatch(name):
            raise _invalid(f"environment has {name[:140]!r}, which is no variable's name")
    texts = (made.command, made.install, made.node, *made.environment.values())
    if any("\0" in text for text in texts if text):
        raise _invalid("a setting holds a NUL character, which no command can be given")
    return msgspec.structs.replace(
        made, root=_inside(made.root, "root"), output=_inside(made.output, "output")
    )


def check_slug(slug: str) -> None:
    """Raises `Rejected` (400 `slug_invalid`) for what no project can be called."""
    if not _SLUG.fullmatch(slug) or len(slug) > SLUG_LONGEST or slug_is_taken_form(slug):
        raise Rejected(
            f"{slug[:60]!r} is no name of a project: it takes at most {SLUG_LONGEST} of a-z, 0-9 "
            "and single hyphens between them, and not the form of a deployment's id, pr-1 or xn--",
            code="slug_invalid",
        )


def overlaid(asked: Sitefile, settings: ProjectSettings) -> Sitefile:
    """The repository's file over the project's settings: what it says wins, name by name."""
    unsaid = {
        key: getattr(settings, key)
        for key in _KEYS
        if getattr(asked.build, key) == getattr(_NOTHING, key) != getattr(settings, key)
    }
    environment = {**settings.environment, **asked.build.environment}
    return msgspec.structs.replace(
        asked,
        build=msgspec.structs.replace(asked.build, **unsaid, environment=environment),
        told_by={**asked.told_by, **dict.fromkeys(unsaid, "the project's setting")},
    )


def _inside(path: str, name: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    wild = path.startswith("/") or ".." in parts or any(ord(c) < 32 or c == "\\" for c in path)
    if wild or any(part.lower() == ".git" for part in parts):
        raise _invalid(f"{name} is {path[:100]!r}; it takes a path inside the repository")
    return "/".join(parts)


def _invalid(words: str) -> Rejected:
    return Rejected(words, code="settings_invalid")
