"""What decides what an installation gives: the key of the packages that it makes. Reads only."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from worker import tree

FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(words)
    for name, words in tomllib.loads(
        Path(__file__).with_name("facts.toml").read_text(encoding="utf-8")
    ).items()
}
SCHEMA: Final = "1"
UNLOCKED_SECONDS: Final = 24 * 3600
"""So long packages are kept that no lock file fixes."""
_MOST_FOLDERS: Final = 20_000
_MOST_FILES: Final = 5_000
_MOST_BYTES: Final = 64 << 20
_SKIPPED: Final = frozenset({".git", "node_modules"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What decides, for one source."""

    parts: Mapping[str, str]
    """A digest of each file (by its path in the source) and of each other thing that decides."""
    bound: str
    """Why the packages may depend on all of the source; `""` where they do not."""
    repeated: tuple[tuple[str, str], ...]
    """Scripts to execute again over kept packages: folder (relative to the source), name."""
    locked: bool
    """Whether a lock file fixes the versions."""

    def name(self, *, epoch: int = 0, source: str = "") -> str:
        """The key, for this very source where one is given."""
        whole = msgspec.json.encode([SCHEMA, epoch, sorted(self.parts.items()), source])
        return f"packages-{hashlib.sha256(whole).hexdigest()}"


def decide(
    source: Path,
    *,
    install: str,
    install_at: str,
    locks: Sequence[str],
    environment: Mapping[str, str],
    versions: Mapping[str, str],
) -> Decided:
    """What decides what `install` gives in the unpacked `source`. Blocking; follows no link.

    `locks` are paths of files that decide besides those that are known by name.
    """
    found, bound = _files(source, locks)
    packages = {path: _package(body) for path, body in found.items() if _is(path, "package.json")}
    repeated, why = _scripts(packages)
    bound = bound or why or _reaching(found, packages)
    if not all(_matches(part.strip(), "installs") for part in install.split("&&")):
        bound = bound or f"`{install}`"
    seen = {name: text for name, text in environment.items() if name not in FACTS["passing"]}
    parts = {path: _digest(body) for path, body in found.items()}
    parts |= {
        "the install command": _digest(f"{install_at}\0{install}".encode()),
        "the environment": _digest(msgspec.json.encode(sorted(seen.items()))),
        "this machine's kind": f"{platform.machine()} {'-'.join(platform.libc_ver())}",
        **{f"{name}'s version": version for name, version in versions.items()},
    }
    locked = any(_is(path, *FACTS["locks"]) for path in found)
    return Decided(parts=parts, bound=bound, repeated=repeated, locked=locked)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:32]


def _is(path: str, *names: str) -> bool:
    return PurePosixPath(path).name in names


def _matches(text: str, fact: str) -> bool:
    return any(re.fullmatch(pattern, text, re.ASCII) for pattern in FACTS[fact])


def _files(source: Path, locks: Sequence[str]) -> tuple[dict[str, bytes], str]:
    """The files that decide, and why they may not be all."""
    found: dict[str, bytes] = {}
    left = _MOST_BYTES
    for path in dict.fromkeys((*locks, *_named(source))):
        if path == "":
            return found, "more folders than are looked through"
        if path.endswith("/"):
            return found, f"{path}, which is in the repository"
        body = tree.read(source, path, most=left + 1)
        if body is None:
            # A link, perhaps: what it leads to may be anything.
            if os.path.lexists(source / path):
                return found, f"{path}, which is no plain file"
            continue
        left -= len(body)
        if left < 0 or len(found) >= _MOST_FILES:
            return found, "more lock files than are read"
        found[path] = body
    return found, ""


def _named(source: Path) -> Iterator[str]:
    """Paths by the names that decide; one that ends in `/` for installed packages; `""`: too many.

    A link with such a name is one of them.
    """
    pending, looked = [""], 0
    while pending:
        at = pending.pop()
        looked += 1
        if looked > _MOST_FOLDERS:
            yield ""
            return
        prefix = f"{at}/" if at else ""
        whole = any(f"/{at}/".endswith(f"/{each}/") for each in FACTS["folders"])
        for name, kind in sorted(_entries(source, at)):
            if kind == "folder":
                if name == "node_modules":
                    yield f"{prefix}{name}/"
                elif name not in _SKIPPED:
                    pending.append(prefix + name)
            elif whole or any(fnmatchcase(name, each) for each in FACTS["decides"]):
                yield prefix + name


def _entries(source: Path, at: str) -> list[tuple[str, str]]:
    try:
        with tree.directory(source, tree.parts_of(at)) as handle, os.scandir(handle) as entries:
            return [
                (entry.name, "folder" if entry.is_dir(follow_symlinks=False) else "file")
                for entry in entries
            ]
    except (OSError, ValueError):
        return []


def _package(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _table(package: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = package.get(name)
    return found if isinstance(found, dict) else {}


def _scripts(packages: Mapping[str, dict[str, Any]]) -> tuple[tuple[tuple[str, str], ...], str]:
    """The project's own install scripts that are repeated, or why one binds to the source."""
    repeated = []
    for path, package in packages.items():
        for name in FACTS["scripts"]:
            script = _table(package, "scripts").get(name)
            if not isinstance(script, str) or not script.strip():
                continue
            steps = re.split(r"&&|\|\||;", script)
            if not all(_matches(step.strip(), "repeatable") for step in steps):
                return (), f"the script `{name}` of {path}"
            repeated.append((str(PurePosixPath(path).parent).removeprefix("."), name))
    return tuple(repeated), ""


def _reaching(found: Mapping[str, bytes], packages: Mapping[str, dict[str, Any]]) -> str:
    """Why an installation copies, or executes, other files of the source; `""` if it does not."""
    for path in found:
        if _is(path, ".pnpmfile.cjs"):
            return path
        if path.endswith(".txt"):
            text = found[path].decode("utf-8", "replace")
            if re.search(r"(?m)^\s*(-e|--editable|\.|/)|\bfile:|@ *\.", text):
                return f"a local path in {path}"
            for name in re.findall(
                r"(?m)^\s*(?:-r|-c|--requirement|--constraint)[\s=]+(\S+)", text
            ):
                if os.path.normpath(PurePosixPath(path).parent / name) not in found:
                    return f"{name}, which {path} names"
        if _is(path, "binding.gyp"):
            return path
    for path, package in packages.items():
        for kind in ("dependencies", "devDependencies", "optionalDependencies"):
            for wanted in _table(package, kind).values():
                if isinstance(wanted, str) and re.match(r"(file:|\.|/|~/)", wanted):
                    return f"`{wanted}` in {path}"
        if "injected" in str(package.get("dependenciesMeta", "")):
            return f"dependenciesMeta of {path}"
    return ""
