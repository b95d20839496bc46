"""Bare mirrors: one directory for each repository, into which exact commits are fetched."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from bot.core.errors import BuildFailed, Errored, PushlaneError
from bot.source.command import Commands, GitFailed, GitTimeout, GitTooLarge, network
from bot.source.origin import (
    COMMIT,
    MirrorBroken,
    NotThere,
    Origin,
    timed_out,
    too_large,
    translated,
)

log = logging.getLogger(__name__)

DEPTHS: Final = (1, 10, 100, 1000)
"""Depths that have a mirror of their own, so that a shallow fetch never cuts another's history."""
WHOLE: Final = 2_147_483_647
"""What git itself means by an infinite depth."""
_PACKS: Final = 50
_REFS_KEPT: Final = 20
_REF_SECONDS: Final = 7 * 86_400
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


def depth_class(depth: int) -> int:
    """The depth that is fetched for a wish of `depth`: at least as much; 0 is all."""
    return next((known for known in DEPTHS if 0 < depth <= known), 0)


class Mirrors:
    """The mirrors below a directory. Several processes may share it."""

    def __init__(
        self, directory: Path, commands: Commands, *, timeout_seconds: float, max_bytes: int
    ) -> None:
        self._directory = directory
        self._commands = commands
        self._timeout = timeout_seconds
        self._max_bytes = max_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tidying: set[asyncio.Task[None]] = set()

    def path(self, origin: Origin, depth: int) -> Path:
        """Where the mirror for this depth lies."""
        known = depth_class(depth)
        return self._directory / (
            f"{origin.key}.git" if known == 1 else f"{origin.key}-{known}.git"
        )

    def has(self, origin: Origin, commit: str, depth: int) -> bool:
        """Whether the commit was fetched whole before; then its ref is kept for a week more."""
        with suppress(OSError):
            os.utime(self.path(origin, depth) / _kept(commit))
            return True
        return False

    async def fetch(self, origin: Origin, commit: str, depth: int) -> None:
        """Brings one commit by its sha. Raises `NotThere` when it is not served (yet)."""
        await self._fetch(origin, depth, f"+{commit}:{_kept(commit)}")

    async def fetch_by_ref(self, origin: Origin, commit: str, ref: str, depth: int) -> None:
        """Brings a commit of a server that gives only what refs name. Raises `NotThere`."""
        if not _REF.fullmatch(ref):
            raise NotThere(ref)
        mirror = self.path(origin, depth)
        await self._fetch(
            origin, max(depth_class(depth) or WHOLE, 50), f"+{ref}:refs/pushlane/tip", mirror=mirror
        )
        try:
            await self._call(
                origin, "update-ref", "--end-of-options", _kept(commit), commit, mirror=mirror
            )
        except (GitFailed, MirrorBroken, PushlaneError) as error:
            raise NotThere(commit) from error

    async def resolve(self, origin: Origin, ref: str) -> Resolved:
        """What `ref` (whole, or HEAD) names on the server.

        Raises `BuildFailed`: `ref_not_found`, `repository_empty`, `repository_not_found`.
        """
        if ref != "HEAD" and not _REF.fullmatch(ref):
            raise _no_ref(origin, ref)
        mirror = self.path(origin, 1)
        self._make(mirror)
        wanted = () if ref == "HEAD" else (ref, f"{ref}^{{}}")
        found = await self._call(
            origin, "ls-remote", "--quiet", "--symref", "--end-of-options", origin.url,
            "HEAD", *wanted, mirror=mirror,
        )  # fmt: skip
        names: dict[str, str] = {}
        default_ref = ""
        for line in found.decode(errors="surrogateescape").splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: "):
                default_ref = value.removeprefix("ref: ")
            elif COMMIT.fullmatch(value):
                names[name] = value
        commit = names.get(f"{ref}^{{}}") or names.get(ref)
        if commit is None:
            raise _no_ref(origin, ref) if await self.any_ref(origin) else _empty(origin)
        return Resolved(
            commit=commit,
            ref=default_ref if ref == "HEAD" and default_ref else ref,
            default_branch=default_ref.removeprefix("refs/heads/"),
        )

    async def any_ref(self, origin: Origin) -> bool:
        """Whether the repository has a branch or tag at all."""
        mirror = self.path(origin, 1)
        self._make(mirror)
        arguments = ("--quiet", "--heads", "--tags", "--end-of-options", origin.url)
        return bool(await self._call(origin, "ls-remote", *arguments, mirror=mirror))

    async def why_not(self, origin: Origin, commit: str) -> BuildFailed:
        """The error for a commit that the server does not give, after all patience."""
        if not await self.any_ref(origin):
            return _empty(origin)
        return BuildFailed(
            f"commit {commit[:7]} is not in {origin.repository}: it was replaced by a forced push, "
            "or never got there. Push once more",
            code="commit_not_found",
        )

    async def discard(self, origin: Origin, depth: int) -> None:
        """Removes a damaged mirror; the next fetch makes it anew."""
        mirror = self.path(origin, depth)
        log.warning("mirror is damaged, made anew", extra={"mirror": mirror.name})
        async with self._locked(mirror):
            await asyncio.to_thread(shutil.rmtree, mirror, ignore_errors=True)

    async def aclose(self) -> None:
        """Ends what tidies up."""
        for task in tuple(self._tidying):
            task.cancel()
        await asyncio.gather(*self._tidying, return_exceptions=True)

    async def _fetch(
        self, origin: Origin, depth: int, refspec: str, *, mirror: Path | None = None
    ) -> None:
        mirror = mirror or self.path(origin, depth)
        async with self._locked(mirror) as held:
            self._make(mirror)
            _clear(mirror, refspec.partition(":")[2])
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
        self, origin: Origin, verb: str, *arguments: str, mirror: Path, held: int | None = None
    ) -> bytes:
        token = await origin.token(origin.repository)
        try:
            return await self._commands.call(
                verb,
                arguments,
                directory=mirror,
                timeout_seconds=self._timeout,
                config=network(origin.url, token),
                held=held,
                grown=lambda: _growing(mirror) > self._max_bytes,
            )
        except GitFailed as error:
            raise translated(error.words, origin) from error
        except GitTooLarge:
            raise too_large(origin, self._max_bytes) from None
        except GitTimeout:
            raise timed_out(origin, self._timeout) from None

    @asynccontextmanager
    async def _locked(self, mirror: Path) -> AsyncIterator[int]:
        """One fetch at a time into a mirror, among tasks and among processes.

        The descriptor is handed to git: so long as one lives, whose parent died, nobody comes in,
        and whatever lock file lies there afterwards is a dead one's.
        """
        lock = self._locks.setdefault(mirror.name, asyncio.Lock())
        async with lock:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            held = os.open(mirror.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                give_up_at = time.monotonic() + self._timeout
                while True:
                    try:
                        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if time.monotonic() > give_up_at:
                            raise Errored(
                                f"another fetch into {mirror.name} does not end",
                                code="fetch_timeout",
                            ) from None
                        await asyncio.sleep(0.05)
                yield held
            finally:
                os.close(held)

    def _make(self, mirror: Path) -> None:
        if (mirror / "HEAD").exists():
            return
        for folder in ("objects/pack", "objects/info", "refs/pushlane", "info"):
            (mirror / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        # `git archive` would leave out and rewrite files that a build wants as they are.
        (mirror / "info/attributes").write_text("* -export-ignore -export-subst\n")
        (mirror / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
        (mirror / "HEAD").write_text("ref: refs/heads/nothing\n")

    async def _tidy(self, mirror: Path) -> None:
        """Forgets commits that were not used for a week, and lays all packs into one."""
        try:
            async with self._locked(mirror) as held:
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
        except (OSError, GitFailed, GitTimeout, PushlaneError) as error:
            log.warning("tidying a mirror failed", extra={"mirror": mirror.name, "error": error})


def _kept(commit: str) -> str:
    return f"refs/pushlane/{commit}"


def _packs(mirror: Path) -> list[Path]:
    return list((mirror / "objects/pack").glob("*.pack"))


def _growing(mirror: Path) -> int:
    """Bytes of the pack that is being received."""
    sizes = [0]
    for path in (mirror / "objects/pack").glob("tmp_*"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return sum(sizes)


def _clear(mirror: Path, ref: str) -> None:
    """Removes what a killed git left. The lock is ours, so none that lives needs it."""
    stale = [mirror / "shallow.lock", mirror / "packed-refs.lock", mirror / f"{ref}.lock"]
    for path in (*stale, *(mirror / "objects/pack").glob("tmp_*")):
        path.unlink(missing_ok=True)


def _no_ref(origin: Origin, ref: str) -> BuildFailed:
    name = ref.removeprefix("refs/heads/")[:100]
    return BuildFailed(
        f"{origin.repository} has no branch {name!r}: check its name", code="ref_not_found"
    )


def _empty(origin: Origin) -> BuildFailed:
    return BuildFailed(
        f"{origin.repository} is empty: push a first commit", code="repository_empty"
    )
