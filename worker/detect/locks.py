"""Whether a lock file still fits its package.json: one that does not would fail a frozen install.

Hosts like Vercel install by what package.json says in that case, and so do we, saying so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from worker.detect.source import Place

ORDER: Final = (
    ("yarn.lock", "yarn"),
    ("pnpm-lock.yaml", "pnpm"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
)
"""Lock files and whose they are, the preferred first; beside yarn's, bun's goes before."""


def missing(place: Place, file: str) -> str:
    """The first package that the lock file lacks; `""` where it fits or nothing is known."""
    package = place.package
    if package is None or file == "bun.lockb":
        return ""
    body = place.contents.get(file, b"")
    asked = {
        name: wanted
        for name, wanted in package.asked.items()
        if not re.match(r"(file|link|portal|workspace|git|github|http)", wanted)
    }
    match file:
        case "package-lock.json" | "npm-shrinkwrap.json":
            return _npm(body, asked)
        case "pnpm-lock.yaml":
            return _pnpm(body, asked)
        case "yarn.lock":
            return next((name for name, wanted in asked.items()
                         if not _in_yarn(body, name, wanted)), "")  # fmt: skip
    return next((name for name, wanted in asked.items() if not _in_bun(body, name, wanted)), "")


def _in_bun(body: bytes, name: str, wanted: str) -> bool:
    return re.search(rf'"{re.escape(name)}": ?"{re.escape(wanted)}"'.encode(), body) is not None


def _npm(body: bytes, asked: Mapping[str, str]) -> str:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return "everything: it cannot be read"
    packages = found.get("packages") if isinstance(found, dict) else None
    if not isinstance(packages, dict):
        older = found.get("dependencies") if isinstance(found, dict) else None
        kept = older if isinstance(older, dict) else {}
        return next((name for name in asked if name not in kept), "")
    top = packages.get("")
    said = {**_part(top, "optionalDependencies"), **_part(top, "devDependencies"),
            **_part(top, "dependencies")}  # fmt: skip
    for name, wanted in asked.items():
        if said.get(name) != wanted:
            return name
    for path, entry in packages.items():
        optional = _part(entry, "peerDependenciesMeta")
        needed = {**_part(entry, "dependencies"),
                  **{name: wanted for name, wanted in _part(entry, "peerDependencies").items()
                     if not _part(optional, name).get("optional")}}  # fmt: skip
        spared = _part(entry, "optionalDependencies")
        if isinstance(entry, dict) and (entry.get("optional") or entry.get("peer")):
            continue
        for name in needed:
            if name not in spared and not _resolves(packages, path, name):
                return name
    return ""


def _part(entry: Any, name: str) -> dict[str, Any]:
    found = entry.get(name) if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def _resolves(packages: Mapping[str, Any], path: str, name: str) -> bool:
    while True:
        if f"{path}/node_modules/{name}".lstrip("/") in packages:
            return True
        if not path:
            return False
        path = path.rpartition("/node_modules/")[0] if "/node_modules/" in path else ""


def _pnpm(body: bytes, asked: Mapping[str, str]) -> str:
    text = body.decode("utf-8", "replace")
    found = re.search(r"(?m)^importers:\n((?:[ ].*\n|\n)*)", text)
    if found:
        own = re.search(r"(?m)^  ['\"]?\.['\"]?:\n((?:    .*\n|\n)*)", found[1])
        text = own[1] if own else ""
        if not own:
            return next(iter(asked), "")
    else:
        text = text.partition("\npackages:")[0]
    for name, wanted in asked.items():
        if wanted.startswith("catalog:"):
            continue
        said = re.search(rf"(?m)^ +['\"]?{re.escape(name)}['\"]?:(?:\n +specifier: (.*))?", text)
        if not said:
            return name
        if said[1] is not None and said[1].strip().strip("'\"") != wanted.strip():
            return name
    return ""


def _in_yarn(body: bytes, name: str, wanted: str) -> bool:
    if not wanted or wanted in ("*", "latest") or wanted.startswith(("npm:", "patch:", "catalog:")):
        return name.encode() in body
    return any(
        re.search(re.escape(form.encode()) + rb'["\s,:]', body)
        for form in (f"{name}@{wanted}", f"{name}@npm:{wanted}")
    )
