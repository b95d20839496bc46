"""What the stand-in remembers: repositories, posted statuses, and the addresses it answers at."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import subprocess
import time
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .git import environment

NAME = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_MARK = "standin.json"


def id_of(full_name: str) -> int:
    """The number that a repository gets when none is given: the same for the same name."""
    return 100_000_000 + zlib.crc32(full_name.encode())


class Refused(Exception):
    """A request that GitHub would refuse: answered with `status`, `body` and `headers`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {"message": message}
        if errors is not None:
            self.body["errors"] = errors
        self.body |= {"documentation_url": "https://docs.github.com/rest", "status": str(status)}


@dataclass(slots=True)
class Repository:
    """One repository as GitHub knows it; `pushed_at_override` wins in every later payload."""

    full_name: str
    id: int
    private: bool
    default_branch: str
    bare: Path
    created_at: int
    pushed_at: int
    pushed_at_override: int | None = None
    pushing: asyncio.Lock = field(default_factory=asyncio.Lock)
    announcing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def owner(self) -> str:
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Status:
    """A commit status that was accepted; `at` is in Unix seconds, header names are lower-case."""

    id: int
    repository: str
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    at: float
    login: str
    headers: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """The status as JSON, without the token that posted it."""
        hidden = {"authorization", "cookie"}
        shown = {name: value for name, value in self.headers.items() if name not in hidden}
        return asdict(self) | {"headers": shown}


class World:
    """All repositories under one root directory, and every status posted to them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.html_url = ""
        self.api_url = ""
        self.statuses: list[Status] = []
        self.ids = itertools.count(1)
        self._by_name: dict[str, Repository] = {}
        self._former: dict[str, Repository] = {}

    def create(
        self, full_name: str, *, private: bool, default_branch: str, repository_id: int | None
    ) -> Repository:
        """Make the bare repository, or take the one that is there; ValueError for a bad name."""
        if not NAME.fullmatch(full_name):
            raise ValueError(f"{full_name!r} is not owner/name")
        bare = self.root / f"{full_name}.git"
        if not (bare / "HEAD").exists():
            bare.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                ["git", "init", "--quiet", "--bare", f"--initial-branch={default_branch}", bare],
                check=True,
                env=environment(),
            )
        now = int(time.time())
        repository = Repository(
            full_name=full_name,
            id=repository_id if repository_id is not None else id_of(full_name),
            private=private,
            default_branch=default_branch,
            bare=bare,
            created_at=now,
            pushed_at=now,
        )
        self._by_name[full_name.lower()] = repository
        self._former.pop(full_name.lower(), None)
        self._remember(repository)
        return repository

    def rename(self, old: str, new: str) -> Repository:
        """Rename or transfer: the id stays, and the old name redirects, as on GitHub."""
        repository = self._by_name.pop(old.lower())
        bare = self.root / f"{new}.git"
        bare.parent.mkdir(parents=True, exist_ok=True)
        repository.bare = repository.bare.rename(bare)
        repository.full_name = new
        self._by_name[new.lower()] = repository
        self._former[old.lower()] = repository
        self._remember(repository)
        return repository

    def find(self, full_name: str) -> Repository | None:
        """The repository of this name, in any case; one that lies on disk is taken up."""
        full_name = full_name.removesuffix(".git")
        known = self._by_name.get(full_name.lower())
        if known is not None or not NAME.fullmatch(full_name):
            return known if known is not None and known.bare.exists() else None
        if full_name.lower() in self._former or ".." in full_name.split("/"):
            return None
        bare = self.root / f"{full_name}.git"
        if not (bare / "HEAD").exists():
            return None
        kept = json.loads((bare / _MARK).read_bytes()) if (bare / _MARK).exists() else {}
        branch = (bare / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")
        return self.create(
            full_name,
            private=kept.get("private", False),
            default_branch=kept.get("default_branch", branch),
            repository_id=kept.get("id"),
        )

    def former(self, full_name: str) -> Repository | None:
        """The repository that had this name before a rename."""
        return self._former.get(full_name.removesuffix(".git").lower())

    def by_id(self, number: int) -> Repository | None:
        """The repository with this number of GitHub's."""
        return next((each for each in self._by_name.values() if each.id == number), None)

    def all(self) -> list[Repository]:
        """Every known repository, in the order of their making."""
        return list(self._by_name.values())

    def _remember(self, repository: Repository) -> None:
        kept = {
            "id": repository.id,
            "private": repository.private,
            "default_branch": repository.default_branch,
        }
        (repository.bare / _MARK).write_text(json.dumps(kept))
