"""`pushlane.toml`, our own file."""

from __future__ import annotations

from typing import Any

import msgspec

from bot.core.sitefile import bounds
from bot.core.sitefile.records import FILE, Build, Site, Sitefile
from bot.core.sitefile.said import Said, not_served, not_understood

_OURS = ("build", "site", "redirects", "headers")


def said(body: bytes) -> Said:
    """What the file says. Raises `BuildFailed` (`sitefile_invalid`) that says where it is wrong."""
    found = bounds.toml(body, FILE)
    warnings = [*_unknown(found), *(not_served(FILE, key) for key in _OURS[2:] if found.get(key))]
    build = found.get("build")
    variables: dict[str, str] = {}
    if isinstance(build, dict):
        if not isinstance(build.get("node"), bool):
            build = found["build"] = {**build, "node": bounds.as_text(build.get("node", ""))}
        if "environment" in build:
            variables = bounds.environment(build["environment"], file=FILE, key="build.environment")
            build["environment"] = variables
    whole = bounds.shaped({key: found[key] for key in _OURS if key in found}, Sitefile, file=FILE)
    asked = whole.build
    bounds.refuse_nul(asked.command, asked.install, asked.node, file=FILE, key="build")
    told = {
        key: getattr(asked, key)
        for key in Build.__struct_fields__
        if key != "environment" and getattr(asked, key) != _default(Build, key)
    }
    root = bounds.inside(asked.root, file=FILE, key="build.root")
    if "root" in told:
        told["root"] = root
    if "output" in told:
        told["output"] = bounds.inside(asked.output, file=FILE, key="build.output", base=root)
    return Said(
        file=FILE,
        build=told,
        environment=variables,
        site={"spa": whole.site.spa} if isinstance(found.get("site"), dict)
        and "spa" in found["site"] else {},
        redirects=whole.redirects,
        headers=whole.headers,
        warnings=tuple(warnings),
        ours=True,
    )  # fmt: skip


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
    return lines
