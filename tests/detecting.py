"""Sources made of a few files, for the tests of detection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bot.core.sitefile import parse
from worker.detect import Place, Plan, Source, detect


def a_source(files: Mapping[str, str]) -> Source:
    """A source that holds these files, by path."""
    names: dict[str, dict[str, bool]] = {"": {}}
    contents: dict[str, dict[str, bytes]] = {}
    for path, body in files.items():
        *above, name = path.split("/")
        for end, directory in enumerate(above):
            names.setdefault("/".join(above[:end]), {})[directory] = True
        at = "/".join(above)
        names.setdefault(at, {})[name] = False
        contents.setdefault(at, {})[name] = body.encode()
    return Source(
        places={
            at: Place(path=at, names=found, contents=contents.get(at, {}))
            for at, found in names.items()
        }
    )


def a_package(*packages: str, **rest: Any) -> str:
    """A package.json that depends on these; it has a build script of which nothing is known."""
    return json.dumps(
        {"scripts": {"build": "x"}, "devDependencies": dict.fromkeys(packages, "*"), **rest}
    )


def plan(files: Mapping[str, str], toml: str = "") -> Plan:
    """The plan for a source of these files."""
    return detect(a_source(files), parse(toml.encode()))
