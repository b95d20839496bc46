"""Brings a deployment's source from the bucket into a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import zstandard

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from bot.core.lease import Lease
from worker.sandbox import Limits, Sandbox, Workspace

SOURCE: Final = "source"
"""Where it lies in the workspace."""
_PIECE: Final = 2048
"""What is fed to the decompressor at once: zstd may make 32,768 times as much of it."""


async def unpack(
    name: str,
    *,
    bucket: Bucket,
    sandbox: Sandbox,
    workspace: Workspace,
    limits: Limits,
    lease: Lease,
) -> None:
    """Unpacks the archive `name` into `source` of the workspace.

    tar works inside the sandbox: whatever an archive may trick it into, it does as a stranger.
    Raises `BuildFailed` (code `build_disk_full`), `Errored`, and `Stopped` when the lease ends.
    """
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk[: 4096 - len(said)])

    async with bucket.stream(name) as chunks:
        outcome = await sandbox.execute(
            ["tar", "--extract", "--file=-", "--no-same-owner"],
            workspace=workspace,
            cwd=f"/work/{SOURCE}",
            environment={},
            limits=limits,
            network=False,
            stdin=_decompressed(chunks),
            on_output=hear,
            stop=lease.stop,
        )
    lease.check()
    if outcome.killed == "disk":
        raise BuildFailed(
            f"the source alone needs more than {limits.work_mb} MB: take something out",
            code="build_disk_full",
        )
    if outcome.killed or outcome.exit_code:
        words = said.decode(errors="replace").strip()
        raise Errored(
            f"the source cannot be unpacked ({outcome.killed or outcome.exit_code}): {words}",
            code="unpack_failed",
        )


async def _decompressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    decoder = zstandard.ZstdDecompressor().decompressobj()

    def pieces(chunk: bytes) -> list[bytes]:
        return [decoder.decompress(chunk[at : at + _PIECE]) for at in range(0, len(chunk), _PIECE)]

    step = 32 * _PIECE
    try:
        async for chunk in chunks:
            for at in range(0, len(chunk), step):
                part = chunk[at : at + step]
                # A small archive is not worth a thread.
                found = pieces(part) if len(chunk) < step else await asyncio.to_thread(pieces, part)
                yield b"".join(found)
    except zstandard.ZstdError as error:
        raise Errored(f"the source is broken: {error}", code="source_broken") from error
    if not decoder.eof:
        raise Errored("the source is cut short", code="source_broken")
