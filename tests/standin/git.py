"""Call git for the stand-in: a scrubbed environment, refs, and the commits between two of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ZERO = "0" * 40
COMMITS_IN_A_PUSH = 2048

_CONFIG = {
    "safe.directory": "*",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowReachableSHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "http.receivepack": "true",
    "receive.autogc": "false",
    "gc.auto": "0",
    "core.quotePath": "false",
}


def environment(
    extra: Mapping[str, str] | None = None, *, config: Mapping[str, str] | None = None
) -> dict[str, str]:
    """An environment for git that no user's or machine's configuration reaches."""
    settings = _CONFIG | dict(config or {})
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for index, (key, value) in enumerate(settings.items()):
        env[f"GIT_CONFIG_KEY_{index}"] = key
        env[f"GIT_CONFIG_VALUE_{index}"] = value
    return env | dict(extra or {})


async def git(bare: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and what git printed, with bytes that are not UTF-8 replaced."""
    process = await asyncio.create_subprocess_exec(
        "git",
        f"--git-dir={bare}",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    try:
        out, _ = await process.communicate()
    finally:
        await ended(process)
    return process.returncode or 0, out.decode(errors="replace")


async def ended(process: asyncio.subprocess.Process) -> None:
    """Kill what still lives of the process and its children, and read its pipe to the end.

    It must lead a session of its own. A pipe that is left unread outlives the loop.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    if process.stdout is not None:
        await process.stdout.read()


async def refs(bare: Path) -> dict[str, str]:
    """Every ref with the object it names (a tag's own object, not the commit)."""
    _, out = await git(bare, "for-each-ref", "--format=%(objectname) %(refname)")
    return {name: sha for sha, _, name in (line.partition(" ") for line in out.splitlines())}


async def commit_of(bare: Path, revision: str) -> str | None:
    """The full sha of the commit that `revision` leads to, or None."""
    code, out = await git(
        bare, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
    )
    return out.strip() if code == 0 else None


async def is_ancestor(bare: Path, old: str, new: str) -> bool:
    """Whether `old` is reachable from `new`."""
    code, _ = await git(bare, "merge-base", "--is-ancestor", old, new)
    return code == 0


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit with the paths that it changed against its first parent."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: tuple[str, str, str]
    committer: tuple[str, str, str]
    message: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    modified: tuple[str, ...]


_FIELDS = "%x1e%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%cI%x1f%B%x1f"


async def log(bare: Path, *revisions: str, count: int = COMMITS_IN_A_PUSH) -> list[Commit]:
    """The newest `count` commits of `revisions` (as of `git log`), oldest first."""
    _, out = await git(
        bare,
        "log",
        "--reverse",
        f"--max-count={count}",
        "--no-renames",
        "--name-status",
        "-z",
        f"--format={_FIELDS}",
        *revisions,
        "--",
    )
    return [_commit(chunk) for chunk in out.split("\x1e")[1:]]


def _commit(chunk: str) -> Commit:
    sha, tree, parents, an, ae, at, cn, ce, ct, message, changes = chunk.split("\x1f", 10)
    words = changes.strip("\0\n").split("\0")
    changed: dict[str, list[str]] = {"A": [], "D": [], "M": []}
    for letter, path in zip(words[::2], words[1::2], strict=False):
        changed["M" if letter.strip()[:1] not in changed else letter.strip()[:1]].append(path)
    return Commit(
        sha=sha,
        tree=tree,
        parents=tuple(parents.split()),
        author=(an, ae, at),
        committer=(cn, ce, ct),
        message=message.strip("\n"),
        added=tuple(changed["A"]),
        removed=tuple(changed["D"]),
        modified=tuple(changed["M"]),
    )
