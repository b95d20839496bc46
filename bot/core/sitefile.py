"""The repository's own file: what `pushlane.toml` asks of a build and of a site. Pure."""

from __future__ import annotations

import re
import time
import tomllib
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from bot.core.deployment import slug_is_taken_form
from bot.core.errors import BuildFailed

FILE: Final = "pushlane.toml"
LIMIT: Final = 262_144
"""Bytes; a longer file is refused."""

_DOTS: Final = 100
_SOME_DOTS: Final = 16
_LONG_LINES: Final = 50
_SKIP_WORDS: Final = ("[skip ci]", "[ci skip]", "[skip deploy]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PROJECT: Final = re.compile(r"(?!.*--)[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SHARED: Final = ("node", "fetch_depth", "submodules", "skip_branches", "environment")
"""Keys of [build] that hold for each of [[projects]] which does not say otherwise."""
_PLACE: Final = re.compile(r"\$\.?(\S*)")

Word = Annotated[str, msgspec.Meta(max_length=1000)]
Words = Annotated[tuple[Word, ...], msgspec.Meta(max_length=200)]


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How to build. An empty string means: find out."""

    root: Word = ""
    """Where to work, relative to the repository; `""` is its top."""
    command: Word | None = None
    """None: the framework's own; `""`: no build at all."""
    install: Word | None = None
    """None: the package manager's own; `""`: install nothing."""
    output: Word = ""
    """The directory to publish, relative to `root`."""
    node: Word = ""
    """A version or the beginning of one."""
    fetch_depth: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    """Commits of history in the source; 0 is the whole of it."""
    submodules: bool = True
    watch: Words = ()
    """Globs: deploy only when one of these changed. Empty: always."""
    skip_branches: Words = ()
    """Globs of branches that are never deployed."""
    environment: dict[str, str] = {}


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One of `[[projects]]`: a further site of the same repository."""

    name: str
    build: Build = Build()
    """Whole: what its entry leaves to `[build]` is in it."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve."""

    spa: bool = False
    """Paths that are not there show `index.html`."""


class Redirect(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One rule of `[[redirects]]`."""

    from_: Word
    to: Word
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] = 301


class Headers(msgspec.Struct, frozen=True, kw_only=True, rename={"for_": "for"}):
    """One rule of `[[headers]]`."""

    for_: Word
    values: dict[str, Word]


class Sitefile(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file; every part has a default, so that no file is an empty one."""

    build: Build = Build()
    projects: Annotated[tuple[Project, ...], msgspec.Meta(max_length=50)] = ()
    site: Site = Site()
    redirects: Annotated[tuple[Redirect, ...], msgspec.Meta(max_length=10_000)] = ()
    headers: Annotated[tuple[Headers, ...], msgspec.Meta(max_length=10_000)] = ()
    warnings: tuple[str, ...] = ()
    """One line for each key that is not understood or not served yet, for the log."""


def parse(body: bytes | None) -> Sitefile:
    """Reads the bytes of `pushlane.toml`; None (no file) gives the defaults.

    Raises `BuildFailed` (code `sitefile_invalid`) that says where the file is wrong.
    """
    if body is None:
        return Sitefile()
    if len(body) > LIMIT:
        raise _invalid(f"is longer than {LIMIT // 1024} KB; shorten it")
    try:
        text = body.decode("utf-8")
        _refuse_deep(text)
        found = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _invalid(f"is not UTF-8 in line {line}; save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        # Not TOMLDecodeError alone: a number of 5,000 digits is a ValueError of int's own.
        raise _invalid(f"is not valid TOML: {error}") from None
    warnings = [*_unknown(found, "", Sitefile), *_unserved(found)]
    _as_text(found)
    try:
        found["projects"] = _projects(found)
        sitefile = msgspec.convert({**found, "warnings": warnings}, Sitefile)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        where = _PLACE.sub(r"\1", place.strip("`")) or "the top"
        raise _invalid(f"is wrong at `{where}`: {reason[:1].lower()}{reason[1:]}") from None
    projects = [
        msgspec.structs.replace(each, build=_checked(each.build, "projects"))
        for each in sitefile.projects
    ]
    build = _checked(sitefile.build, "build")
    return msgspec.structs.replace(sitefile, build=build, projects=tuple(projects))


def _checked(build: Build, where: str) -> Build:
    for name in build.environment:
        if not _NAME.fullmatch(name):
            raise _invalid(f"has {name!r} in [{where}.environment], which is no variable's name")
    texts = (build.command, build.install, build.node, *build.environment.values())
    if any("\0" in text for text in texts if text):
        raise _invalid(f"has a NUL character in [{where}], which no command can be given")
    return msgspec.structs.replace(
        build,
        root=_inside(build.root, f"{where}.root"),
        output=_inside(build.output, f"{where}.output"),
    )


def _projects(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of `[[projects]]`, each with a whole `build`."""
    entries = found.get("projects", [])
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise _invalid("is wrong at `projects`: write each project as [[projects]]")
    names = [each.get("name") for each in entries]
    for name in names:
        if not isinstance(name, str) or not _PROJECT.fullmatch(name) or slug_is_taken_form(name):
            raise _invalid(
                f"has a project named {name!r}; a name is its host's: at most 40 of a-z, 0-9 and "
                "single dashes, and none that looks like a deployment's id, pr-<number> or xn…"
            )
        if names.count(name) > 1:
            raise _invalid(f"names the project {name} twice")
    build = found.get("build", {})
    shared = {key: build[key] for key in _SHARED if key in build} if isinstance(build, dict) else {}
    whole = []
    for each in entries:
        own = {"build": {key: value for key, value in each.items() if key != "name"}}
        _as_text(own)
        variables = (shared.get("environment", {}), own["build"].get("environment", {}))
        if all(isinstance(some, dict) for some in variables):
            own["build"]["environment"] = {**variables[0], **variables[1]}
        whole.append({"name": each["name"], "build": {**shared, **own["build"]}})
    return whole


def skip_reason(message: str, branch: str, sitefile: Sitefile) -> str | None:
    """Why the commit is not to be deployed, for people; None when it is."""
    lowered = message.lower()
    for words in _SKIP_WORDS:
        if words in lowered:
            return f"the commit's message says {words}"
    for pattern in sitefile.build.skip_branches:
        if matches(pattern, branch):
            return f"{FILE} skips branches like {pattern}"
    return None


def watch_reason(
    changed: tuple[str, ...], sitefile: Sitefile, *, seconds: float = 2.0
) -> str | None:
    """Why nothing that is watched changed, for people; None when something did, or all is.

    Raises `TimeoutError` when it is not found out in time.
    """
    watched = sitefile.build.watch
    ends = time.monotonic() + seconds
    for path in changed if watched else ():
        for pattern in watched:
            if matches(pattern, path):
                return None
            if time.monotonic() > ends:
                raise TimeoutError
    if not watched:
        return None
    return f"nothing changed in {', '.join(watched[:5])} since the last deployed commit"


def matches(pattern: str, path: str) -> bool:
    """Whether a glob matches the whole path. `*` and `?` stay inside a part, `**` does not.

    Goes all ways at once, a bit for each place in the pattern: every letter of the path costs a
    few operations on one number, whatever the pattern is.
    """
    glob = _glob(pattern)
    here = glob.skipping(1)
    for letter in path:
        stays, steps = glob.deep, glob.letters.get(letter, 0)
        if letter == "/":
            steps |= glob.folders
        else:
            stays |= glob.stars
            steps |= glob.marks
        inside = here & glob.folders
        here = glob.skipping((here & stays) | ((here & steps) << 1)) | inside
        if not here:
            return False
    return bool(here >> glob.length)


class _Glob(msgspec.Struct, frozen=True):
    """A pattern's parts as sets of places, each a number with a bit for a place."""

    length: int
    letters: dict[str, int]
    """Where each letter stands for itself."""
    marks: int
    """`?`"""
    stars: int
    """`*`"""
    deep: int
    """`**`"""
    folders: int
    """`**/`: any folders, or none."""

    def skipping(self, here: int) -> int:
        """The places, and those behind each star there, since it may match nothing.

        No more than two stars ever follow each other: `**/` and one of the others.
        """
        empty = self.stars | self.deep | self.folders
        here |= (here & empty) << 1
        return here | (here & empty) << 1


@lru_cache(1000)
def _glob(pattern: str) -> _Glob:
    whole = re.sub(r"(\*\*/)+", "**/", re.sub(r"\*\*+", "**", pattern))
    parts = re.findall(r"\*\*/|\*\*|.", whole, re.DOTALL)
    places: dict[str, int] = {}
    for at, part in enumerate(parts):
        places[part] = places.get(part, 0) | 1 << at
    marks, stars, deep, folders = (places.pop(sign, 0) for sign in ("?", "*", "**", "**/"))
    return _Glob(len(parts), places, marks, stars, deep, folders)


def _refuse_deep(text: str) -> None:
    """A key of very many parts costs tomllib seconds and gigabytes: it grows by the square.

    A key lies in one line, whatever quotes and tables it is wrapped in, so its dots do. Lines of
    some more dots (addresses in a header's value) may be few.
    """
    long = 0
    for number, line in enumerate(text.split("\n"), 1):
        dots = line.count(".")
        if dots > _DOTS:
            raise _invalid(f"has more than {_DOTS} dots in line {number}; break the line up")
        long += dots > _SOME_DOTS
        if long > _LONG_LINES:
            raise _invalid(
                f"has more than {_LONG_LINES} lines of more than {_SOME_DOTS} dots, one in line "
                f"{number}; break them up"
            )


def _invalid(words: str) -> BuildFailed:
    return BuildFailed(f"{FILE} {words}", code="sitefile_invalid")


def _inside(path: str, key: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or any(ord(c) < 32 or c == "\\" for c in path):
        raise _invalid(f"has `{key} = {path!r}`; it takes a path inside the repository")
    if any(part.lower() == ".git" for part in parts):
        raise _invalid(f"has `{key} = {path!r}`; .git cannot be built or published")
    return "/".join(parts)


def _unknown(found: dict[str, Any], where: str, shape: Any) -> list[str]:
    known = {field.encode_name for field in msgspec.structs.fields(shape)} - {"warnings"}
    lines = []
    for name, value in found.items():
        path = f"{where}{name}"
        if name == "projects" and isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    rest = {key: each[key] for key in each if key != "name"}
                    lines += _unknown(rest, "projects.", Build)
        elif name not in known:
            lines.append(f"{FILE}: `{path[:100]}` is not understood")
        elif isinstance(value, dict) and path in ("build", "site"):
            lines += _unknown(value, f"{path}.", {"build": Build, "site": Site}[path])
    return lines


def _unserved(found: dict[str, Any]) -> list[str]:
    return [
        f"{FILE}: `{name}` is read, but not served yet"
        for name in ("redirects", "headers")
        if found.get(name)
    ]


def _as_text(found: dict[str, Any]) -> None:
    """Numbers and truths where a text is meant (`node = 22`) become that text."""
    build = found.get("build")
    if not isinstance(build, dict):
        return
    if isinstance(build.get("node"), int | float) and not isinstance(build["node"], bool):
        build["node"] = str(build["node"])
    environment = build.get("environment")
    if isinstance(environment, dict):
        build["environment"] = {
            name: str(value).lower()
            if isinstance(value, bool)
            else str(value)
            if isinstance(value, int | float)
            else value
            for name, value in environment.items()
        }
