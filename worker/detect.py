"""Decides how a source is built: what to install, what to execute, what to publish, and why. Pure.

The repository's own file wins, then `package.json` with the table of facts, then plain HTML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from bot.core.errors import BuildFailed
from bot.core.sitefile import Sitefile
from worker.frameworks import COMMAND, FACTS, SCRIPT, Fact

PLAIN: Final = "Plain HTML"
PLACES: Final = ("", "public", "dist", "_site", "site", "build", "out", "www", "docs")
"""Where a site lies that needs no build: the first that has an index.html."""
READ: Final = (
    *("package.json", ".nvmrc", ".node-version"),
    *("yarn.lock", "pnpm-lock.yaml"),
)
"""The files whose contents are looked at; of each, the first `MOST` bytes."""
MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is looked at. Paths are relative to the directory that is built."""

    names: Mapping[str, bool]
    """The names there, each with whether it is a directory."""
    contents: Mapping[str, bytes]
    """Of `READ`, what is there."""
    pages: frozenset[str] = frozenset()
    """Those of `PLACES` that have an index.html."""
    above: Source | None = None
    """The repository's top, when another directory is built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """The package manager: its name, and the version that the repository asks for, or `""`."""

    name: Literal["npm", "pnpm", "yarn"]
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a source becomes an output."""

    framework: str
    reason: str
    """One line for the log."""
    install: str = ""
    install_above: bool = False
    """Install in the repository's top instead of the directory that is built."""
    command: str = ""
    outputs: tuple[str, ...]
    """Directories to publish; the first one that the build has made. `""` is the source itself."""
    declared: bool = False
    """The repository's own file names the output, so no other will do."""
    node: str | None = None
    """The version of Node to provide, `""` for the LTS; None where none is needed."""
    manager: Manager | None = None
    hint: str = ""
    caches: tuple[str, ...] = ()
    """The framework's own cache folders, relative to the directory that is built."""
    locks: tuple[str, ...] = ()
    """Files that decide what an installation gives, relative to the source."""

    @property
    def builds(self) -> bool:
        """Whether anything is to be executed."""
        return bool(self.install or self.command)


class _Package(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of package.json; whatever has another type there is ignored."""

    scripts: Any = None
    dependencies: Any = None
    dev_dependencies: Any = None
    optional_dependencies: Any = None
    peer_dependencies: Any = None
    workspaces: Any = None
    package_manager: Any = None
    engines: Any = None

    def table(self, name: str) -> dict[str, Any]:
        found = getattr(self, name)
        return found if isinstance(found, dict) else {}

    @property
    def packages(self) -> set[str]:
        return set().union(
            self.table("dependencies"),
            self.table("dev_dependencies"),
            self.table("optional_dependencies"),
        )


def detect(source: Source, sitefile: Sitefile) -> Plan:
    """The plan for a source. Raises `BuildFailed` for a package.json that cannot be read."""
    asked = sitefile.build
    package = _package(source)
    fact, why = _fact(source, package)
    manager, locked, above = _manager(source)
    script = next((name for name in fact.scripts if package and name in package.table("scripts")),
                  "") if fact else ""  # fmt: skip
    command, told = "", ""
    if asked.command is not None:
        command, told = asked.command, "pushlane.toml"
    elif script:
        command, told = f"{manager.name} run {script}", why
    elif fact and fact.command:
        command, told = f"{_EXECUTE[manager.name]} {fact.command}", why
    if not command:
        return _plain(source, sitefile, told)
    fact = fact or (SCRIPT if package else COMMAND)
    install = asked.install
    if install is None:
        needed = package is not None and _installs(package, above=above)
        install = _install(manager, locked=locked) if needed else ""
    speaks_node = bool(re.search(r"\b(node|npm|npx|pnpm|yarn|corepack)\b", f"{install} {command}"))
    outputs = (asked.output,) if asked.output else fact.outputs
    steps = ", then ".join(filter(None, (install, command)))
    return Plan(
        framework=fact.name,
        reason=f"{fact.name}, by {told}: {steps}; publishes {outputs[0]}",
        install=install,
        install_above=above,
        command=command,
        outputs=outputs,
        declared=bool(asked.output),
        node=_node(source, sitefile) if package or speaks_node else None,
        manager=manager,
        hint=fact.hint,
        caches=(".next/cache", "node_modules/.cache", ".astro", ".docusaurus"),
    )


_EXECUTE: Final = {"npm": "npm exec --no --", "pnpm": "pnpm exec", "yarn": "yarn run"}


def _plain(source: Source, sitefile: Sitefile, told: str) -> Plan:
    asked = sitefile.build
    if asked.output:
        return Plan(
            framework=PLAIN,
            reason=f"{PLAIN}, no build: publishes {asked.output}, by pushlane.toml",
            outputs=(asked.output,),
            declared=True,
        )
    place = next((place for place in PLACES if place in source.pages), "")
    why = f"pushlane.toml has no command ({told})" if told else "nothing here asks for a build"
    where = f"{place or 'the repository'}, which has index.html"
    if place not in source.pages:
        where = "the repository as it is; it has no index.html, so its front page will be a 404"
    return Plan(framework=PLAIN, reason=f"{PLAIN}, {why}: publishes {where}", outputs=(place,))


def _package(source: Source | None) -> _Package | None:
    body = source.contents.get("package.json") if source else None
    if body is None:
        return None
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=_Package)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BuildFailed(
            f"package.json cannot be read: {error}; mend it", code="package_json_invalid"
        ) from None


def _fact(source: Source, package: _Package | None) -> tuple[Fact | None, str]:
    if package is None:
        return None, ""
    packages = package.packages
    for fact in FACTS:
        named = next((name for name in fact.packages if name in packages), "")
        if named:
            return fact, f"package.json, which depends on {named}"
    if "build" not in package.table("scripts"):
        return None, ""
    for fact in FACTS:
        for name in source.names:
            if fact.config and name.startswith(fact.config):
                return fact, f"{name}"
    return SCRIPT, "the build script of package.json"


_LOCKS: Final[tuple[tuple[str, Literal["npm", "pnpm", "yarn"]], ...]] = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
)


def _manager(source: Source) -> tuple[Manager, bool, bool]:
    """The package manager, whether there is a lock file, and whether it lies in the top."""
    for place, above in ((source, False), (source.above, True)):
        if place is None or (above and not _has_workspaces(place)):
            continue
        package = _package(place)
        named = _named(package.package_manager if package else None)
        locks = [manager for file, manager in _LOCKS if place.names.get(file) is False]
        if named:
            return named, named.name in locks, above
        if locks:
            found = _of_lock(locks[0], place)
            asked = package.table("engines").get(found.name) if package else None
            if isinstance(asked, str) and asked.strip():
                found = Manager(name=found.name, version=asked.strip()[:100])
            return found, True, above
    return Manager(name="npm"), False, False


def _has_workspaces(place: Source) -> bool:
    package = _package(place)
    return "pnpm-workspace.yaml" in place.names or bool(package and package.workspaces)


def _named(text: Any) -> Manager | None:
    """What `packageManager` says, as in `pnpm@9.1.0+sha512.…`."""
    found = re.fullmatch(r"(npm|pnpm|yarn)@([0-9][0-9A-Za-z.-]*)(\+.*)?", str(text or ""))
    if not found:
        return None
    name = found[1]
    version = found[2]
    if name == "pnpm":
        return Manager(name="pnpm", version=version)
    return Manager(name="yarn" if name == "yarn" else "npm", version=version)


def _of_lock(name: Literal["npm", "pnpm", "yarn"], place: Source) -> Manager:
    """The version that writes a lock file like this one."""
    if name == "yarn":
        body = place.contents.get("yarn.lock", b"")
        if b"__metadata:" not in body:
            return Manager(name="yarn")
        found = re.search(rb"__metadata:\s+version: [\"']?([0-9]+)", body)
        return Manager(name="yarn", version="3" if found and int(found[1]) < 8 else "4")
    if name == "pnpm":
        body = place.contents.get("pnpm-lock.yaml", b"")
        found = re.search(rb"(?m)^lockfileVersion: [\"']?([0-9]+\.[0-9]+)", body)
        return Manager(name="pnpm", version=_PNPM.get(found[1], "") if found else "")
    return Manager(name="npm")


_PNPM: Final = {b"5.3": "6", b"5.4": "7", b"6.0": "8", b"6.1": "8", b"9.0": "10"}
"""Of a format that several write, the newest which takes a dependency's build script that nobody
has allowed as a warning: from 11 on that fails the installation."""


def _installs(package: _Package, *, above: bool) -> bool:
    """Whether an installation would do anything."""
    if package.workspaces or above:
        return True
    scripts = package.table("scripts")
    return bool(package.packages or package.table("peer_dependencies")) or any(
        name in scripts for name in ("preinstall", "install", "postinstall", "prepare")
    )


def _install(manager: Manager, *, locked: bool) -> str:
    match manager.name:
        case "npm":
            return "npm ci" if locked else "npm install"
        case "pnpm":
            return f"pnpm install --{'' if locked else 'no-'}frozen-lockfile"
        case "yarn":
            if manager.version.partition(".")[0] in ("", "0", "1"):
                return "yarn install --frozen-lockfile" if locked else "yarn install"
            return f"yarn install --{'' if locked else 'no-'}immutable"


def _node(source: Source, sitefile: Sitefile) -> str:
    if sitefile.build.node:
        return sitefile.build.node
    for place in (source, source.above):
        for name in (".nvmrc", ".node-version"):
            body = place.contents.get(name, b"") if place else b""
            lines = (line.partition("#")[0].strip() for line in body.decode("utf-8", "replace")
                     .splitlines())  # fmt: skip
            if found := next(filter(None, lines), ""):
                return found[:100]
        asked = (_package(place) or _Package()).table("engines").get("node") if place else None
        if isinstance(asked, str) and asked.strip():
            return asked.strip()[:100]
    return ""
