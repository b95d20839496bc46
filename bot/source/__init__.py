"""One exact commit as an archive in the bucket. The only part that knows git."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored, PushlaneError
from bot.source.archive import Archive, Archiver, Options
from bot.source.archive import name_of as archive_name
from bot.source.command import Commands, Process
from bot.source.mirror import Mirrors, Resolved, empty
from bot.source.origin import COMMIT, MirrorBroken, NotThere, Origin, no_token, unreachable
from bot.source.reading import Commit, contents, output, read
from bot.source.shelf import Shelf

__all__ = [
    "Archive",
    "Fetched",
    "Options",
    "Origin",
    "Resolved",
    "Sources",
    "archive_name",
    "no_token",
]

_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts while GitHub does not serve a commit that it has just announced."""
_CHANGED: Final = 4 << 20
"""Bytes of names that two commits may differ by, to be compared with what is watched."""
_HEADS_SECONDS: Final = 30.0
"""So long a server may take to name its branches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A commit that lies whole in its mirror."""

    origin: Origin
    commit: str
    ref: str
    """By which it was asked for where the sha alone was not served; may be empty."""
    depth: int
    """As it was asked for: commits of history, 0 for all."""
    mirror: Path
    tree: str
    """The id of its root tree."""
    message: str
    """Cut to 50,000 characters."""
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
        self._shelf = Shelf(directory, timeout_seconds=timeout_seconds)
        self._mirrors = Mirrors(
            self._shelf, self._commands, timeout_seconds=timeout_seconds, max_bytes=max_bytes
        )
        self._archiver = Archiver(
            self._commands,
            bucket,
            shelf=self._shelf,
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
            raise await self._discarded(error, origin) from error

    async def heads(self, origin: Origin) -> Mapping[str, str]:
        """The branches as the server has them now: whole ref -> commit.

        Raises `BuildFailed` (`repository_not_found`, `repository_moved`, `repository_empty`…) or
        `Errored` (`github_unreachable`, `github_refused`, `fetch_timeout`).
        """
        try:
            found = await self._mirrors.heads(origin, timeout_seconds=_HEADS_SECONDS)
        except MirrorBroken as error:
            raise await self._discarded(error, origin) from error
        except NotThere as error:
            raise unreachable(origin, str(error)) from error
        if not found:
            raise empty(origin)
        return found

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
                if not self._shelf.has(origin, commit, depth):
                    await self._patiently(origin, commit, ref, depth)
                return await self._described(origin, commit, ref, depth)
            except MirrorBroken as error:
                broken = await self._discarded(error, origin, anew=last)
                if last:
                    raise broken from error
        raise AssertionError

    async def read(self, fetched: Fetched, *paths: str, limit: int = 262_144) -> list[bytes | None]:
        """The files at these paths of the commit, None for what is not there or no file.

        Raises `BuildFailed` (`source_refused`) for one of more than `limit` bytes, and for a link:
        a build follows none either.
        """
        names = [f"{fetched.commit}:{path}" for path in paths]
        try:
            found = await self._contents(fetched.mirror, names)
            there = [path for path, body in zip(paths, found, strict=True) if body is not None]
            if there and (link := await self._first_link(fetched, there)):
                raise BuildFailed(
                    f"{link} is a link, which is not followed: put the file itself there",
                    code="source_refused",
                )
        except MirrorBroken as error:
            raise await self._discarded(error, fetched.origin) from error
        for path, body in zip(paths, found, strict=True):
            if body is not None and len(body) > limit:
                raise BuildFailed(
                    f"{path} is longer than {limit // 1024} KB: shorten it", code="source_refused"
                )
        return found

    async def archive(
        self, fetched: Fetched, *, options: Options | None = None, anew: str = ""
    ) -> Archive:
        """Streams the commit's tree into the bucket as one `tar.zst`, unless it is there already.

        `options` say the depth that was fetched. With a claim's id in `anew` it gets a name of that
        claim's own, for when what bears the common one (`archive_name`) is condemned. Raises
        `BuildFailed` (`source_too_large`, `submodule_refused`, and what `fetch` raises for a
        submodule) or `Errored`. Nothing is left in the bucket then.
        """
        options = options or Options(depth=fetched.depth)
        if options.depth != fetched.depth:
            raise ValueError(f"depth {fetched.depth} was fetched, not {options.depth}")
        for last in (False, True):
            try:
                return await self._archiver.archive(fetched, options, anew=anew)
            except MirrorBroken as error:
                broken = await self._discarded(error, fetched.origin, anew=last)
                if last:
                    raise broken from error
                fetched = await self.fetch(
                    fetched.origin, fetched.commit, ref=fetched.ref, depth=fetched.depth
                )
        raise AssertionError

    async def changed(self, fetched: Fetched, since: str) -> tuple[str, ...] | None:
        """The paths that differ between two commits.

        None when the older one is not at hand, or when their names are more than 4 MB.
        """
        if not COMMIT.fullmatch(since):
            return None
        if not self._shelf.keeps(fetched.origin, since, fetched.depth):
            return None
        try:
            found = await read(
                self._commands, "diff-tree", "-r", "-z", "--name-only", "--no-renames",
                "--end-of-options", since, fetched.commit,
                mirror=fetched.mirror, timeout_seconds=self._timeout, reader=_few,
            )  # fmt: skip
        except (MirrorBroken, BuildFailed, Errored):
            return None
        return tuple(os.fsdecode(path) for path in found.split(b"\0") if path)

    async def _first_link(self, fetched: Fetched, paths: Sequence[str]) -> str:
        """The first of these paths that is a link; empty when none is."""
        found = await output(
            self._commands, "ls-tree", "-z", "--full-tree", "--end-of-options", fetched.commit,
            "--", *paths, mirror=fetched.mirror, timeout_seconds=self._timeout,
        )  # fmt: skip
        links = [line for line in found.split(b"\0") if line.startswith(b"120000 ")]
        return os.fsdecode(links[0].partition(b"\t")[2]) if links else ""

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

    async def _described(self, origin: Origin, commit: str, ref: str, depth: int) -> Fetched:
        mirror = self._shelf.path(origin, depth)
        found = (await self._contents(mirror, [commit]))[0]
        if found is None:
            raise MirrorBroken(f"{commit} is not there", mirror)
        described = Commit.of(found)
        return Fetched(
            origin=origin,
            commit=commit,
            ref=ref,
            depth=depth,
            mirror=mirror,
            tree=described.tree,
            message=described.message[:50_000],
            author=described.author[:100],
            committed_at=described.committed_at,
            parents=described.parents,
        )

    async def _discarded(
        self, error: MirrorBroken, origin: Origin, *, anew: bool = False
    ) -> PushlaneError:
        """Takes a damaged mirror away, and says so where nobody tries again at once.

        One that was made `anew` just now, and that git complains of again, is not what is damaged.
        """
        words = str(error).strip()
        await self._shelf.discard(error.mirror, why=words[-300:])
        if anew and words:
            return BuildFailed(
                f"git cannot read the objects of {origin.repository}: {words[-300:]}. Look for "
                "what is wrong with `git fsck --strict`",
                code="source_unreadable",
            )
        return Errored(
            f"the mirror of {origin.repository} was damaged; it is made anew", code="mirror_broken"
        )

    async def _contents(self, mirror: Path, names: Sequence[str]) -> list[bytes | None]:
        return await contents(self._commands, mirror, names, timeout_seconds=self._timeout)


def _few(process: Process) -> bytes:
    found = process.read(_CHANGED + 1)
    if len(found) > _CHANGED:
        raise BuildFailed("two commits differ by too much", code="source_too_large")
    return found
