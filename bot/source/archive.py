"""A commit's tree, its submodules and a small .git as one stream of tar.zst into the bucket."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from bot.source import submodules, tree
from bot.source.command import Commands, GitFailed, GitTimeout, Process
from bot.source.origin import Origin, too_large
from bot.source.reading import contents, stdin_of
from bot.source.tree import Entry

if TYPE_CHECKING:
    from bot.source import Fetched

SCHEMA: Final = 1
TYPE: Final = "application/zstd"
_FILES: Final = 1_000_000
_GITLINK: Final = b"commit"
_CONFIG: Final = (
    b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
    b"\tlogallrefupdates = false\n"
)


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
    parts: list[_Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def name_of(key: str, commit: str, options: Options) -> str:
    """The object's name: the same for the same commit and options, whoever asks."""
    told = [SCHEMA, commit, options.depth, options.submodules]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    return f"sources/{key}/{digest}.tar.zst"


class Archiver:
    """Writes archives. `fetch` brings submodules."""

    def __init__(
        self,
        commands: Commands,
        bucket: Bucket,
        *,
        fetch: _Fetch,
        timeout_seconds: float,
        max_bytes: int,
    ) -> None:
        self._commands = commands
        self._bucket = bucket
        self._fetch = fetch
        self._timeout = timeout_seconds
        self._max_bytes = max_bytes

    async def archive(self, fetched: Fetched, options: Options) -> Archive:
        """See `Sources.archive`."""
        name = name_of(fetched.origin.key, fetched.commit, options)
        there, top = await asyncio.gather(self._bucket.size(name), self._part(fetched, b"", 0))
        if there is not None:
            return Archive(name=name, bytes=there, reused=True)
        plan = _Plan(top, [top], _notes(top))
        if options.submodules:
            await self._add_submodules(plan)
        self._refuse_large(plan)
        dotgit = await self._dotgit(top, options)
        written = await self._write(name, plan, dotgit)
        files = sum(entry.kind == b"blob" for entry in top.entries)
        return Archive(name=name, bytes=written, files=files, notes=tuple(plan.notes))

    async def _part(self, fetched: Fetched, path: bytes, level: int) -> _Part:
        found = await self._git(
            "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", fetched.commit, mirror=fetched.mirror
        )
        return _Part(fetched, path, await asyncio.to_thread(tree.listing, found), level)

    async def _add_submodules(self, plan: _Plan) -> None:
        level = [plan.top]
        while level:
            found: list[_Part] = []
            for part in level:
                found += await self._submodules_of(part, plan)
            plan.parts += found
            level = found

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
        known: dict[bytes, str] = {}
        if any(e.path == b".gitmodules" and e.mode & 0o170000 == 0o100000 for e in part.entries):
            blob = f"{part.fetched.commit}:.gitmodules"
            try:
                known = submodules.urls(
                    await self._git("config", "-z", "--blob", blob, "--list",
                                    mirror=part.fetched.mirror)
                )  # fmt: skip
            except Errored as error:
                raise BuildFailed(
                    ".gitmodules cannot be read: mend it, or set `submodules = false` in "
                    "pushlane.toml",
                    code="submodule_refused",
                ) from error
        wanted = []
        for link in links:
            shown = link.path.decode(errors="backslashreplace")
            if link.path in known:
                origin = submodules.origin_of(
                    known[link.path],
                    path=shown,
                    parent=part.fetched.origin,
                    top=plan.top.fetched.origin,
                )
                wanted.append(self._submodule(origin, link, part, shown))
            else:
                plan.notes.append(f"{shown}: a submodule without a URL in .gitmodules, left empty")
        return list(await asyncio.gather(*wanted))

    async def _submodule(self, origin: Origin, link: Entry, part: _Part, shown: str) -> _Part:
        try:
            fetched = await self._fetch(origin, link.sha)
        except BuildFailed as error:
            raise BuildFailed(f"submodule {shown}: {error.message}", code=error.code) from error
        return await self._part(fetched, part.path + link.path + b"/", part.level + 1)

    def _refuse_large(self, plan: _Plan) -> None:
        size = sum(entry.size for part in plan.parts for entry in part.entries)
        if size > self._max_bytes:
            raise too_large(plan.top.fetched.origin, self._max_bytes)
        if (files := sum(len(part.entries) for part in plan.parts)) > _FILES:
            raise BuildFailed(
                f"the source has {files:,} files, more than {_FILES:,}: take some out",
                code="source_too_large",
            )

    async def _dotgit(self, top: _Part, options: Options) -> Mapping[str, bytes | None]:
        """The files of the smallest .git in which log, describe and status work."""
        commit, mirror = top.fetched.commit, top.fetched.mirror
        shallow = b""
        if options.depth == 1:
            wanted, mode = tree.skeleton(commit, top.entries), "--window=0"
            if top.fetched.parents:
                shallow = f"{commit}\n".encode()
        else:
            wanted, mode = f"{commit}\n", "--revs"
            path = mirror / "shallow"
            shallow = path.read_bytes() if path.exists() else b""
        with tempfile.TemporaryDirectory(prefix="pushlane-git-") as folder:
            with stdin_of(wanted) as stdin:
                await self._git("pack-objects", "--quiet", "--delta-base-offset", mode,
                                f"{folder}/pack", mirror=mirror, stdin=stdin)  # fmt: skip
            packs = {
                f".git/objects/pack/{path.name}": path.read_bytes()
                for path in sorted(Path(folder).iterdir())
                if path.suffix in (".pack", ".idx")
            }
        folders = ("", "objects/", "objects/info/", "objects/pack/", "refs/", "refs/heads/",
                   "refs/tags/", "info/")  # fmt: skip
        return {
            **{f".git/{name}": None for name in folders},
            **packs,
            ".git/HEAD": f"{commit}\n".encode(),
            ".git/config": _CONFIG,
            **({".git/shallow": shallow} if shallow else {}),
            ".git/index": tree.index(top.entries),
        }

    async def _write(self, name: str, plan: _Plan, dotgit: Mapping[str, bytes | None]) -> int:
        deadline = time.monotonic() + self._timeout
        running: list[Process] = []
        stopped = False

        def close() -> None:
            for process in running:
                process.close()

        def chunks() -> Iterator[bytes]:
            for part in plan.parts:
                process = self._start(part)
                running.append(process)
                if stopped:
                    raise Errored("archiving was stopped", code="source_cut")
                yield from tree.members(process, deadline=deadline)
                process.close()
            for path, body in dotgit.items():
                yield tree.member(path, body, mtime=plan.top.fetched.committed_at)
            yield b"\0" * tree.BLOCK * 2

        reader = tree.Compressed(chunks(), ended=close)
        # The reader runs in the bucket's thread and may wait for git: killing git ends that wait.
        watch = asyncio.get_running_loop().call_later(
            self._timeout, lambda: [process.kill() for process in running]
        )
        try:
            await self._bucket.put_stream(name, reader, content_type=TYPE)
        finally:
            watch.cancel()
            stopped = True
            for process in running:
                process.kill()
        close()
        return reader.bytes

    def _start(self, part: _Part) -> Process:
        prefix = [f"--prefix={os.fsdecode(part.path)}"] if part.path else []
        return self._commands.start(
            "archive",
            ("--format=tar", *prefix, "--end-of-options", part.fetched.commit),
            directory=part.fetched.mirror,
        )

    async def _git(self, verb: str, *arguments: str, mirror: Path, stdin: object = None) -> bytes:
        try:
            return await self._commands.call(
                verb,
                arguments,
                directory=mirror,
                timeout_seconds=self._timeout,
                stdin=cast("tempfile._TemporaryFileWrapper[bytes]", stdin),
            )
        except (GitFailed, GitTimeout) as error:
            raise Errored(f"reading the source failed: {error}", code="source_cut") from error


def _notes(top: _Part) -> list[str]:
    found: Sequence[Entry] = [e for e in top.entries if e.path == b".gitattributes"]
    return [] if not found else []
