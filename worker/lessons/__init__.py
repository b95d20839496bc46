"""What to do about a build that failed, by its exit code and the end of its output. Pure.

A build's output is a stranger's: only its last lines are looked at, cut in length, and what is
taken from them into our words is one short word. It decides no more than which advice is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from worker.lessons.table import RELATIVE, SIGNS

__all__ = ["CODES", "LONGEST", "Lesson", "lesson"]

LONGEST: Final = 132
"""Characters of a lesson: with its beginning it fits into a status' description, all 140 of it."""
_LINES: Final = 400
_LINE: Final = 400
_WORD: Final = 30
_KILLED: Final = 137
_COLOURS: Final = re.compile(r"\x1b\[[0-9;:]{0,40}m")
_AWAY: Final = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET|[Pp]roxy|tunnel"
    r"|Could not resolve host|Connection refused|[Nn]etwork|fetch failed|\b403\b"
)
"""What programs say when they cannot reach a host."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One failure that is known, and what to do about it."""

    code: str
    message: str
    """One line of at most `LONGEST` characters."""


CODES: Final = frozenset(
    {sign.code for sign in SIGNS}
    | {"host_refused", "import_case", "import_missing", "build_killed"}
)
"""Every code that a lesson may have; docs/failures.md has a line for each."""


def lesson(
    *,
    exit_code: int,
    lines: Sequence[str],
    refused_hosts: Sequence[str] = (),
    files: Callable[[], Collection[str]] = tuple,
) -> Lesson | None:
    """What is to be learnt from a command that ended with `exit_code`; None when nothing is known.

    `lines` are the last of its output, `refused_hosts` what the egress proxy refused. `files` gives
    the paths of the repository's own files; it is asked only where an import was not found.
    """
    if exit_code == 0:
        return None
    text = "\n".join(_COLOURS.sub("", line[:_LINE]) for line in lines[-_LINES:])
    if refused_hosts and (found := _refused(refused_hosts, text)):
        return found
    if (imported := RELATIVE.search(text)) is not None:
        return _unresolved(imported[1], files())
    for sign in SIGNS:
        if (match := sign.pattern.search(text)) is not None:
            return _said(sign.code, sign.words, next(filter(None, match.groups()), ""))
    if exit_code == _KILLED:
        return Lesson(
            "build_killed",
            "the build was killed, most often for its memory: make it need less, or raise "
            "PUSHLANE_BUILD_MEMORY_MB",
        )
    return None


def _refused(hosts: Sequence[str], text: str) -> Lesson | None:
    """A refusal is the reason where the output names the host, or says that one is away."""
    named = [host for host in hosts if host.rpartition(":")[0] in text]
    if not named and not _AWAY.search(text):
        return None
    host = (named or hosts)[0].rpartition(":")[0]
    return _said(
        "host_refused",
        "the build was refused {0}: name it in PUSHLANE_EGRESS_HOSTS, or build without it",
        host,
        longest=50,
    )


def _unresolved(wanted: str, files: Collection[str]) -> Lesson:
    """An import of a file that is not there: spelt otherwise, or not committed."""
    plain = re.sub(r"[?#].*", "", wanted)
    tail = "/".join(part for part in plain.split("/") if part not in (".", "..", "@", "~", ""))
    lowered = tail.lower()
    for path in files if tail else ():
        found = _ending(path, len(tail), lowered)
        if found and found != tail:
            return _said(
                "import_case",
                "`{0}` is imported, and the file is spelt `{1}`: spell both the same",
                wanted,
                found,
            )
    return _said(
        "import_missing",
        "`{0}` is imported and is not in the repository: commit the file, or mend the import",
        wanted,
        longest=45,
    )


def _ending(path: str, length: int, lowered: str) -> str:
    """The part of `path` that is the wanted one but for case; an extension may follow it."""
    whole = f"/{path}"
    at = whole.lower().rfind(f"/{lowered}")
    if at < 0:
        return ""
    rest = whole[at + 1 + length :]
    is_it = rest == "" or re.fullmatch(r"(\.\w{1,9}){1,2}|/index\.\w{1,9}", rest)
    return whole[at + 1 : at + 1 + length] if is_it else ""


def _said(code: str, words: str, *names: str, longest: int = _WORD) -> Lesson:
    shown = (
        "".join(sign for sign in name if sign.isprintable() and sign != "`").strip()
        for name in names
    )
    short = [name if len(name) <= longest else f"{name[: longest - 1]}…" for name in shown]
    return Lesson(code, words.format(*short))
