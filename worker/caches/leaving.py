"""One build's way with what is kept: what it is given, and what it leaves.

Installed packages are laid under the build as a layer that it reads and cannot write; they are kept
right after a good installation, before the build proper has seen them. What package managers
downloaded and a framework's caches are kept when the deployment has ended ready.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bot.core.deployment import Deployment
from worker import tree
from worker.caches import downloads, keys
from worker.caches.keeping import Copy, Unfit, survey, within
from worker.caches.keys import Decided
from worker.caches.store import Held, Record, Store, age
from worker.sandbox import Layers, Workspace

log = logging.getLogger(__name__)

_END_SECONDS: Final = 120.0
"""So long a build that has ended waits for what it leaves."""
_MOST_NAMED: Final = 3


class _Given(Exception):
    """The copy is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Packages that need no installation."""

    repeated: tuple[tuple[str, str], ...]
    """The project's scripts that are executed all the same: folder in the source, name."""


class Caches:
    """Those of one build. An async context: at its end what it leaves is kept, or given up.

    It is left while nothing executes in the workspace any more, and before that is removed.
    """

    def __init__(
        self,
        store: Store | None,
        deployment: Deployment,
        workspace: Workspace,
        *,
        secrets: Sequence[str],
        epoch: int = 0,
    ) -> None:
        """No `store`, or a workspace without layers: every build is a cold one.

        What was kept in another `epoch` of the project is not found: it is evicted in its time.
        """
        self._layers = Layers(workspace)
        self._store = store if self._layers.possible else None
        self._deployment = deployment
        self._workspace = workspace
        self._secrets = tuple(secrets)
        self._epoch = epoch
        self._held: list[Held] = []
        self._decided: Decided | None = None
        self._installed: tuple[Path, ...] = ()
        """What lay under the build when the installation had gone well, its own layer first."""
        self._folders: list[str] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._given_up = threading.Event()
        self._accepted = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._given_up.set()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await asyncio.shield(asyncio.gather(*self._keeping))
                if self._accepted and error is None:
                    keeping = asyncio.create_task(self._keep_more(), name="keep caches")
                    self._keeping.append(keeping)
                    await asyncio.shield(keeping)
        except TimeoutError:
            log.warning("caches are given up", extra={"deployment": self._deployment.id})
        finally:
            # Nothing may read the workspace when it is removed.
            self._given_up.set()
            await asyncio.gather(*self._keeping, return_exceptions=True)
            for each in self._held:
                each.release()

    def accept(self) -> None:
        """The deployment has ended ready: its caches are worth keeping."""
        self._accepted = True

    async def packages(
        self,
        source: Path,
        *,
        install: str,
        install_at: str,
        locks: Sequence[str],
        environment: Mapping[str, str],
        versions: Mapping[str, str],
        say: Callable[[str], Awaitable[None]],
    ) -> Kept | None:
        """Lays kept packages under the build where they are what `install` would give.

        None where there are none: then a layer takes what the installation writes, and `installed`
        is to be called after it.
        """
        store = self._store
        if store is None:
            return None
        decided = await asyncio.to_thread(
            keys.decide,
            source,
            install=install,
            install_at=install_at,
            locks=locks,
            environment=environment,
            versions=versions,
        )
        held = await asyncio.to_thread(self._take, store, decided)
        if held is not None and await self._cover([held.tree]):
            await asyncio.to_thread(_restore_modes, self._workspace.path, held.record.modes)
            await say(
                f"Packages: kept from {held.record.deployment}, {age(held.record)}; "
                f"{_unchanged(decided)}"
            )
            return Kept(repeated=decided.repeated)
        found = await asyncio.to_thread(
            downloads.take,
            store,
            self._deployment,
            epoch=self._epoch,
            owner=self._workspace.owner,
        )
        self._held += found
        if await self._cover([each.tree for each in found]):
            self._decided = decided
            newest = await asyncio.to_thread(store.newest, self._deployment, "packages-")
            if newest is not None:
                await say(f"Packages are installed anew: {_changed(decided, newest)}")
            if found:
                await say("What was downloaded for earlier builds is at hand")
        return None

    async def installed(self) -> None:
        """The installation went well: it is kept, while the build goes on above it."""
        store, decided = self._store, self._decided
        if store is None or decided is None:
            return
        layer = await asyncio.to_thread(self._layers.cover)
        self._installed = self._layers.below
        add = partial(self._add, store, decided, layer)
        keeping = asyncio.to_thread(_keep, self._deployment, "packages", add)
        self._keeping.append(asyncio.create_task(keeping, name="keep packages"))

    async def restore(self, folders: Sequence[str]) -> list[str]:
        """Lays a framework's kept caches under the build. Answers which, of `folders`.

        `folders` are paths in the workspace. What the source brings along stays as it brings it.
        """
        store = self._store
        if store is None:
            return []
        self._folders = [
            each
            for each in dict.fromkeys(
                (*folders, *(f"home/{each}" for each in keys.FACTS["fetched"]))
            )
            if ".." not in tree.parts_of(each) and not _is_there(self._layers.bottom / each)
        ]
        found: list[tuple[str, Held]] = []
        for folder in self._folders:
            held = await asyncio.to_thread(
                store.take,
                self._deployment,
                _folder_name(self._epoch, folder),
                owner=self._workspace.owner,
            )
            if held is not None:
                self._held.append(held)
                if _free(self._workspace.path, folder):
                    found.append((folder, held))
        if not found or not await self._cover([held.tree for _, held in found]):
            return []
        return [folder for folder, _ in found]

    def _take(self, store: Store, decided: Decided) -> Held | None:
        newest = 0.0 if decided.locked else time.time() - keys.UNLOCKED_SECONDS
        bound = self._deployment.source
        for source in [bound] if decided.bound else ["", bound]:
            name = decided.name(epoch=self._epoch, source=source)
            held = store.take(self._deployment, name, owner=self._workspace.owner, newest=newest)
            if held is not None:
                self._held.append(held)
                return held
        return None

    async def _cover(self, kept: Sequence[Path]) -> bool:
        try:
            await asyncio.to_thread(self._layers.cover, kept)
        except OSError as problem:
            log.warning("no layers here: every build is a cold one", extra={"error": str(problem)})
            self._store = None
            return False
        return True

    def _check(self) -> None:
        if self._given_up.is_set():
            raise _Given

    def _add(self, store: Store, decided: Decided, layer: Path) -> Record | None:
        found = survey(layer, self._layers.bottom, check=self._check)
        bound, paths = bool(decided.bound), found.paths
        if found.strange and not bound:
            # Its repeatable scripts will write that again. Without any, a package's own script
            # did, which may have read anything in the source.
            bound = not decided.repeated
            strange = set(found.strange)
            paths = [each for each in paths if not _below_any(each, strange)]
        if bound:
            paths = sorted({*found.paths, *found.strange})
        source = self._deployment.source if bound else ""
        name = decided.name(epoch=self._epoch, source=source)

        def fill(target: Path) -> Record:
            return self._copied(layer, paths, target, parts=decided.parts, modes=found.modes)

        return store.add(self._deployment, name, fill)

    def _copied(
        self,
        origin: Path,
        paths: Sequence[str],
        target: Path,
        *,
        parts: Mapping[str, str] | None = None,
        modes: Mapping[str, int] | None = None,
        share: int = 1,
    ) -> Record:
        assert self._store is not None
        copy = Copy(
            origin,
            target,
            owner=self._workspace.owner,
            secrets=self._secrets,
            most_bytes=self._store.most_bytes // share,
            check=self._check,
        )
        copy.make(paths)
        return Record(
            deployment=self._deployment.id,
            made_at=time.time(),
            files=copy.files,
            bytes=copy.bytes,
            parts=parts or {},
            modes=modes or {},
        )

    async def _keep_more(self) -> None:
        await asyncio.to_thread(_keep, self._deployment, "downloads", self._add_downloads)
        for folder in self._folders:
            await asyncio.to_thread(
                _keep, self._deployment, folder, partial(self._add_folder, folder)
            )

    def _add_downloads(self) -> None:
        if self._store is None or self._decided is None or not self._installed:
            return
        with self._layers.view(self._installed) as view:
            for place in downloads.worth(self._decided):
                add = partial(
                    downloads.add,
                    self._store,
                    self._deployment,
                    place,
                    epoch=self._epoch,
                    layer=self._installed[0],
                    view=view,
                    check=self._check,
                    copied=partial(self._copied, share=downloads.SHARE),
                )
                _keep(self._deployment, place, add)

    def _add_folder(self, folder: str) -> Record | None:
        if self._store is None:
            return None
        paths = within(self._workspace.path, folder, check=self._check)
        if len(paths) <= len(tree.parts_of(folder)):
            return None
        return self._store.add(
            self._deployment,
            _folder_name(self._epoch, folder),
            lambda target: self._copied(self._workspace.path, paths, target),
        )


def _keep(deployment: Deployment, what: str, add: Callable[[], Record | None]) -> None:
    """Keeps something; a failure of that fails no build."""
    about = {"deployment": deployment.id, "what": what}
    try:
        record = add()
    except _Given:
        return
    except (Unfit, OSError) as problem:
        log.warning("not kept", extra=about | {"reason": str(problem)})
        return
    if record is not None:
        log.info("kept", extra=about | {"files": record.files, "bytes": record.bytes})


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _folder_name(epoch: int, folder: str) -> str:
    return f"folder-{hashlib.sha256(f'{epoch}/{folder}'.encode()).hexdigest()[:32]}"


def _below_any(path: str, above: set[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:count]) in above for count in range(1, len(parts)))


def _free(top: Path, folder: str) -> bool:
    """Whether the folder can lie there: what is on the way is a directory, or not there."""
    at = top
    for part in tree.parts_of(folder):
        at = at / part
        if at.is_symlink() or (at.exists() and not at.is_dir()):
            return False
    return True


def _restore_modes(top: Path, modes: Mapping[str, int]) -> None:
    for path, mode in modes.items():
        *above, name = tree.parts_of(path)
        try:
            with tree.directory(top, above) as at:
                handle = tree.open_file(name, at=at)
        except OSError:
            continue
        try:
            os.fchmod(handle, mode & 0o777)
        finally:
            os.close(handle)


def _unchanged(decided: Decided) -> str:
    locks = [path for path in decided.parts if path.rpartition("/")[2] in keys.FACTS["locks"]]
    if not locks:
        return "no lock file, so they are installed anew once a day"
    return f"{locks[0]} and all else that decides is unchanged"


def _changed(decided: Decided, before: Record) -> str:
    """What differs from the newest that were kept, in words."""
    names = [
        name
        for name in sorted({*decided.parts, *before.parts})
        if decided.parts.get(name) != before.parts.get(name)
    ]
    if not names:
        why = decided.bound or "what was kept is gone, in use, or a day old"
        return f"they may depend on the whole source, by {why}" if decided.bound else why
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more} changed since {before.deployment}"
