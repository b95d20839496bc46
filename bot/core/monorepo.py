"""Several projects of one repository: what its files ask of each, by `[[projects]]`. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from bot.core.project import ProjectSettings, overlaid
from bot.core.sitefile import FILE, Build, Sitefile, watch_reason

_SHARED: Final = ("node", "fetch_depth", "submodules", "skip_branches")
"""Keys of `[build]` that hold for an entry which does not say otherwise; so does `environment`."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One project of a repository."""

    project: str
    """Its slug."""
    entry: str = ""
    """What the file calls a further project; empty for the repository's main one."""

    @property
    def name(self) -> str:
        """By which an entry of the file is its own: the main project's is its slug."""
        return self.entry or self.project


def further_entries(whole: Sitefile, *, main: str) -> tuple[str, ...]:
    """The entries of the file that are further projects, beside the main one of this slug."""
    return tuple(each.name for each in whole.projects if each.name != main)


def asked_of(whole: Sitefile, part: Part, settings: ProjectSettings) -> Sitefile | None:
    """What the whole file, over the project's settings, asks of a project.

    None when it does not name it. The main project is named by its slug, or where `[build]` or its
    settings say where or how to work.
    """
    for each in whole.projects:
        if each.name == part.name:
            shared = {key: getattr(whole.build, key) for key in _SHARED}
            variables = {**whole.build.environment, **each.environment}
            build = Build(**{**shared, **each.build}, environment=variables)
            told_by = {key: file for key, file in whole.told_by.items() if key in _SHARED}
            told_by |= dict.fromkeys(each.build, FILE)
            own = msgspec.structs.replace(whole, build=build, told_by=told_by)
            return overlaid(own, settings)
    own = overlaid(whole, settings)
    if part.entry or (whole.projects and not _is_said(own.build)):
        return None
    return own


def not_named(whole: Sitefile, part: Part) -> str:
    """Why there is nothing to build where `asked_of` gives None, for people."""
    names = ", ".join(each.name for each in whole.projects[:5])
    more = ", …" if len(whole.projects) > 5 else ""
    if part.entry:
        others = f"; its projects are {names}{more}" if names else ""
        return f"{FILE} names no project {part.entry} at this commit{others}"
    return f"the projects of {FILE} are {names}{more}"


def untouched_reason(
    changed: tuple[str, ...],
    whole: Sitefile,
    asked: Sitefile,
    part: Part,
    *,
    seconds: float = 2.0,
) -> str | None:
    """Why a project need not be deployed when these paths changed, for people; None when it must.

    By the `watch` that is `asked` of it. An entry of `[[projects]]` without one is deployed unless
    all that changed lies in the other entries' roots: what several share is nobody's.
    Raises `TimeoutError` when it is not found out in time.
    """
    if asked.build.watch:
        return watch_reason(changed, asked, seconds=seconds)
    if not _is_entry(whole, part):
        return None
    roots = {each.build.get("root", "") for each in whole.projects if each.name != part.name}
    others = (roots | {whole.build.root}) - {asked.build.root, ""}
    if all(_nearest(path, {*others, asked.build.root}) in others for path in changed):
        return "nothing changed since its last deployed commit but in the roots of other projects"
    return None


def watches(whole: Sitefile, asked: Sitefile, part: Part) -> bool:
    """Whether what has changed may decide on a deployment of this project."""
    return bool(asked.build.watch) or _is_entry(whole, part)


def _is_entry(whole: Sitefile, part: Part) -> bool:
    return any(each.name == part.name for each in whole.projects)


def _is_said(build: Build) -> bool:
    steps = build.command is not None or build.install is not None
    return steps or bool(build.root or build.output or build.watch)


def _nearest(path: str, roots: set[str]) -> str | None:
    """The innermost of the roots that a path lies in; None when it lies in none."""
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in roots:
            return folder
    return None
