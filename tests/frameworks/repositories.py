"""What a pair's repository holds, in the morning and in the evening."""

from __future__ import annotations

import json
from typing import Final

from tests.frameworks.catalogue import SITES, Pair

MORNING: Final = "Good morning"
EVENING: Final = "Good evening"
Files = dict[str, bytes]


def files_of(pair: Pair) -> Files:
    """The repository's files by path, without a lock file and without submodules."""
    found = site_files(pair.site)
    for name in pair.drop:
        del found[name]
    if pair.package:
        package = json.loads(found["package.json"]) | pair.package
        found["package.json"] = (json.dumps(package, indent=2) + "\n").encode()
    placed = {f"{pair.under}/{name}" if pair.under else name: body for name, body in found.items()}
    return placed | {name: text.lstrip("\n").encode() for name, text in pair.files.items()}


def site_files(folder: str) -> Files:
    """All files of a folder of fixtures."""
    top = SITES / folder
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


def evening(files: Files) -> Files:
    """Those files that greet, changed."""
    return {
        name: body.replace(MORNING.encode(), EVENING.encode())
        for name, body in files.items()
        if MORNING.encode() in body
    }
