"""`pushlane.toml`, our own file."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from bot.core.deployment import slug_is_taken_form
from bot.core.sitefile import bounds
from bot.core.sitefile.records import FILE, Build, Entry, Site, Sitefile
from bot.core.sitefile.said import Said, not_served, not_understood

_OURS = ("build", "projects", "site", "redirects", "headers")
_ENTRIES_MOST: Final = 50
_ENTRY: Final = re.compile(r"(?!.*--)[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def said(body: bytes) -> Said:
    """What the file says. Raises `BuildFailed` (`sitefile_invalid`) that says where it is wrong."""
    found = bounds.toml(body, FILE)
    unserved = [not_served(FILE, key) for key in ("redirects", "headers") if found.get(key)]
    asked = _build(found.get("build", {}), "build")
    served = ("site", "redirects", "headers")
    whole = bounds.shaped({key: found[key] for key in served if key in found}, Sitefile, file=FILE)
    told = {
        key: getattr(asked, key)
        for key in Build.__struct_fields__
        if key != "environment" and getattr(asked, key) != _default(Build, key)
    }
    return Said(
        file=FILE,
        build=_placed(told, "build"),
        environment=asked.environment,
        site={"spa": whole.site.spa} if isinstance(found.get("site"), dict)
        and "spa" in found["site"] else {},
        projects=tuple(_entries(found.get("projects", []))),
        redirects=whole.redirects,
        headers=whole.headers,
        warnings=(*_unknown(found), *unserved),
        ours=True,
    )  # fmt: skip


def _build(table: object, key: str) -> Build:
    """A table of how to build, its paths as they are written there."""
    variables: dict[str, str] = {}
    if isinstance(table, dict):
        if not isinstance(table.get("node"), bool):
            table = {**table, "node": bounds.as_text(table.get("node", ""))}
        if "environment" in table:
            where = f"{key}.environment"
            variables = bounds.environment(table["environment"], file=FILE, key=where)
            table["environment"] = variables
    asked = bounds.shaped(table, Build, file=FILE, under=key)
    bounds.refuse_nul(asked.command, asked.install, asked.node, file=FILE, key=key)
    return asked


def _placed(told: dict[str, Any], key: str) -> dict[str, Any]:
    """What a table says, its paths as seen from the repository's top."""
    root = bounds.inside(told.get("root", ""), file=FILE, key=f"{key}.root")
    if "root" in told:
        told["root"] = root
    if "output" in told:
        told["output"] = bounds.inside(told["output"], file=FILE, key=f"{key}.output", base=root)
    return told


def _entries(found: object) -> list[Entry]:
    """What `[[projects]]` says, in its order."""
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise bounds.invalid(FILE, "is wrong at `projects`: write each project as [[projects]]")
    if len(found) > _ENTRIES_MOST:
        raise bounds.invalid(FILE, f"names more than {_ENTRIES_MOST} projects")
    entries: list[Entry] = []
    for table in found:
        name = table.get("name")
        if name is None:
            raise bounds.invalid(
                FILE, "has a project without a name: give each of [[projects]] one"
            )
        if not isinstance(name, str) or not _ENTRY.fullmatch(name) or slug_is_taken_form(name):
            raise bounds.invalid(
                FILE,
                f"has a project named {str(name)[:60]!r}; a name is its host's: at most 40 of a-z, "
                "0-9 and single dashes, and none that looks like a deployment's id, pr-<number> "
                "or xn…",
            )
        if any(each.name == name for each in entries):
            raise bounds.invalid(FILE, f"names the project {name} twice")
        asked = _build({key: table[key] for key in table if key != "name"}, "projects")
        told = {
            key: getattr(asked, key)
            for key in Build.__struct_fields__
            if key in table and key != "environment"
        }
        if told.get("output") == "":
            del told["output"]  # to be found out, as without it
        told = _placed(told, "projects")
        if "output" in told:
            told["output"] = bounds.seen_from(told["output"], told.get("root", ""))
        entries.append(Entry(name=name, build=told, environment=asked.environment))
    return entries


def _default(shape: type[msgspec.Struct], key: str) -> Any:
    return getattr(shape(), key)


def _unknown(found: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in found.items():
        if name not in _OURS:
            lines.append(not_understood(FILE, name))
        elif isinstance(value, dict) and name in ("build", "site"):
            known = (Build if name == "build" else Site).__struct_fields__
            lines += [not_understood(FILE, f"{name}.{key}") for key in value if key not in known]
        elif isinstance(value, list) and name == "projects":
            known = ("name", *Build.__struct_fields__)
            lines += [
                not_understood(FILE, f"{name}.{key}")
                for each in value
                if isinstance(each, dict)
                for key in each
                if key not in known
            ]
    return lines
