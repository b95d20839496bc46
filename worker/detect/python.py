"""How a Python site's packages are installed, and which Python it wants."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.detect import readthedocs
from worker.detect.facts import MKDOCS, SPHINX
from worker.detect.marks import Mark
from worker.detect.node import asdf
from worker.detect.readthedocs import ReadTheDocs
from worker.detect.source import Place, Source
from worker.tool import Tool

VENV: Final = 'uv venv --quiet --no-project --python python3 "$VIRTUAL_ENV"'
_REQUIREMENTS: Final = (
    "docs/requirements.txt", "docs/requirements-docs.txt", "docs/docs-requirements.txt",
    "docs/doc-requirements.txt", "docs/requirements_docs.txt", "docs/rtd-requirements.txt",
    "docs/requirements-rtd.txt", "docs/requirements/requirements.txt",
    "docs/source/requirements.txt", "doc/requirements.txt", "doc/source/requirements.txt",
    "documentation/requirements.txt", "requirements-docs.txt", "requirements_docs.txt",
    "docs-requirements.txt", "docs_requirements.txt", "requirements-doc.txt",
    "requirements/docs.txt", "requirements/doc.txt", "requirements/requirements-docs.txt",
    "requirements.txt", "requirements-dev.txt",
)  # fmt: skip
_GROUPS: Final = ("docs", "doc", "documentation", "sphinx", "mkdocs", "website", "site")
_IMPLIED: Final = {
    "MkDocs": r"\b(mkdocs-\w|zensical)",
    "Sphinx": r"(?i)\b(sphinx[-_]\w|furo\b|pydata-sphinx-theme|myst[-_](parser|nb))",
}
"""What brings the framework along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment's making."""

    install: str
    at: str
    tools: tuple[Tool, ...]
    notes: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    command: str = ""
    """The repository's own commands, made in `at`; `""` for the framework's."""
    builder: str = ""
    """Sphinx's builder, where another than `html` is asked for."""


def prepare(source: Source, found: Mark, environment: Mapping[str, str]) -> Environment:
    """The installation for a site, where its files ask for packages and where they do not."""
    place = found.place
    home = _home(source, place)
    read = readthedocs.read(source, home)
    wanted, why = _wanted(source, place, home, environment)
    tools: tuple[Tool, ...] = (
        Tool(name="python", version=wanted, why=why),
        Tool(name="uv"),
    )
    if read and read.node:
        tools = (*tools, Tool(name="node", version=read.node, why=read.file))
    if read and read.command:
        notes = (f"the commands of {read.file} are the build", *read.notes)
        # They install for themselves, by pip as a rule.
        install = VENV.replace("uv venv", "uv venv --seed")
        return Environment(
            install=install, at=home.path, tools=tools, notes=notes, command=read.command
        )
    steps, text, locks, more = _asked(source, home, place, read)
    needed = [each for each in _needed(found, source) if not _names(text, each)]
    if re.search(_IMPLIED.get(found.fact.name, r"(?!)"), text):
        needed = [each for each in needed if each not in found.fact.requirements]
    if needed:
        steps = [*steps, f"uv pip install {' '.join(shlex.quote(each) for each in needed)}"]
    notes = (f"no file asks for {', '.join(needed)}: installed in the newest release",)
    return Environment(
        install=" && ".join([VENV, *steps]),
        at=home.path,
        tools=(*tools, *more),
        notes=(*(notes if needed else ()), *(read.notes if read else ())),
        locks=tuple(locks),
        builder=read.builder if read else "",
    )


def command(found: Mark, environment: Environment) -> str:
    """The framework's own command, with the directory or the file that holds its configuration."""
    said = found.fact.command
    if found.fact.name == "MkDocs" and found.at not in ("", "mkdocs.yml", "mkdocs.yaml"):
        return f"{said} --config-file {shlex.quote(found.at)}"
    if environment.builder:
        said = said.replace("-b html ", f"-b {environment.builder} ")
    return said.replace("{place}", found.at or ".")


def _home(source: Source, place: Place) -> Place:
    """Where the packages are asked for: Read the Docs' file that names the place, else nearest."""
    above = (place, *source.above(place))
    for each in above:
        path = readthedocs.configuration(each)[1]
        if path and each.within(path).rpartition("/")[0] == place.path:
            return each
    return next((each for each in above if _is_home(source, each)), place)


def _is_home(source: Source, place: Place) -> bool:
    return place.has(*readthedocs.NAMES, "pyproject.toml", "setup.py",
                     "Pipfile", "requirements.txt") or bool(_listed(source, place))  # fmt: skip


def _listed(source: Source, home: Place) -> str:
    return next((each for each in _REQUIREMENTS if _has(source, home, each)), "")


def _has(source: Source, home: Place, path: str) -> bool:
    above, _, name = path.removeprefix("./").rpartition("/")
    return source.at(home.within(above) if above else home.path).has(name)


def _text(source: Source, home: Place, path: str) -> str:
    above, _, name = path.removeprefix("./").rpartition("/")
    return source.at(home.within(above) if above else home.path).text(name)


def _asked(
    source: Source, home: Place, place: Place, read: ReadTheDocs | None
) -> tuple[list[str], str, list[str], tuple[Tool, ...]]:
    """Commands, what they install as text, the files that decide, further tools."""
    project = _toml(home.text("pyproject.toml"))
    text = home.text("pyproject.toml")
    locks = [home.within(name) for name in ("pyproject.toml", "uv.lock", "poetry.lock", "pdm.lock",
             "Pipfile", "Pipfile.lock", "setup.py", "setup.cfg") if home.has(name)]  # fmt: skip
    if read is not None and read.steps:
        return list(read.steps), read.text, [*locks, *read.files], ()
    below = place.path.removeprefix(home.path).strip("/")
    own = f"{below}/requirements.txt" if below else "requirements.txt"
    listed = own if _has(source, home, own) and below else _listed(source, home)
    groups = _group(project)
    if listed and (not groups or "docs" in listed or "doc" in listed):
        steps = [f"uv pip install -r {shlex.quote(listed)}"]
        return steps, _text(source, home, listed), [*locks, home.within(listed)], ()
    if groups:
        steps, more = _of_group(home, project, *groups)
        return steps, text, locks, more
    if home.has("Pipfile"):
        frozen = " --deploy" if home.has("Pipfile.lock") else ""
        return ([f"pipenv install --dev{frozen}"], home.text("Pipfile"), locks,
                (Tool(name="pipenv"),))  # fmt: skip
    if home.has("uv.lock"):
        return ["uv sync --active --frozen"], text, locks, ()
    if home.has("poetry.lock"):
        return ["poetry install --no-interaction"], text, locks, (Tool(name="poetry"),)
    if home.has("pdm.lock"):
        return ["pdm sync --group :all"], text, locks, (Tool(name="pdm"),)
    if (home.has("pyproject.toml", "setup.py") and "project" in project) or home.has("setup.py"):
        return _itself(home), "", locks, ()
    return [], "", locks, ()


def _of_group(
    home: Place, project: dict[str, Any], kind: str, group: str
) -> tuple[list[str], tuple[Tool, ...]]:
    match kind:
        case "poetry" if home.has("poetry.lock"):
            return [f"poetry install --no-interaction --with {group}"], (Tool(name="poetry"),)
        case "extra" | "group" if home.has("uv.lock"):
            return [f"uv sync --active --frozen --{kind} {group}"], ()
        case "group":
            return [f"uv pip install --group {group}", *_itself(home)], ()
        case "extra":
            return [f"uv pip install '.[{group}]'"], ()
        case _:
            return [f"uv pip install {_poetry(project, group)}"], ()


def _itself(home: Place) -> list[str]:
    """Pages about a package import it; where it cannot be installed they are made all the same."""
    if not home.has("setup.py") and "[project]" not in home.text("pyproject.toml"):
        return []
    told = "The package itself cannot be installed: pages about its code may be empty"
    return [f"{{ uv pip install . || echo '{told}'; }}"]


def _group(project: dict[str, Any]) -> tuple[str, str] | None:
    tool = project.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    own = project.get("project")
    for kind, table in (
        ("group", project.get("dependency-groups")),
        ("extra", own.get("optional-dependencies") if isinstance(own, dict) else None),
        ("poetry", poetry.get("group") if isinstance(poetry, dict) else None),
    ):
        if isinstance(table, dict):
            found = next((each for each in _GROUPS if each in table), None)
            if found:
                return kind, found
    return None


def _poetry(project: dict[str, Any], group: str) -> str:
    table = project["tool"]["poetry"]["group"][group]
    names = table.get("dependencies") if isinstance(table, dict) else None
    return " ".join(shlex.quote(name) for name in names or {} if re.fullmatch(r"[\w.-]+", name))


def _needed(found: Mark, source: Source) -> list[str]:
    """The framework, and what its configuration names."""
    needed = list(found.fact.requirements)
    place = found.place
    if found.fact.name == "Sphinx":
        text = source.at(place.within(found.at) if found.at else place.path).text("conf.py")
        theme = re.search(r"(?m)^\s*html_theme\s*=\s*['\"]([\w.-]+)", text)
        words = [theme[1]] if theme else []
        if listed := re.search(r"(?ms)^\s*extensions\s*\+?[:=][^\[\n]*\[(.*?)\]", text):
            words += re.findall(r"(?m)^[^#\n]*?['\"]([\w.-]+)['\"]", listed[1])
            words += re.findall(r"['\"]([\w.-]+)['\"]", re.sub(r"#.*", "", listed[1]))
        words += re.findall(
            r"(?m)^\s*(?:import|from) (sphinx_\w+|furo|recommonmark|pallets_sphinx_themes)", text
        )
        for word in words:
            needed += _brings(SPHINX, word)
    elif found.fact.name == "MkDocs":
        text = place.text(found.at or "mkdocs.yml", "mkdocs.yml", "mkdocs.yaml")
        theme = re.search(
            r"(?m)^theme:[ \t]*(?:\n(?:[ \t]+\S.*\n|[ \t]*\n)*?[ \t]+name:[ \t]*)?['\"]?([\w.-]+)",
            text,
        )
        words = [f"theme {theme[1]}"] if theme else []
        for key in ("plugins", "markdown_extensions"):
            if listed := re.search(rf"(?m)^{key}:\s*\n((?:[ \t-][^\n]*\n?|\n|#[^\n]*\n)*)", text):
                words += re.findall(r"(?m)^[ \t]*-\s*['\"]?([\w./-]+)", listed[1])
        for word in words:
            needed += _brings(MKDOCS, word)
    return list(dict.fromkeys(needed))


def _brings(table: Mapping[str, str], word: str) -> list[str]:
    if word.startswith("sphinxcontrib."):
        rest = word.partition(".")[2].split(".")[0].replace("_", "-")
        return [f"sphinxcontrib-{rest}"]
    package = table.get(word)
    if (
        package is None
        and (begun := word.split(".", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1]) != "sphinx"
    ):
        package = table.get(begun)
    return [package] if package else []


def _names(text: str, package: str) -> bool:
    name = re.split(r"[\[<>=~!]", package)[0]
    pattern = re.sub(r"[-_.]+", "[-_.]", name)
    text = re.sub(r"(?m)^name\s*=.*$", "", text)
    return bool(re.search(rf"(?im)(?:^|[\s\"'\[,]){pattern}(?=$|[\s\"'\[,;<>=~!@])", text))


def _wanted(
    source: Source, place: Place, home: Place, environment: Mapping[str, str]
) -> tuple[str, str]:
    if found := environment.get("PYTHON_VERSION", "").strip():
        return found[:100], "PYTHON_VERSION"
    for each in dict.fromkeys((place.path, home.path, "")):
        at = source.at(each)
        read = re.search(r"(?m)^\s+python:\s*['\"]?(?:mambaforge|miniconda)?[-]?(\d[\d.]*)",
                         at.text(*readthedocs.NAMES))  # fmt: skip
        line = at.text(".python-version").strip().partition("\n")[0].strip()
        if re.match(r"\d", line):
            return line[:100], at.within(".python-version")
        if line := at.text("runtime.txt").strip():
            return line.removeprefix("python-")[:100], at.within("runtime.txt")
        if read:
            return read[1], at.within(".readthedocs.yaml")
        if line := asdf(at, "python"):
            return line, at.within(".tool-versions")
        project = _toml(at.text("pyproject.toml")).get("project")
        asked = project.get("requires-python") if isinstance(project, dict) else None
        if isinstance(asked, str) and asked.strip():
            return asked.strip()[:100], "requires-python"
    return "", ""


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):
        return {}
