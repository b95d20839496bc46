"""Several projects of one repository: which of its file's entries a deployment is of. Pure."""

from __future__ import annotations

import msgspec

from bot.core.sitefile import FILE, Sitefile, watch_reason


def further_entries(asked: Sitefile, *, main: str) -> tuple[str, ...]:
    """The entries of the file that are further projects, beside the main one of this slug."""
    return tuple(each.name for each in asked.projects if each.name != main)


def of_project(asked: Sitefile, *, project: str, entry: str) -> Sitefile | None:
    """What the whole file asks of one project; None when it does not name it.

    `project` is its slug and `entry` its name in the file, empty for the repository's main project:
    that one is named by its slug, or by a `[build]` that says where or how to work.
    """
    for each in asked.projects:
        if each.name == (entry or project):
            return msgspec.structs.replace(asked, build=each.build)
    if entry or (asked.projects and not _is_said(asked)):
        return None
    return asked


def not_named(asked: Sitefile, *, entry: str) -> str:
    """Why there is nothing to build where `of_project` gives None, for people."""
    names = ", ".join(each.name for each in asked.projects[:5])
    more = ", …" if len(asked.projects) > 5 else ""
    if entry:
        others = f"; its projects are {names}{more}" if names else ""
        return f"{FILE} names no project {entry} at this commit{others}"
    return f"the projects of {FILE} are {names}{more}"


def untouched_reason(
    changed: tuple[str, ...], asked: Sitefile, *, project: str, entry: str, seconds: float = 2.0
) -> str | None:
    """Why a project need not be deployed when these paths changed, for people; None when it must.

    By its `watch`. An entry of `[[projects]]` without one is deployed unless all that changed lies
    in the other entries' roots: what several share is nobody's. `asked` is the whole file.
    Raises `TimeoutError` when it is not found out in time.
    """
    own = of_project(asked, project=project, entry=entry)
    if own is None:
        return None
    if own.build.watch:
        return watch_reason(changed, own, seconds=seconds)
    name = entry or project
    if not any(each.name == name for each in asked.projects):
        return None
    roots = {each.build.root for each in asked.projects if each.name != name} | {asked.build.root}
    others = roots - {own.build.root, ""}
    if all(_nearest(path, {*others, own.build.root}) in others for path in changed):
        return "nothing changed since its last deployed commit but in the roots of other projects"
    return None


def watches(asked: Sitefile, *, project: str, entry: str) -> bool:
    """Whether what has changed may decide on a deployment of this project."""
    own = of_project(asked, project=project, entry=entry)
    name = entry or project
    return bool(own and own.build.watch) or any(each.name == name for each in asked.projects)


def _is_said(asked: Sitefile) -> bool:
    build = asked.build
    texts = build.command is not None or build.install is not None
    return texts or bool(build.root or build.output or build.watch)


def _nearest(path: str, roots: set[str]) -> str | None:
    """The innermost of the roots that a path lies in; None when it lies in none."""
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in roots:
            return folder
    return None
