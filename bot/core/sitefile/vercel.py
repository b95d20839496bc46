"""`vercel.json`, with the meaning that Vercel documents.

https://vercel.com/docs/project-configuration/vercel-json
"""

from __future__ import annotations

import re
from typing import Any, Final

from bot.core.sitefile import bounds
from bot.core.sitefile.records import Word
from bot.core.sitefile.said import Said, not_served, not_understood

FILE: Final = "vercel.json"

_STEPS: Final = {
    "buildCommand": "command",
    "installCommand": "install",
    "outputDirectory": "output",
}
_SERVED_LATER: Final = (
    "redirects", "rewrites", "headers", "routes", "cleanUrls", "trailingSlash", "bulkRedirectsPath",
)  # fmt: skip
_KNOWN: Final = {
    "framework": "is passed over: the framework is found by what the repository depends on",
    "ignoreCommand": "is not executed: `watch` in pushlane.toml says what a push must change",
    "builds": "is not executed: say buildCommand and outputDirectory",
    "build": "is passed over: variables are said in [build.environment] of pushlane.toml",
    "env": "is passed over: variables are said in [build.environment] of pushlane.toml",
    "functions": "is not served: only static files are",
    "crons": "is not served: only static files are",
    "images": "is not served: only static files are",
    "git": "is passed over: `skip_branches` in pushlane.toml says what is not deployed",
}
"""Keys that are known, and do nothing here."""
_NOT_OF_A_DEPLOYMENT: Final = (
    "$schema", "version", "name", "public", "devCommand", "regions", "functionFailoverRegions",
    "fluid", "github", "scope", "alias",
)  # fmt: skip
"""For Vercel's own command, account and servers."""
_EVERY_PATH: Final = re.compile(r"/(\(\.\*\)|\.\*|:[A-Za-z0-9_]+(\*|\(\.\*\)))")


def said(body: bytes) -> Said:
    """What the file says; null means the default, as if the key were not there.

    Raises `BuildFailed` (`sitefile_invalid`) that says where the file is wrong.
    """
    found = {key: value for key, value in bounds.json(body, FILE).items() if value is not None}
    build: dict[str, Any] = {}
    site: dict[str, Any] = {}
    warnings: list[str] = []
    for key, value in found.items():
        if key in _STEPS:
            text = bounds.shaped(value, Word, file=FILE, under=key)
            bounds.refuse_nul(text, file=FILE, key=key)
            if key != "outputDirectory":
                build[_STEPS[key]] = text if text.strip() else ""
            elif text.strip():
                build["output"] = bounds.inside(text, file=FILE, key=key, rooted=True)
        elif key == "rewrites" and _is_single_page(value):
            site["spa"] = True
        elif key in _SERVED_LATER:
            warnings += [not_served(FILE, key)] if value else []
        elif key in _KNOWN:
            warnings.append(f"{FILE}: `{key}` {_KNOWN[key]}")
        elif key not in _NOT_OF_A_DEPLOYMENT:
            warnings.append(not_understood(FILE, key))
    return Said(file=FILE, build=build, site=site, warnings=tuple(warnings))


def _is_single_page(found: object) -> bool:
    """Whether the one rule is the usual one of a single-page site."""
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        return False
    rule = found[0]
    return (
        rule.keys() == {"source", "destination"}
        and bool(_EVERY_PATH.fullmatch(str(rule["source"])))
        and rule["destination"] in ("/index.html", "/")
    )
