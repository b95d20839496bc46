"""Bare mirrors: one directory for each repository, into which exact commits are fetched."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.core.errors import BuildFailed, PushlaneError
from bot.source.command import (
    Commands,
    GitError,
    GitFailed,
    GitKilled,
    GitTimeout,
    GitTooLarge,
    network,
)
from bot.source.origin import (
    COMMIT,
    MirrorBroken,
    NotThere,
    Origin,
    timed_out,
    too_large,
    translated,
    unreachable,
)
from bot.source.shelf import Shelf, clear, depth_class, kept

log = logging.getLogger(__name__)

WHOLE: Final = 2_147_483_647
"""What git itself means by an infinite depth."""
_PACKS: Final = 50
_REFS_KEPT: Final = 20
_REF_SECONDS: Final = 7 * 86_400
_LONGEST_REF: Final = 1000
_REF: Final = re.compile(
    r"refs/(?!.*(\.\.|@\{|//|\.lock(/|$)|/\.|\.$|/$))[^\x00-\x20\x7f~^:?*\[\\]+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a ref names now."""

    commit: str
    ref: str
    """Whole; for HEAD the branch that it leads to."""
    default_branch: str
    """Of the repository; empty when HEAD leads nowhere."""


class Mirrors:
    """Fetches into the mirrors of a shelf, and asks their servers."""

    def __init__(
        self, shelf: Shelf, commands: Commands, *, timeout_seconds: float, max_bytes: int
    ) -> None:
        self._shelf = shelf
        self._commands = commands
        self._timeout = timeout_seconds
        self._max_bytes = max_bytes
        self._tidying: set[asyncio.Task[None]] = set()

    async def fetch(self, origin: Origin, commit: str, depth: int) -> None:
        """Brings one commit by its sha. Raises `NotThere` when it is not served (yet)."""
        await self._fetch(origin, depth, f"+{commit}:{kept(commit)}")

    async def fetch_by_ref(self, origin: Origin, commit: str, ref: str, depth: int) -> None:
        """Brings a commit of a server that gives only what refs name. Raises `NotThere`."""
        if not _REF.fullmatch(ref):
            raise NotThere(ref)
        mirror = self._shelf.path(origin, depth)
        await self._fetch(
            origin, max(depth_class(depth) or WHOLE, 50), f"+{ref}:refs/pushlane/tip", mirror=mirror
        )
        try:
            await self._call(
                origin, "update-ref", "--end-of-options", kept(commit), commit, mirror=mirror
            )
        except (MirrorBroken, PushlaneError) as error:
            raise NotThere(commit) from error

    async def resolve(self, origin: Origin, ref: str) -> Resolved:
        """What `ref` (whole, or HEAD) names on the server.

        Raises `BuildFailed`: `ref_not_found`, `repository_empty`, `repository_not_found`.
        """
        if ref != "HEAD" and not _REF.fullmatch(ref):
            raise _no_ref(origin, ref)
        mirror = self._shelf.path(origin, 1)
        self._shelf.make(mirror)
        wanted = () if ref == "HEAD" else (ref, f"{ref}^{{}}")
        found = await self._call(
            origin, "ls-remote", "--quiet", "--symref", "--end-of-options", origin.url,
            "HEAD", *wanted, mirror=mirror,
        )  # fmt: skip
        names: dict[str, str] = {}
        default_ref = ""
        for line in found.decode(errors="surrogateescape").split("\n"):
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                default_ref = value.removeprefix("ref: ")
            elif COMMIT.fullmatch(value):
                names[name] = value
        commit = names.get(f"{ref}^{{}}") or names.get(ref)
        if commit is None:
            raise _no_ref(origin, ref) if await self.any_ref(origin) else empty(origin)
        return Resolved(
            commit=commit,
            ref=default_ref if ref == "HEAD" and default_ref else ref,
            default_branch=default_ref.removeprefix("refs/heads/"),
        )

    async def heads(self, origin: Origin, *, timeout_seconds: float) -> dict[str, str]:
        """Every branch of the server, by its whole ref, with the commit that it names.

        Bytes of a name that are no UTF-8 are replaced, as GitHub does in its push events.
        """
        mirror = self._shelf.path(origin, 1)
        self._shelf.make(mirror)
        arguments = ("--quiet", "--heads", "--end-of-options", origin.url)
        found = await self._call(
            origin, "ls-remote", *arguments, mirror=mirror, timeout_seconds=timeout_seconds
        )
        heads: dict[str, str] = {}
        for line in found.decode(errors="replace").split("\n"):
            commit, _, ref = line.partition("\t")
            if COMMIT.fullmatch(commit) and _REF.fullmatch(ref) and len(ref) <= _LONGEST_REF:
                heads[ref] = commit
        return heads

    async def any_ref(self, origin: Origin) -> bool:
        """Whether the repository has a branch or tag at all."""
        mirror = self._shelf.path(origin, 1)
        self._shelf.make(mirror)
        arguments = ("--quiet", "--heads", "--tags", "--end-of-options", origin.url)
        return bool(await self._call(origin, "ls-remote", *arguments, mirror=mirror))

    async def why_not(self, origin: Origin, commit: str) -> BuildFailed:
        """The error for a commit that the server does not give, after all patience."""
        if not await self.any_ref(origin):
            return empty(origin)
        return BuildFailed(
            f"commit {commit[:7]} is not in {origin.repository}: it was replaced by a forced push, "
            "or never got there. Push once more",
            code="commit_not_found",
        )

    async def aclose(self) -> None:
        """Ends what tidies up."""
        for task in tuple(self._tidying):
            task.cancel()
        await asyncio.gather(*self._tidying, return_exceptions=True)

    async def _fetch(
        self, origin: Origin, depth: int, refspec: str, *, mirror: Path | None = None
    ) -> None:
        mirror = mirror or self._shelf.path(origin, depth)
        async with self._shelf.locked(mirror) as held:
            self._shelf.make(mirror)
            clear(mirror)
            await self._call(
                origin,
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-auto-maintenance",
                "--no-recurse-submodules",
                f"--depth={depth_class(depth) or WHOLE}",
                "--end-of-options",
                origin.url,
                refspec,
                mirror=mirror,
                held=held,
            )
        if len(_packs(mirror)) > _PACKS and not self._tidying:
            task = asyncio.create_task(self._tidy(mirror), name=f"tidy {mirror.name}")
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)

    async def _call(
        self,
        origin: Origin,
        verb: str,
        *arguments: str,
        mirror: Path,
        held: int | None = None,
        timeout_seconds: float | None = None,
    ) -> bytes:
        token = await origin.token(origin.repository)
        seconds = self._timeout if timeout_seconds is None else timeout_seconds
        try:
            return await self._commands.call(
                verb,
                arguments,
                directory=mirror,
                timeout_seconds=seconds,
                config=network(origin.url, token),
                held=held,
                grown=lambda: _growing(mirror) > self._max_bytes,
            )
        except GitFailed as error:
            raise translated(error.words, origin, mirror) from error
        except GitKilled as error:
            raise unreachable(origin, "git was killed") from error
        except GitTooLarge:
            raise too_large(origin, self._max_bytes) from None
        except GitTimeout:
            raise timed_out(origin, seconds) from None

    async def _tidy(self, mirror: Path) -> None:
        """Forgets commits that were not used for a week, and lays all packs into one."""
        try:
            async with self._shelf.locked(mirror) as held:
                refs = sorted(
                    (mirror / "refs/pushlane").iterdir(), key=lambda r: -r.stat().st_mtime
                )
                for ref in refs[_REFS_KEPT:]:
                    if ref.stat().st_mtime < time.time() - _REF_SECONDS:
                        ref.unlink()
                await self._commands.call(
                    "gc", ("--quiet", "--prune=1.day.ago"), directory=mirror,
                    timeout_seconds=self._timeout, held=held,
                )  # fmt: skip
        except (OSError, GitError, PushlaneError) as error:
            log.warning("tidying a mirror failed", extra={"mirror": mirror.name, "error": error})


def _packs(mirror: Path) -> list[Path]:
    return list((mirror / "objects/pack").glob("*.pack"))


def _growing(mirror: Path) -> int:
    """Bytes of the pack that is being received."""
    sizes = [0]
    for path in (mirror / "objects/pack").glob("tmp_*"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def _no_ref(origin: Origin, ref: str) -> BuildFailed:
    name = ref.removeprefix("refs/heads/")[:100]
    return BuildFailed(
        f"{origin.repository} has no branch or tag {name!r}: check its name (a commit is named by "
        "all of its 40 digits)",
        code="ref_not_found",
    )


def empty(origin: Origin) -> BuildFailed:
    """The error for a repository without a branch."""
    return BuildFailed(
        f"{origin.repository} is empty: push a first commit", code="repository_empty"
    )
