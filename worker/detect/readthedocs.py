"""What a .readthedocs.yaml says of a Python site: its packages, its commands, its Node.

It is read by its lines, as people write it, and not as all of YAML; what is not understood is
passed over.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.detect.source import Place, Source

NAMES: Final = (".readthedocs.yaml", ".readthedocs.yml")
OUTPUT: Final = "_readthedocs/html"
"""Where `build.commands` put their pages, by Read the Docs' own rule."""
_WORD: Final = re.compile(r"[\w./@+ -]{1,200}")
_MOST: Final = 50
_UNSERVED: Final = {
    ("build", "jobs"): "its commands are not executed; put what they do into `command` of "
    "pushlane.toml",
    (
        "build",
        "apt_packages",
    ): "they are not installed; have them on the worker's machine",
    ("conda",): "there is no conda here; name the packages in a requirements file",
    ("sphinx", "fail_on_warning"): "warnings end no build here; put -W into `command` of "
    "pushlane.toml for that",
}
"""Keys that are not followed, and what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTheDocs:
    """The part of the file that a build follows."""

    file: str
    """Its path in the source."""
    steps: tuple[str, ...] = ()
    """Commands that install what `python.install` asks for, in its order."""
    text: str = ""
    """What these install, as far as files say it."""
    files: tuple[str, ...] = ()
    """Files that decide what these install."""
    command: str = ""
    """`build.commands` as one; `""` where there are none."""
    node: str = ""
    """`build.tools.nodejs`."""
    builder: str = ""
    """`sphinx.builder`, where that is another than `html`."""
    notes: tuple[str, ...] = ()


def read(source: Source, home: Place) -> ReadTheDocs | None:
    """What the file in `home` says; None where there is none."""
    text = home.text(*NAMES)
    if not text:
        return None
    file = home.within(next(each for each in NAMES if each in home.contents))
    commands = [each for each in _items(_under(text, "build", "commands")) if each]
    # Read the Docs' way of having uv; here it is there.
    ours = [each for each in commands if not each.startswith("asdf ")]
    notes = [
        f"`{'.'.join(keys)}` of {file}: {words}"
        for keys, words in _UNSERVED.items()
        if _says(text, *keys) and not (commands and keys != ("build", "apt_packages"))
    ]
    steps, installed, files = _installs(source, home, _under(text, "python", "install"))
    builder = _scalar(text, "sphinx", "builder")
    return ReadTheDocs(
        file=file,
        steps=tuple(steps),
        text=installed,
        files=tuple(files),
        command=_together(ours) if ours else "",
        node=_scalar(text, "build", "tools", "nodejs")[:100],
        builder=builder if builder in ("dirhtml", "singlehtml") else "",
        notes=tuple(notes),
    )


def configuration(place: Place) -> tuple[str, str]:
    """`("Sphinx", "docs/conf.py")`: what is made by which file; two empty words where none is said.

    MkDocs' file may bear any name.
    """
    text = place.text(*NAMES)
    for name in ("Sphinx", "MkDocs"):
        path = _scalar(text, name.lower(), "configuration").removeprefix("./")
        if path and ".." not in path.split("/") and not path.startswith("/"):
            return name, path
    return "", ""


def _together(commands: list[str]) -> str:
    """Each in a shell of its own, from the top, as Read the Docs executes them."""
    shells = (f"({each}\n)" if "#" in each or "\n" in each else f"({each})" for each in commands)
    made = 'export READTHEDOCS_OUTPUT="$PWD/_readthedocs"'
    return " && ".join((made, 'mkdir -p "$READTHEDOCS_OUTPUT"', *shells))


def _installs(source: Source, home: Place, body: list[str]) -> tuple[list[str], str, list[str]]:
    steps: list[str] = []
    texts = ""
    files: list[str] = []
    for entry in _entries(body):
        listed, path = _scalar(entry, "requirements"), _scalar(entry, "path")
        above, _, name = listed.removeprefix("./").rpartition("/")
        at = source.at(home.within(above) if above else home.path)
        if listed and at.has(name):
            steps.append(f"uv pip install -r {shlex.quote(listed)}")
            texts += at.text(name)
            files.append(at.within(name))
        elif _WORD.fullmatch(path):
            asked = " ".join(_items(_under(entry, "extra_requirements")))
            asked = asked or _scalar(entry, "extra_requirements")
            names = re.findall(r"[A-Za-z0-9][\w.-]*", asked)
            some = f"[{','.join(names)}]" if names else ""
            steps.append(f"uv pip install {shlex.quote(path + some)}")
            texts += home.text("pyproject.toml") + home.text("setup.cfg")
    return steps, texts, files


def _entries(body: list[str]) -> Iterator[str]:
    """The mappings of a list, each as the text of its own lines."""
    first = next((_indent(line) for line in body), 0)
    lines: list[str] = []
    for line in body:
        if _indent(line) == first and line.lstrip().startswith("-"):
            if lines:
                yield "\n".join(lines)
            # What stands behind the dash stands in its column.
            lines = [line[:first] + " " + line[first + 1 :]]
        else:
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _under(text: str, *keys: str) -> list[str]:
    """The lines below a key, itself below others; a list may stand in its key's own column."""
    lines = [each.rstrip() for each in text.split("\n")]
    lines = [each for each in lines if each.strip() and not each.lstrip().startswith("#")]
    for key in keys:
        column = min(map(_indent, lines), default=0)
        start = next(
            (
                number
                for number, line in enumerate(lines, 1)
                if _indent(line) == column and line.lstrip().partition(":")[0] == key
            ),
            len(lines),
        )
        end = start
        while end < len(lines) and (
            _indent(lines[end]) > column
            or (_indent(lines[end]) == column and lines[end].lstrip().startswith("- "))
        ):
            end += 1
        lines = lines[start:end]
    return lines


def _says(text: str, *keys: str) -> bool:
    return bool(_under(text, *keys)) or _scalar(text, *keys) not in ("", "false", "False", "[]")


def _scalar(text: str, *keys: str) -> str:
    """What stands behind a key, below others, on the same line."""
    *above, last = keys
    lines = _under(text, *above) if above else text.split("\n")
    column = min((_indent(line) for line in lines if line.strip()), default=0)
    for line in lines:
        key, colon, value = line.strip().partition(":")
        if colon and _indent(line) == column and key == last:
            return _plain(value)
    return ""


def _items(body: list[str]) -> list[str]:
    """The texts of a list: plain, quoted, or of several lines behind `|` or `>`."""
    found: list[str] = []
    first = next((_indent(line) for line in body), 0)
    for line in body:
        if _indent(line) == first and line.lstrip().startswith("-"):
            found.append(line.lstrip()[1:].strip())
        elif found:
            begun = found[-1]
            between = "\n" if begun.startswith("|") else " "
            found[-1] = f"{begun}{between}{line.strip()}"
    return [re.sub(r"^[|>][+-]?\s+", "", _plain(each)) for each in found[:_MOST]]


def _plain(value: str) -> str:
    value = value.strip()
    if value[:1] == '"' and (found := re.match(r'"(?:[^"\\]|\\.)*"', value)):
        try:
            return str(json.loads(found[0]))
        except ValueError:
            return found[0][1:-1]
    if value[:1] == "'" and (found := re.match(r"'(?:[^']|'')*'", value)):
        return found[0][1:-1].replace("''", "'")
    return value if value[:1] == "|" else re.split(r"\s#", value)[0].strip()
