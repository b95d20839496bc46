"""What is kept between two calls of `scripts/frameworks`: results, lock files, toolchains."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.frameworks.catalogue import Pair
from tests.frameworks.repositories import files_of, site_files

ROOT: Final = Path(__file__).parents[2]
_CODE: Final = ("bot/core", "bot/source", "bot/intake", "bot/gateway", "worker")


def home() -> Path:
    """Where it lies: the user's cache directory, away from the repository."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pushlane-frameworks"


def version() -> str:
    """The digest of all code that a build goes through."""
    digest = hashlib.sha256()
    for place in _CODE:
        base = ROOT / place
        for path in sorted(base.rglob("*") if base.is_dir() else [base.with_suffix(".py")]):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def key(pair: Pair, code: str) -> str:
    """What a result holds for: this pair, these files, this code."""
    digest = hashlib.sha256(f"{code}{pair!r}".encode())
    groups = (files_of(pair), *(site_files(folder) for folder in pair.submodules.values()))
    for files in groups:
        for name in sorted(files):
            digest.update(f"{name}\0".encode() + files[name])
    return digest.hexdigest()[:24]


class Results:
    """The results by key, in a file that is written after each pair."""

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        if path.exists() and not anew:
            self._found = json.loads(path.read_text())

    def get(self, name: str) -> Mapping[str, Any] | None:
        """A result, or None."""
        return self._found.get(name)

    def put(self, name: str, result: Mapping[str, Any]) -> None:
        """Keeps a result; a reader sees the old file or the new one."""
        self._found[name] = dict(result)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._found, indent=1))
        new.replace(self._path)
