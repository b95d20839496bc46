"""A commit's tree, its submodules and a small .git as one stream of tar.zst into the bucket."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import Awaitable, Coroutine, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed
from bot.source import submodules, tree
from bot.source.command import Commands, GitError, Running
from bot.source.dotgit import written
from bot.source.origin import MirrorBroken, Origin, too_large
from bot.source.reading import contents, misread, output, read, stdin_of, too_slow
from bot.source.shelf import Shelf
from bot.source.tree import Entry, Room

if TYPE_CHECKING:
    from bot.source import Fetched

SCHEMA: Final = 2
TYPE: Final = "application/zstd"
_GITLINK: Final = b"commit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What of a commit goes into its archive."""

    depth: int = 1
    """Commits of history; 0 is the whole of it."""
    submodules: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A source in the bucket."""

    name: str
    bytes: int
    """Of the object, compressed."""
    files: int = 0
    """Without those of submodules and .git; 0 when the object was there already."""
    notes: tuple[str, ...] = ()
    """What a person should know, one line each."""
    reused: bool = False


class _Fetch(Protocol):
    def __call__(
        self, origin: Origin, commit: str, *, ref: str = "", depth: int = 1
    ) -> Awaitable[Fetched]: ...


@dataclass(slots=True)
class _Part:
    """A tree that goes into the archive below `path`; the top's is empty."""

    fetched: Fetched
    path: bytes
    entries: list[Entry]
    level: int = 0


@dataclass(slots=True)
class _Plan:
    top: _Part
    room: Room
    parts: list[_Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def name_of(key: str, commit: str, options: Options, *, anew: str = "") -> str:
    """The object's name: the same for the same commit and options, whoever asks.

    Or, with a claim's id in `anew`, one of that claim's own.
    """
    told = [SCHEMA, commit, options.depth, options.submodules]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return f"sources/{key}/{digest}{anew and f'-{anew}'}.tar.zst"


class Archiver:
    """Writes archives. `fetch` brings submodules."""

    def __init__(
        self,
        commands: Commands,
        bucket: Bucket,
        *,
        shelf: Shelf,
        fetch: _Fetch,
        timeout_seconds: float,
        max_bytes: int,
    ) -> None:
        self._commands = commands
        self._bucket = bucket
        self._shelf = shelf
        self._fetch = fetch
        self._timeout = timeout_seconds
        self._max_bytes = max_bytes

    async def archive(self, fetched: Fetched, options: Options, *, anew: str = "") -> Archive:
        """See `Sources.archive`."""
        name = name_of(fetched.origin.key, fetched.commit, options, anew=anew)
        room = Room()
        there, top = await asyncio.gather(self._bucket.size(name), self._part(fetched, room))
        if there is not None:
            return Archive(name=name, bytes=there, reused=True)
        plan = _Plan(top, room, [top])
        if options.submodules:
            await self._add_submodules(plan)
        self._refuse_large(plan)
        with self._shelf.workplace() as folder:
            size = await self._write(name, plan, folder)
        files = sum(entry.kind == b"blob" for entry in top.entries)
        return Archive(name=name, bytes=size, files=files, notes=tuple(plan.notes))

    async def _part(
        self, fetched: Fetched, room: Room, *, path: bytes = b"", level: int = 0
    ) -> _Part:
        entries = await read(
            self._commands,
            "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", fetched.commit,
            mirror=fetched.mirror,
            timeout_seconds=self._timeout,
            reader=lambda process: tree.listing(process, room, below=path),
        )  # fmt: skip
        return _Part(fetched, path, entries, level)

    async def _add_submodules(self, plan: _Plan) -> None:
        level = [plan.top]
        while level:
            below: list[_Part] = []
            for part in level:
                found = await self._submodules_of(part, plan)
                plan.parts += found
                below += found
            level = below

    async def _submodules_of(self, part: _Part, plan: _Plan) -> list[_Part]:
        links = [entry for entry in part.entries if entry.kind == _GITLINK]
        if not links:
            return []
        if part.level >= submodules.DEPTH or len(plan.parts) + len(links) > submodules.COUNT:
            raise BuildFailed(
                f"more than {submodules.COUNT} submodules, or nested deeper than "
                f"{submodules.DEPTH}: set `submodules = false` in pushlane.toml",
                code="submodule_refused",
            )
        known = await self._urls(part)
        wanted: list[tuple[Origin, Entry]] = []
        for link in links:
            shown = _shown(link)
            if link.path in known:
                origin = submodules.origin_of(
                    known[link.path],
                    path=shown,
                    parent=part.fetched.origin,
                    top=plan.top.fetched.origin,
                )
                wanted.append((origin, link))
            else:
                plan.notes.append(f"{shown}: a submodule without a URL in .gitmodules, left empty")
        return await _all([self._submodule(origin, link, part, plan) for origin, link in wanted])

    async def _urls(self, part: _Part) -> Mapping[bytes, str]:
        """Path -> URL, as the part's `.gitmodules` has it."""
        if not any(
            e.path == b".gitmodules" and e.mode & 0o170000 == 0o100000 for e in part.entries
        ):
            return {}
        mirror = part.fetched.mirror
        names = [f"{part.fetched.commit}:.gitmodules"]
        body = (await contents(self._commands, mirror, names, timeout_seconds=self._timeout))[0]
        if body is None:
            raise MirrorBroken(f"{names[0]} is not there", mirror)
        try:
            with stdin_of(body) as stdin:
                found = await self._output(
                    "config", "-z", "--file", "-", "--list", mirror=mirror, stdin=stdin
                )
        except MirrorBroken as error:
            raise BuildFailed(
                ".gitmodules cannot be read: mend it, or set `submodules = false` in pushlane.toml",
                code="submodule_refused",
            ) from error
        return submodules.urls(found)

    async def _submodule(self, origin: Origin, link: Entry, part: _Part, plan: _Plan) -> _Part:
        try:
            fetched = await self._fetch(origin, link.sha)
        except BuildFailed as error:
            raise submodules.unread(
                error, origin, path=_shown(link), top=plan.top.fetched.origin
            ) from error
        path = part.path + link.path + b"/"
        return await self._part(fetched, plan.room, path=path, level=part.level + 1)

    def _refuse_large(self, plan: _Plan) -> None:
        size = sum(entry.size for part in plan.parts for entry in part.entries)
        if size > self._max_bytes:
            raise too_large(plan.top.fetched.origin, self._max_bytes)

    async def _write(self, name: str, plan: _Plan, folder: Path) -> int:
        """Streams it all into the bucket; the object's size."""
        fetched = plan.top.fetched
        # Where history ends in a mirror is moved by each fetch into it.
        async with self._shelf.locked(fetched.mirror) if fetched.depth != 1 else nullcontext():
            dotgit = await written(
                self._commands, fetched, plan.top.entries, folder, timeout_seconds=self._timeout
            )
        running = Running()
        reader = tree.Compressed(self._chunks(plan, dotgit, running))
        # The bucket's thread reads, and waits for git: killing git ends that wait.
        with running.at_most(self._timeout):
            await self._bucket.put_stream(name, io.BufferedReader(reader), content_type=TYPE)
        return reader.bytes

    def _chunks(
        self, plan: _Plan, dotgit: Mapping[str, bytes | Path | None], running: Running
    ) -> Generator[bytes]:
        """The whole tar."""
        deadline = time.monotonic() + self._timeout
        mtime = plan.top.fetched.committed_at
        for part in plan.parts:
            yield from self._members(part, running, deadline, mtime)
        for path, body in dotgit.items():
            yield from tree.member(path, body, mtime=mtime)
        yield b"\0" * tree.BLOCK * 2

    def _members(
        self, part: _Part, running: Running, deadline: float, mtime: int
    ) -> Generator[bytes]:
        mirror, waited = part.fetched.mirror, 0.0
        try:
            with (
                stdin_of(tree.blobs(part.entries)) as stdin,
                running.process(
                    lambda: self._commands.start(
                        "cat-file", ("--batch", "--buffer"), directory=mirror, stdin=stdin
                    )
                ) as process,
            ):
                try:
                    yield from tree.members(
                        process, part.entries, below=part.path, mtime=mtime, deadline=deadline
                    )
                finally:
                    waited = process.waited
        except GitError as error:
            # Else it is the bucket that took the time.
            raise too_slow() if waited > self._timeout / 2 else misread(error, mirror) from error

    async def _output(
        self, verb: str, *arguments: str, mirror: Path, stdin: IO[bytes] | None = None
    ) -> bytes:
        return await output(
            self._commands,
            verb,
            *arguments,
            mirror=mirror,
            timeout_seconds=self._timeout,
            stdin=stdin,
        )


def _shown(link: Entry) -> str:
    return link.path.decode(errors="backslashreplace")


async def _all(wanted: Sequence[Coroutine[Any, Any, _Part]]) -> list[_Part]:
    """What each of them answers; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(each) for each in wanted]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
