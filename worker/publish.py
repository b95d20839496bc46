"""Makes a release of an output: one pack of what is new, then the manifest, then a look at it."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from bot.core import release
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, branch_label
from bot.core.errors import BuildFailed, Errored
from bot.core.lease import Lease
from bot.core.ledger import Aliases, Collection
from bot.core.release import Content, Manifest, Range
from worker import output as walking
from worker.output import Limits, Output
from worker.pack import Pack, pack

log = logging.getLogger(__name__)

MANIFEST_TYPE: Final = "application/octet-stream"
_REMEMBERED: Final = 200_000
"""Contents that are kept in memory, over all remembered manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A release that is whole in the bucket, and that no alias names yet."""

    release: str
    """The manifest's object name."""
    files: int
    bytes: int
    """Of all files."""
    uploaded: int
    """Bytes of the pack; 0 when nothing was new."""
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Known:
    """Contents that the project's accepted releases hold, each with the packs of its manifest."""

    contents: Mapping[str, tuple[Content, tuple[str, ...]]] = field(default_factory=dict)


async def _nothing() -> None: ...


class Publisher:
    """Publishes outputs, and remembers what the newest releases hold."""

    def __init__(
        self,
        bucket: Bucket,
        aliases: Aliases,
        collection: Collection,
        *,
        spool: Path,
        limits: Limits,
    ) -> None:
        """`spool` is a directory for packs that are too large for memory."""
        self._bucket = bucket
        self._aliases = aliases
        self._collection = collection
        self._spool = spool
        self._limits = limits
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()

    async def known(self, deployment: Deployment) -> Known:
        """What need not be written again: the contents that production and the branch show now.

        Only accepted releases count, so only those that an alias names. What cannot be read, or
        lies in a pack that is condemned, is left out, and written anew.
        """
        labels = [deployment.project]
        if deployment.ref.startswith("refs/heads/"):
            labels.append(branch_label(deployment.branch, deployment.project))
        found: dict[str, tuple[Content, tuple[str, ...]]] = {}
        try:
            aliases = await asyncio.gather(*(self._aliases.get(label) for label in labels))
            for name in dict.fromkeys(alias.release for alias in aliases if alias):
                manifest = await self._manifest(name) if name else None
                if manifest is not None:
                    condemned = await self._collection.condemned(manifest.packs)
                    found |= {
                        sha256: (content, manifest.packs)
                        for sha256, content in manifest.contents.items()
                        if not (condemned and _lies_in(condemned, content, manifest.packs))
                    }
        except Errored as error:
            log.warning("an older release cannot be read", extra={"error": error.message})
        return Known(found)

    async def publish(
        self,
        deployment: Deployment,
        output: Output,
        *,
        known: Known,
        lease: Lease,
        spa: bool = False,
        say: Callable[[str], Awaitable[None]],
        beside: Callable[[], Awaitable[None]] = _nothing,
    ) -> Published:
        """Writes the release of `output` under the claim's name and reads it back.

        `say` takes lines for the log; after the last of them `beside` goes on beside the upload.
        Raises `BuildFailed` (codes `output_…`) for an output that may not be published, `Errored`
        when the bucket fails, `Stopped` when the lease ends.
        """
        abandoned = threading.Event()

        def check() -> None:
            lease.check()
            if abandoned.is_set():
                raise Errored("abandoned", code="abandoned")

        try:
            made, dangling = await asyncio.to_thread(self._pack, output, known, check)
        except asyncio.CancelledError:
            abandoned.set()
            raise
        try:
            for path in dangling[:20]:
                await say(f"{path} is a link to nothing: left out")
            manifest = _manifest(deployment, made, known, spa=spa)
            total = sum(file.size for file in manifest.files.values())
            await say(
                f"Publishing {_count(len(manifest.files), 'file')}, {_megabytes(total)}; "
                f"{_count(len(made.new), 'content')} new, {_megabytes(made.size)} to upload"
            )
            await asyncio.gather(self._upload(deployment, made, check), beside())
            lease.check()
        finally:
            made.file.close()
        name = release.manifest_name(deployment.repository_key, deployment.id, deployment.claim)
        body = release.encode(manifest)
        await self._bucket.put(name, body, content_type=MANIFEST_TYPE)
        if await self._bucket.get(name) != body:
            raise Errored(f"{name} reads back as something else", code="release_not_read_back")
        lease.check()
        return Published(
            release=name,
            files=len(manifest.files),
            bytes=total,
            uploaded=made.size,
            manifest=manifest,
        )

    def remember(self, published: Published) -> None:
        """Keeps the manifest of an accepted release in memory: the next push compares with it."""
        self._manifests[published.release] = published.manifest
        self._manifests.move_to_end(published.release)
        size = sum(len(manifest.contents) for manifest in self._manifests.values())
        while size > _REMEMBERED and len(self._manifests) > 1:
            size -= len(self._manifests.popitem(last=False)[1].contents)

    async def _manifest(self, name: str) -> Manifest | None:
        if name in self._manifests:
            self._manifests.move_to_end(name)
            return self._manifests[name]
        return release.decode(await self._bucket.get(name))

    def _pack(
        self, output: Output, known: Known, check: Callable[[], None]
    ) -> tuple[Pack, list[str]]:
        try:
            found, dangling = walking.walk(output, self._limits, check=check)
            if not found:
                raise BuildFailed(
                    f"{output.shown} holds no file to publish: set `output` in pushlane.toml to "
                    "the directory that the build writes",
                    code="output_empty",
                )
            made = pack(output, found, known=known.contents, spool=self._spool, check=check)
        except PermissionError as error:
            raise BuildFailed(
                f"{error.filename} in {output.shown} may not be read: change its mode in the build",
                code="output_unreadable",
            ) from error
        return made, dangling

    async def _upload(self, deployment: Deployment, made: Pack, check: Callable[[], None]) -> None:
        if not made.new:
            return
        name = release.pack_name(deployment.repository_key, deployment.id, deployment.claim)
        made.file.seek(0)
        if made.in_memory:
            body = made.file.read()
            await self._bucket.put(name, body, content_type=release.PACK_TYPE)
        else:
            await self._bucket.put_stream(
                name, cast(BinaryIO, _Endable(made.file, check)), content_type=release.PACK_TYPE
            )


class _Endable(io.RawIOBase):
    """A reader that ends an upload under way when the lease ends: nothing of it stays."""

    def __init__(self, file: IO[bytes], check: Callable[[], None]) -> None:
        self._file = file
        self._check = check

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._check()
        return self._file.read(size)


def _manifest(deployment: Deployment, made: Pack, known: Known, *, spa: bool) -> Manifest:
    packs: dict[str, int] = {}
    contents: dict[str, Content] = {}
    own: tuple[str, ...] = (
        release.pack_name(deployment.repository_key, deployment.id, deployment.claim),
    )
    for file in made.files.values():
        if file.sha256 in contents:
            continue
        if file.sha256 in made.new:
            content, names = made.new[file.sha256], own
        else:
            content, names = known.contents[file.sha256]
        contents[file.sha256] = _moved(content, names, packs)
    return Manifest(
        deployment=deployment.id,
        claim=deployment.claim,
        project=deployment.project,
        commit=deployment.commit,
        created_at=time.time_ns() // 1_000_000,
        packs=tuple(packs),
        files=dict(sorted(made.files.items())),
        contents=contents,
        spa=spa,
    )


def _lies_in(condemned: Container[str], content: Content, packs: Sequence[str]) -> bool:
    ranges = (content.identity, content.zstd, content.gzip)
    return any(found is not None and packs[found.pack] in condemned for found in ranges)


def _moved(content: Content, names: tuple[str, ...], packs: dict[str, int]) -> Content:
    """The content with its ranges counting into `packs`, which grows."""

    def moved(found: Range | None) -> Range | None:
        if found is None:
            return None
        return Range(packs.setdefault(names[found.pack], len(packs)), found.offset, found.length)

    identity = moved(content.identity)
    assert identity is not None
    return Content(identity=identity, zstd=moved(content.zstd), gzip=moved(content.gzip))


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _megabytes(size: int) -> str:
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:,.0f} KB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
