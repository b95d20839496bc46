"""The repository's own files: what they ask of a build and of a site, laid together. Pure.

`pushlane.toml` goes before `netlify.toml`, and that before `vercel.json`: key by key, the first
that says something about it decides. Variables of the environment are such keys, one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bot.core.sitefile import bounds, netlify, pushlane, vercel
from bot.core.sitefile.bounds import LIMIT, VARIABLE
from bot.core.sitefile.choosing import skip_reason, watch_reason
from bot.core.sitefile.globs import matches
from bot.core.sitefile.records import FILE, Build, Entry, Headers, Redirect, Site, Sitefile
from bot.core.sitefile.said import Said

__all__ = [
    "DECIDING", "FILE", "FILES", "LIMIT", "VARIABLE", "Build", "Entry", "Headers", "Redirect",
    "Site", "Sitefile", "matches", "netlify_context", "parse", "read", "skip_reason",
    "watch_reason",
]  # fmt: skip

DECIDING: Final = (FILE, netlify.FILE, vercel.FILE)
"""The files whose contents matter, the first before the others."""
FILES: Final = (*DECIDING, "_redirects", "_headers")
"""What `read` wants to see, where it is there: of each at most `LIMIT` bytes, and one."""

_WARNINGS: Final = 50
"""Lines that a log gets of them."""
_STEPS: Final = ("install", "command", "output")


def read(files: Mapping[str, bytes], *, context: str = "production", branch: str = "") -> Sitefile:
    """What the files of `FILES` that are there ask for, together.

    `context` (`netlify_context`) and `branch` choose among the contexts of netlify.toml. Raises
    `BuildFailed` (code `sitefile_invalid`) that names the file and the key.
    """
    said: list[Said] = []
    if FILE in files:
        said.append(pushlane.said(files[FILE]))
    if netlify.FILE in files:
        said.append(netlify.said(files[netlify.FILE], context=context, branch=branch))
    if vercel.FILE in files:
        said.append(vercel.said(files[vercel.FILE]))
    unserved = [
        f"{name}: is read, but not served yet" for name in FILES if name not in DECIDING
        and files.get(name)
    ]  # fmt: skip
    return _together(said, unserved)


def parse(body: bytes | None) -> Sitefile:
    """What `pushlane.toml` alone asks for; None (no file) gives the defaults. Raises as `read`."""
    return read({} if body is None else {FILE: body})


def netlify_context(*, production: bool) -> str:
    """Netlify's word for the kind of a deployment; also the build's variable CONTEXT."""
    return "production" if production else "branch-deploy"


def _together(said: Sequence[Said], unserved: Sequence[str]) -> Sitefile:
    root = next((each.build["root"] for each in said if "root" in each.build), "")
    told_by: dict[str, str] = {}
    build: dict[str, Any] = {}
    site: dict[str, Any] = {}
    variables: dict[str, str] = {}
    warnings: list[str] = []
    for each in said:
        warnings += each.warnings
        steps = dict(each.build)
        if not each.ours and each.build.get("root", "") != root:
            # What is meant for one directory would be wrong in another.
            passed = [key for key in _STEPS if steps.pop(key, None) is not None]
            if passed:
                warnings.append(
                    f"{each.file}: its {' and '.join(passed)} are passed over, since "
                    f"{told_by['root']} says to work in {root or 'the top'}"
                )
        for key, value in (steps | each.site).items():
            if key not in told_by:
                told_by[key] = each.file
                (site if key in each.site else build)[key] = value
        if set(each.environment) - set(variables):
            told_by.setdefault("environment", each.file)
        variables = each.environment | variables
    if "output" in build:
        build["output"] = bounds.seen_from(build["output"], root)
    first = said[0] if said and said[0].file == FILE else None
    return Sitefile(
        build=Build(**build, environment=variables),
        site=Site(**site),
        projects=first.projects if first else (),
        redirects=first.redirects if first else (),
        headers=first.headers if first else (),
        notes=tuple(_notes(said, told_by)),
        warnings=_cut((*warnings, *unserved)),
        told_by=told_by,
    )


def _notes(said: Sequence[Said], told_by: Mapping[str, str]) -> list[str]:
    """What came from which file, for whoever wonders."""
    lines = []
    seen: set[str] = set()
    for each in said:
        keys = [key for key, file in told_by.items() if file == each.file and key != "environment"]
        names = [name for name in each.environment if name not in seen]
        seen.update(names)
        if names:
            shown = ", ".join(names[:10]) + (" and more" if len(names) > 10 else "")
            keys.append(f"the variables {shown}" if len(names) > 1 else f"the variable {shown}")
        if keys:
            lines.append(f"{each.file} says {', '.join(keys)}")
    return lines


def _cut(lines: tuple[str, ...]) -> tuple[str, ...]:
    more = len(lines) - _WARNINGS
    return (*lines[:_WARNINGS], f"… and {more:,} more lines like these") if more > 0 else lines
