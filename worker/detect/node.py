"""The package manager of a place, its frozen installation, and the version of Node.js."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, cast

from bot.core.sitefile import Sitefile
from worker.detect import locks
from worker.detect.facts import Old
from worker.detect.source import Place, Source
from worker.tool import Tool
from worker.toolchain import versions

ManagerName = Literal["npm", "pnpm", "yarn", "bun"]
EXECUTE: Final[Mapping[str, str]] = {
    "npm": "npm exec --no --",
    "pnpm": "pnpm exec",
    "yarn": "yarn run",
    "bun": "bun x --no-install",
}
_NEAREST: Final = (12, 26)
"""The releases of Node.js that the registries offer, and that still build something."""
_OF_THE_TIME: Final = 18
"""The oldest that takes --openssl-legacy-provider and is still looked after by many."""
_WITH_OPENSSL_3: Final = 17
_PNPM: Final = {b"5.3": "6", b"5.4": "7", b"6.0": "8", b"6.1": "8", b"9.0": "10"}
"""Of a format that several write, the newest which takes a dependency's build script that nobody
has allowed as a warning: from 11 on that fails the installation."""
_YARN: Final = {b"4": "2", b"5": "3", b"6": "3", b"7": "4", b"8": "4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """How a place's npm packages are managed."""

    name: ManagerName = "npm"
    version: str = ""
    why: str = ""
    at: str = ""
    """Where they are installed."""
    install: str = ""
    notes: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The package manager; npm of any version comes with Node.js."""
        if self.name == "npm" and not self.version:
            return ()
        return (Tool(name=self.name, version=self.version, why=self.why),)


def packages(source: Source, place: Place, environment: Mapping[str, str]) -> Packages:
    """The package manager for a place: its own, or that of the workspace which it belongs to."""
    home = place
    for each in source.above(place):
        # A member's own lock file counts where the workspace has none.
        if _includes(each, place) and (_locks(each) or not _locks(place)):
            home = each
    there = _locks(home)
    name, version, why, notes = _named(home, there)
    file = next((each for each, owner in there if owner == name), "")
    found = environment.get(f"{name.upper()}_VERSION", "").strip()
    if found:
        version, why = found[:100], f"{name.upper()}_VERSION"
    elif not version and file:
        version, why = _of_lock(name, home, file)
    berry = name == "yarn" and version.partition(".")[0].lstrip("^~>=v ") not in ("", "0", "1")
    lacks = locks.missing(home, file) if file else ""
    if lacks:
        notes += ((f"{home.within(file)} does not fit package.json (it lacks {lacks}): "
                  "the packages are installed by package.json"),)  # fmt: skip
    said: dict[str, str] = {}
    if name == "yarn" and not berry:
        # npm and pnpm warn where a package names no Node.js as new as this one; Yarn 1 ends there.
        said["YARN_IGNORE_ENGINES"] = "true"
    if file == "package-lock.json" and b'"lockfileVersion": 1,' in home.contents.get(file, b""):
        said["npm_config_legacy_peer_deps"] = "true"
        notes += (("package-lock.json is by an npm before 7, which knew no conflicts between peer "
                  "dependencies: npm_config_legacy_peer_deps=true"),)  # fmt: skip
    release = re.search(r"(?m)^yarnPath: *['\"]?([^'\"\s]+)", home.text(".yarnrc.yml"))
    if release and not _lies(source, home, release[1]):
        said["YARN_IGNORE_PATH"] = "1"
    exact = not berry or bool(re.search(r"\d\.\d", version)) or version in ("3", "4")
    return Packages(
        name=name,
        version=version,
        why=why,
        at=home.path,
        install=_install(name, frozen=bool(file) and not lacks and exact, berry=berry),
        notes=notes,
        locks=tuple(_deciding(source, home, place)),
        environment=tuple(said.items()),
    )


def _locks(place: Place) -> list[tuple[str, str]]:
    return [(file, owner) for file, owner in locks.ORDER if place.has(file)]


def workspaces(top: Place) -> tuple[str, ...]:
    """The globs of the workspaces that a place declares."""
    package = top.package
    found = list(package.patterns) if package else []
    text = top.text("pnpm-workspace.yaml")
    listed = re.search(r"(?m)^packages:\s*\n((?:[ \t]*[-#][^\n]*\n?|[ \t]*\n)*)", text)
    if listed:
        found += re.findall(r"(?m)^[ \t]*-\s*['\"]?([^'\"#\n]+?)['\"]?\s*(?:#.*)?$", listed[1])
    return tuple(each.removeprefix("./").rstrip("/") for each in found)


def _includes(top: Place, place: Place) -> bool:
    """Whether a place is a member of the workspaces of one above it."""
    if top.path == place.path:
        return False
    below = place.path.removeprefix(top.path).lstrip("/")
    fits = False
    for pattern in workspaces(top):
        plain = pattern.lstrip("!")
        if fnmatchcase(below, plain.replace("**", "*")) and (
            "**" in plain or below.count("/") == plain.count("/")
        ):
            fits = not pattern.startswith("!")
    return fits


def _lies(source: Source, home: Place, path: str) -> bool:
    above, _, name = path.removeprefix("./").rpartition("/")
    return source.at(home.within(above) if above else home.path).has(name)


def _named(
    home: Place, there: list[tuple[str, str]]
) -> tuple[ManagerName, str, str, tuple[str, ...]]:
    """The package manager, its version, the file that says so, and the rule where two might."""
    package = home.package
    files = [file for file, _ in there]
    owners = list(dict.fromkeys(owner for _, owner in there))
    several = f"{' and '.join(files)} are there: " if len(owners) > 1 else ""
    field = package.package_manager if package else None
    found = re.fullmatch(r"(npm|pnpm|yarn|bun)@([0-9][0-9A-Za-z.-]*)(\+.*)?", str(field or ""))
    release = re.search(r"yarn-(\d[\w.-]*)\.c?js", home.text(".yarnrc.yml", ".yarnrc"))
    if found:
        rule = (f"{several}{found[1]}, by packageManager",) if several else ()
        return cast(ManagerName, found[1]), found[2], "packageManager", rule
    if release and "yarn" in owners:
        rule = (f"{several}yarn, by yarnPath",) if several else ()
        return "yarn", release[1], ".yarnrc.yml", rule
    only = re.search(r"only-allow (npm|pnpm|yarn|bun)", package.script("preinstall")) \
        if package else None  # fmt: skip
    engines = [name for name in ("pnpm", "yarn", "bun") if package and package.word("engines", name)
               and (name in owners or not owners)]  # fmt: skip
    if only:
        name, rule_of = only[1], "only-allow in preinstall"
    elif len(engines) == 1:
        name, rule_of = engines[0], "engines"
    elif not owners:
        alone = home.has("pnpm-workspace.yaml")
        name, rule_of = ("pnpm", "pnpm-workspace.yaml") if alone else ("npm", "")
    else:
        fitting = [owner for file, owner in there if not locks.missing(home, file)]
        name = (fitting or owners)[0]
        rule_of = "the only one that fits package.json" if len(set(fitting)) == 1 else \
            "the first of bun beside yarn, yarn, pnpm, npm, bun"  # fmt: skip
        if {"bun", "yarn"} <= set(fitting or owners):
            name = "bun"
    asked = package.word("engines", name) if package else ""
    notes = (f"{several}{name}, by {rule_of}",) if several else ()
    return (
        cast(ManagerName, name),
        asked if name != "npm" else "",
        "engines" if asked else "",
        notes,
    )


def _of_lock(name: ManagerName, place: Place, file: str) -> tuple[str, str]:
    """The version that writes a lock file like this one."""
    body = place.contents.get(file, b"")
    if name == "yarn":
        if b"__metadata:" not in body:
            return "", ""
        found = re.search(rb"__metadata:\s+version: [\"']?([0-9]+)", body)
        return _YARN.get(found[1], "4") if found else "4", file
    if name == "pnpm":
        found = re.search(rb"(?m)^lockfileVersion: [\"']?([0-9]+\.[0-9]+)", body)
        version = _PNPM.get(found[1], "") if found else ""
        return version, file if version else ""
    return "", ""


def _install(name: ManagerName, *, frozen: bool, berry: bool) -> str:
    match name:
        case "npm":
            return "npm ci" if frozen else "npm install"
        case "pnpm":
            return f"pnpm install --{'' if frozen else 'no-'}frozen-lockfile"
        case "bun":
            return "bun install --frozen-lockfile" if frozen else "bun install"
        case "yarn":
            if berry:
                return f"yarn install --{'' if frozen else 'no-'}immutable"
            return "yarn install --frozen-lockfile" if frozen else "yarn install"


def _deciding(source: Source, home: Place, place: Place) -> Iterator[str]:
    """Every file that decides what an installation gives."""
    for each in dict.fromkeys((home.path, place.path)):
        at = source.at(each)
        for name in (*(file for file, _ in locks.ORDER), ".npmrc", ".yarnrc", ".yarnrc.yml",
                     "pnpm-workspace.yaml", ".pnpmfile.cjs", "bunfig.toml"):  # fmt: skip
            if at.has(name):
                yield at.within(name)
    for path, at in sorted(source.places.items()):
        inside = path == home.path or path.startswith(f"{home.path}/" if home.path else "")
        if inside and at.has("package.json"):
            yield at.within("package.json")
        if inside and path.rpartition("/")[2] == "patches":
            yield from (at.within(name) for name, directory in at.names.items() if not directory)


# ── Node.js ─────────────────────────────────────────────────────────────────────────────────────


def version(
    source: Source, place: Place, sitefile: Sitefile, *, old: Old | None
) -> tuple[Tool, tuple[str, ...], dict[str, str]]:
    """Node.js, notes about it, and what an older framework needs in the environment."""
    asked, environment = sitefile.build.node, sitefile.build.environment
    wanted, why = asked, sitefile.file_of("node") if asked else ""
    if not wanted:
        wanted, why = _wanted(source, place, environment)
    outdated = old is not None and _below(place, old)
    variables = {"NODE_OPTIONS": "--openssl-legacy-provider"} if outdated else {}
    notes: tuple[str, ...] = ()
    if outdated and old:
        variables["npm_config_legacy_peer_deps"] = "true"
        notes = ((f"{old.package} before {old.below} needs an OpenSSL of its time: "
                 "NODE_OPTIONS=--openssl-legacy-provider"),)  # fmt: skip
    least, most = _NEAREST
    try:
        text = versions.plain_node(wanted)
        if wanted and text not in (None, "*"):
            fits = [major for major in range(least, most + 1) if _admits(text, major)]
            if not fits:
                lower = _admits_below(text, least)
                nearest = least if lower else most
                notes += (
                    f"Node.js {wanted}, by {why}, is not to be had: {nearest} is the nearest",
                )
                wanted = str(nearest)
            elif outdated and _OF_THE_TIME in fits and not re.fullmatch(r"v?\d[\d.x]*", wanted):
                wanted = str(_OF_THE_TIME)
            if outdated and fits and max(fits) < _WITH_OPENSSL_3:
                del variables["NODE_OPTIONS"]
                notes = ()
        elif outdated and not wanted:
            wanted, why = str(_OF_THE_TIME), f"{old.package if old else ''} is of that time"
    except ValueError:
        if not asked and why != "NODE_VERSION":
            notes += (f"{why} says Node.js {wanted!r}, which is no version: it is passed over",)
            wanted, why = "", ""
    return Tool(name="node", version=wanted, why=why), notes, variables


def _admits(text: str | None, major: int) -> bool:
    # The last release of a line may be asked for by a range that begins within it.
    return any(
        versions.satisfies((major, minor, patch), text or "*")
        for minor, patch in ((0, 0), (99, 99))
    ) or bool(re.fullmatch(rf"\s*[v=]*{major}(\.\d+){{0,2}}\s*", text or ""))


def _admits_below(text: str | None, least: int) -> bool:
    found = re.search(r"\d+", text or "")
    return bool(found and int(found[0]) < least)


def _wanted(source: Source, place: Place, environment: Mapping[str, str]) -> tuple[str, str]:
    if found := environment.get("NODE_VERSION", "").strip():
        return found[:100], "NODE_VERSION"
    for each in (place, *source.above(place)):
        for name in (".nvmrc", ".node-version"):
            lines = (line.partition("#")[0].strip() for line in each.text(name).splitlines())
            if line := next(filter(None, lines), ""):
                return line[:100], each.within(name)
        if line := asdf(each, "nodejs", "node"):
            return line, each.within(".tool-versions")
        package = each.package
        if package is None:
            continue
        if said := package.word("volta", "node"):
            return said, "volta"
        if extended := package.word("volta", "extends"):
            other = source.at("/".join(_up(each.path, extended)))
            if other.package and (said := other.package.word("volta", "node")):
                return said, "volta"
        if said := package.word("engines", "node"):
            return said, "engines"
    return "", ""


def _up(path: str, extended: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    for part in extended.split("/")[:-1]:
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def asdf(place: Place, *names: str) -> str:
    """What `.tool-versions` says of a program."""
    for line in place.text(".tool-versions").splitlines():
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] in names:
            return words[1][:100]
    return ""


def _below(place: Place, old: Old) -> bool:
    package = place.package
    found = re.search(r"\d+", (package.asked if package else {}).get(old.package, ""))
    return bool(found and int(found[0]) < old.below)
