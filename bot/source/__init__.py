"""One exact commit as an archive in the bucket. The only part that knows git."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from bot.source.archive import Archive, Archiver, Options
from bot.source.command import Commands, GitFailed, GitTimeout
from bot.source.mirror import Mirrors, Resolved
from bot.source.origin import COMMIT, MirrorBroken, NotThere, Origin, no_token
from bot.source.reading import Commit, contents, stdin_of

__all__ = ["Archive", "Fetched", "Options", "Origin", "Resolved", "Sources", "no_token"]

_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts while GitHub does not serve a commit that it has just announced."""
_READ_LIMIT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A commit that lies whole in its mirror."""

    origin: Origin
    commit: str
    depth: int
    mirror: Path
    message: str
    """Cut to 500 characters."""
    author: str
    """A name, cut to 100 characters."""
    committed_at: int
    """Seconds since the epoch."""
    parents: int


class Sources:
    """Fetches commits into mirrors below `directory` and archives them into the bucket."""

    def __init__(
        self,
        *,
        directory: Path,
        bucket: Bucket,
        environment: Mapping[str, str],
        timeout_seconds: float = 300,
        max_bytes: int = 2_000_000_000,
        concurrency: int = 4,
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        """`environment` is our own; only certificates, proxies and PATH of it reach git."""
        self._commands = Commands(environment, concurrency=concurrency)
        self._timeout = timeout_seconds
        self._pauses = pauses
        self._mirrors = Mirrors(
            directory, self._commands, timeout_seconds=timeout_seconds, max_bytes=max_bytes
        )
        self._archiver = Archiver(
            self._commands,
            bucket,
            fetch=self.fetch,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
        )

    async def aclose(self) -> None:
        """Ends what goes on in the background."""
        await self._mirrors.aclose()
        self._commands.close()

    async def resolve(self, origin: Origin, ref: str) -> Resolved:
        """What a whole ref, or HEAD, names now; a commit's 40 hex digits name themselves.

        Raises `BuildFailed` (`ref_not_found`, `repository_empty`, `repository_not_found`…) or
        `Errored` (`github_unreachable`, `fetch_timeout`).
        """
        if COMMIT.fullmatch(ref):
            return Resolved(commit=ref, ref=ref, default_branch="")
        try:
            return await self._mirrors.resolve(origin, ref)
        except NotThere:
            raise BuildFailed(
                f"{origin.repository} has no {ref[:100]!r}", code="ref_not_found"
            ) from None
        except MirrorBroken as error:
            await self._mirrors.discard(origin, 1)
            raise _broken(origin) from error

    async def fetch(self, origin: Origin, commit: str, *, ref: str = "", depth: int = 1) -> Fetched:
        """Brings an exact commit with `depth` commits of history (0: all) into its mirror.

        A commit that is not served yet is asked for again, for some 16 seconds, in between by
        `ref`. Raises `BuildFailed` (`commit_not_found`, `repository_not_found`,
        `repository_empty`, `repository_moved`, `source_too_large`, `source_refused`) or `Errored`
        (`github_unreachable`, `github_refused`, `fetch_timeout`).
        """
        if not COMMIT.fullmatch(commit):
            raise BuildFailed(f"{commit[:60]!r} is no commit id", code="commit_invalid")
        for last in (False, True):
            try:
                if not self._mirrors.has(origin, commit, depth):
                    await self._patiently(origin, commit, ref, depth)
                return await self._described(origin, commit, depth)
            except (MirrorBroken, GitFailed) as error:
                await self._mirrors.discard(origin, depth)
                if last:
                    raise _broken(origin) from error
        raise AssertionError

    async def read(self, fetched: Fetched, *paths: str, limit: int = 262_144) -> list[bytes | None]:
        """The files at these paths of the commit, None for what is not there or no file.

        Raises `BuildFailed` (`source_refused`) for one of more than `limit` bytes.
        """
        names = [f"{fetched.commit}:{path}" for path in paths]
        found = await self._contents(fetched.mirror, names)
        for path, body in zip(paths, found, strict=True):
            if body is not None and len(body) > limit:
                raise BuildFailed(
                    f"{path} is longer than {limit // 1024} KB: shorten it", code="source_refused"
                )
        return found

    async def archive(self, fetched: Fetched, *, options: Options | None = None) -> Archive:
        """Streams the commit's tree into the bucket as one `tar.zst`, unless it is there already.

        Raises `BuildFailed` (`source_too_large`, `submodule_refused`, and what `fetch` raises for
        a submodule) or `Errored`. Nothing is left in the bucket then.
        """
        return await self._archiver.archive(fetched, options or Options(depth=fetched.depth))

    async def changed(self, fetched: Fetched, since: str) -> tuple[str, ...] | None:
        """The paths that differ between two commits; None when the older one is not at hand."""
        if not COMMIT.fullmatch(since) or not self._mirrors.has(fetched.origin, since, 1):
            return None
        try:
            found = await self._commands.call(
                "diff-tree",
                ("-r", "-z", "--name-only", "--no-renames", "--end-of-options",
                 since, fetched.commit),
                directory=self._mirrors.path(fetched.origin, 1),
                timeout_seconds=self._timeout,
            )  # fmt: skip
        except (GitFailed, GitTimeout):
            return None
        return tuple(os.fsdecode(path) for path in found.split(b"\0") if path)

    async def _patiently(self, origin: Origin, commit: str, ref: str, depth: int) -> None:
        for number, pause in enumerate((*self._pauses, None)):
            try:
                await self._mirrors.fetch(origin, commit, depth)
            except NotThere:
                if number and ref:
                    try:
                        await self._mirrors.fetch_by_ref(origin, commit, ref, depth)
                        return
                    except NotThere:
                        pass
                if pause is None:
                    raise await self._mirrors.why_not(origin, commit) from None
                await asyncio.sleep(pause)
            else:
                return

    async def _described(self, origin: Origin, commit: str, depth: int) -> Fetched:
        mirror = self._mirrors.path(origin, depth)
        found = (await self._contents(mirror, [commit]))[0]
        if found is None:
            raise MirrorBroken(commit)
        described = Commit.of(found)
        return Fetched(
            origin=origin,
            commit=commit,
            depth=depth,
            mirror=mirror,
            message=described.message[:500],
            author=described.author[:100],
            committed_at=described.committed_at,
            parents=described.parents,
        )

    async def _contents(self, mirror: Path, names: Sequence[str]) -> list[bytes | None]:
        return await contents(self._commands, mirror, names, timeout_seconds=self._timeout)


def _broken(origin: Origin) -> Errored:
    return Errored(f"the mirror of {origin.repository} is damaged", code="mirror_broken")
