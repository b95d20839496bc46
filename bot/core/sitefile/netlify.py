"""`netlify.toml`, with the meaning that Netlify documents.

https://docs.netlify.com/build/configure-builds/file-based-configuration/
"""

from __future__ import annotations

from typing import Any, Final

from bot.core.sitefile import bounds
from bot.core.sitefile.records import Word
from bot.core.sitefile.said import Said, not_served, not_understood

FILE: Final = "netlify.toml"

_STEPS: Final = ("base", "publish", "command")
_BUILD: Final = {
    "ignore": "is not executed: `watch` in pushlane.toml says what a push must change",
    "processing": "is read, but not served yet",
    "functions": "is not served: only static files are",
    "edge_functions": "is not served: only static files are",
}
"""Keys of [build] and of each context that are known, and do nothing here."""
_TOP: Final = {
    "plugins": "is not executed: put what a plugin does into the build command",
    "functions": "is not served: only static files are",
    "edge_functions": "is not served: only static files are",
    "images": "is not served: only static files are",
}
_NOT_OF_A_DEPLOYMENT: Final = ("dev", "template")
"""For Netlify's own command and button."""


def said(body: bytes, *, context: str, branch: str) -> Said:
    """What the file says to a deployment of `branch`; `context` is Netlify's word for its kind.

    A context's keys go before [build]'s, and a branch's before its context's. Raises `BuildFailed`
    (`sitefile_invalid`) that says where the file is wrong.
    """
    found = _lowered(bounds.toml(body, FILE))
    warnings: list[str] = []
    variables: dict[str, str] = {}
    steps = _table(found.pop("build", {}), "build", variables, warnings)
    for name, table in _contexts(found.pop("context", {}), context, branch):
        at = f"context.{name}"
        table = _checked(table, at)  # noqa: PLW2901 - the same, now known to be a table
        nested = table.pop("build", {})
        steps |= _table(nested, f"{at}.build", variables, warnings)
        steps |= _table(table, at, variables, warnings, known=_TOP)
    for name in found:
        if name in _TOP:
            warnings.append(f"{FILE}: `{name}` {_TOP[name]}")
        elif name not in ("redirects", "headers", *_NOT_OF_A_DEPLOYMENT):
            warnings.append(not_understood(FILE, name))
    site, left = _single_page(found.get("redirects"))
    warnings += [not_served(FILE, "redirects")] if left else []
    warnings += [not_served(FILE, "headers")] if found.get("headers") else []
    return Said(
        file=FILE,
        build=_build(steps),
        environment=variables,
        site=site,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _build(steps: dict[str, tuple[str, str]]) -> dict[str, Any]:
    build: dict[str, Any] = {}
    base = ""
    if "base" in steps:
        key, path = steps["base"]
        base = build["root"] = bounds.inside(path, file=FILE, key=key, rooted=True)
    if "publish" in steps:
        key, path = steps["publish"]
        build["output"] = bounds.inside(path, file=FILE, key=key, base=base, rooted=True)
    if "command" in steps:
        key, command = steps["command"]
        bounds.refuse_nul(command, file=FILE, key=key.rpartition(".")[0])
        build["command"] = command
    return build


def _lowered(table: dict[str, Any]) -> dict[str, Any]:
    """Netlify takes `[Build]` for `[build]`, and likewise what stands in it."""
    if "Build" in table and "build" not in table:
        table["build"] = table.pop("Build")
    if isinstance(build := table.get("build"), dict):
        for name in (*_STEPS, "environment", *_BUILD):
            if (capital := name.capitalize()) in build and name not in build:
                build[name] = build.pop(capital)
    return table


def _checked(table: object, at: str) -> dict[str, Any]:
    return dict(bounds.shaped(table, dict[str, Any], file=FILE, under=at))


def _contexts(found: object, context: str, branch: str) -> list[tuple[str, object]]:
    """The tables for this deployment, the most particular last.

    A name that ends in `*` stands for all that begin so, where none is the whole name.
    """
    tables = _checked(found, "context")
    chosen: list[tuple[str, object]] = []
    for wanted in dict.fromkeys((context, branch)):
        if wanted in tables:
            chosen.append((wanted, tables[wanted]))
        elif wanted:
            chosen += [
                (name, table)
                for name, table in tables.items()
                if name.endswith("*") and wanted.startswith(name[:-1])
            ]
    return chosen


def _table(
    found: object,
    at: str,
    variables: dict[str, str],
    warnings: list[str],
    *,
    known: dict[str, str] | None = None,
) -> dict[str, tuple[str, str]]:
    """The steps that a table says, each with the key that says it; `variables` are added to."""
    steps: dict[str, tuple[str, str]] = {}
    words = (known or {}) | _BUILD
    for name, value in _checked(found, at).items():
        key = f"{at}.{name}"
        if name == "environment":
            variables |= bounds.environment(value, file=FILE, key=key)
        elif name in _STEPS:
            text = bounds.shaped(value, Word, file=FILE, under=key)
            # To Netlify an empty text is none, but whoever writes an empty command wants no build.
            if text.strip() or name == "command":
                steps[name] = (key, text if text.strip() else "")
        elif name in words:
            if value:
                warnings.append(f"{FILE}: `{key}` {words[name]}")
        else:
            warnings.append(not_understood(FILE, key))
    return steps


def _single_page(found: object) -> tuple[dict[str, Any], bool]:
    """What the usual rule of a single-page site says, and whether other rules are there."""
    rules = found if isinstance(found, list) else [found] if found else []
    others = [rule for rule in rules if not _shows_index(rule)]
    return ({"spa": True} if len(others) < len(rules) else {}), bool(others)


def _shows_index(rule: object) -> bool:
    return (
        isinstance(rule, dict)
        and rule.get("from") in ("/*", "*")
        and rule.get("to") in ("/index.html", "/")
        and rule.get("status") == 200
        and not (rule.keys() - {"from", "to", "status", "force"})
        and not rule.get("force")
    )
