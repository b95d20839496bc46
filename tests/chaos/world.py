"""What is pushed: repositories with commits of several sorts, made in bulk, and their branches."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

from tests.standin import ZERO, StandIn
from tests.standin.git import environment

OWNER: Final = "acme"
UNFETCHABLE: Final = f"{OWNER}/unfetchable"
"""GitHub fails every fetch of it: poison of the fetching stage."""
POOL: Final = "refs/pool/all"
"""Reaches every commit, so that each can be fetched; no branch, so that nobody deploys it."""


class Sort(StrEnum):
    """What becomes of a commit's deployment when nothing stops it."""

    PAGE = "page"
    """Plain HTML."""
    BUILT = "built"
    """A shell command copies the page."""
    SLOW = "slow"
    """The same after some seconds, in which much can happen."""
    NOSY = "nosy"
    """Prints its environment, and everyone's that it can read."""
    FAILING = "failing"
    """Ends with exit code 7."""
    SKIPPED = "skipped"
    """Says [skip ci]."""
    POISON = "poison"
    """Whoever builds it is killed."""


SHARES: Final[Mapping[Sort, int]] = {
    Sort.PAGE: 48,
    Sort.BUILT: 34,
    Sort.SLOW: 5,
    Sort.NOSY: 3,
    Sort.FAILING: 6,
    Sort.SKIPPED: 4,
}
_MADE: Final = "mkdir out && cp index.html more.txt out/"
_COMMANDS: Final[Mapping[Sort, str]] = {
    Sort.BUILT: _MADE,
    Sort.SLOW: f"sleep 3 && {_MADE}",
    Sort.NOSY: f"env; cat /proc/*/environ 2>/dev/null | tr '\\\\0' '\\\\n' | head -n 400; {_MADE}",
    Sort.FAILING: "echo it breaks here; exit 7",
    Sort.POISON: f"sleep 60 && {_MADE}",
}


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a repository's pool."""

    repository: str
    number: int
    sha: str
    sort: Sort

    @property
    def marker(self) -> str:
        """What its page shows, and no other commit's."""
        return marker(self.repository, self.number)


def marker(repository: str, number: int) -> str:
    """The words by which a page names its commit."""
    return f"[{repository} {number}]"


class World:
    """The repositories on the stand-in, each with a pool of commits that was pushed in bulk."""

    def __init__(self, github: StandIn, directory: Path) -> None:
        self.github = github
        self.commits: dict[str, Commit] = {}
        """By sha."""
        self._directory = directory
        self.pointed: dict[tuple[str, str], str] = {}
        """What each branch names that was pointed somewhere, by repository and ref."""
        self._pools: dict[str, tuple[Commit, ...]] = {}

    def make(self, repository: str, sorts: Sequence[Sort]) -> tuple[Commit, ...]:
        """A repository whose pool has one commit of each of these sorts, in order."""
        bare = self.github.create_repository(repository)
        shas = _pool(self._directory / repository.replace("/", "-"), repository, sorts, bare)
        pool = tuple(
            Commit(repository, number, sha, sort)
            for number, (sha, sort) in enumerate(zip(shas, sorts, strict=True))
        )
        self._pools[repository] = pool
        self.commits |= {commit.sha: commit for commit in pool}
        return pool

    def has(self, repository: str) -> bool:
        """Whether the repository has a pool: not one that git alone pushes to."""
        return repository in self._pools

    def pool(self, repository: str) -> tuple[Commit, ...]:
        """The repository's commits."""
        return self._pools[repository]

    def point(self, repository: str, ref: str, sha: str, *, pushed_at: int) -> None:
        """What a push does on GitHub: the branch names another commit, or (ZERO) is gone."""
        there = self.github.repository(repository)
        there.pushed_at = max(there.pushed_at, pushed_at)
        self.pointed[repository, ref] = sha
        path = there.bare / ref
        if sha == ZERO:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(f"{sha}\n")
        fresh.replace(path)

    def heads(self) -> dict[tuple[str, str], str]:
        """What each branch names now, by repository and ref: GitHub's own truth."""
        found = {}
        for repository in self.github.world.all():
            listed = _git(repository.bare, "for-each-ref", "--format=%(objectname) %(refname)")
            for line in listed.splitlines():
                sha, _, ref = line.partition(" ")
                if ref.startswith("refs/heads/"):
                    found[repository.full_name, ref] = sha
        return found


def sorts(random: Random, count: int) -> tuple[Sort, ...]:
    """Sorts of so many commits, by their shares. The first is always a plain page."""
    drawn = random.choices(list(SHARES), weights=list(SHARES.values()), k=count - 1)
    return (Sort.PAGE, *drawn)


def files_of(repository: str, number: int, sort: Sort) -> dict[str, str]:
    """The tree of one commit. `shared.css` is the same in all: a release need not upload it."""
    words = marker(repository, number)
    files = {
        "index.html": f"<!doctype html>\n<title>{words}</title>\n<h1>{words}</h1>\n",
        "more.txt": f"{words}\n" * 20,
        "shared.css": "p { color: teal }\n" * 50,
    }
    if sort in _COMMANDS:
        files["pushlane.toml"] = f'[build]\ncommand = "{_COMMANDS[sort]}"\noutput = "out"\n'
    return files


def _pool(scratch: Path, repository: str, sorts: Sequence[Sort], bare: Path) -> list[str]:
    """Makes the commits in a repository of their own and pushes them all at once."""
    scratch.mkdir(parents=True)
    _git(scratch, "init", "--quiet", "--bare", str(scratch))
    lines: list[str] = []
    for number, sort in enumerate(sorts):
        message = f"Change {number}" + (" [skip ci]" if sort is Sort.SKIPPED else "")
        lines += [f"commit {POOL}", f"mark :{number + 1}"]
        lines += [f"committer Ada <ada@example.com> {1_790_000_000 + number} +0000"]
        lines += [f"data {len(message.encode())}", message]
        if number:
            lines += [f"from :{number}", "deleteall"]
        for path, text in files_of(repository, number, sort).items():
            lines += [f"M 100644 inline {path}", f"data {len(text.encode())}", text]
    marks = scratch / "marks"
    _git(scratch, "fast-import", "--quiet", f"--export-marks={marks}", said="\n".join(lines) + "\n")
    _git(scratch, "push", "--quiet", str(bare), f"{POOL}:{POOL}")
    found = dict(line.split() for line in marks.read_text().splitlines())
    return [found[f":{number + 1}"] for number in range(len(sorts))]


def _git(directory: Path, *arguments: str, said: str = "") -> str:
    done = subprocess.run(
        ["git", f"--git-dir={directory}", *arguments],
        input=said,
        capture_output=True,
        check=True,
        env=environment(),
        text=True,
    )
    return done.stdout
