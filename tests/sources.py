"""Sources to fetch from a GitHub that stands in, and archives laid out to look into."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from bot.core.bucket import Bucket
from bot.source import Archive, Fetched, Origin, Sources
from bot.source.origin import TokenFor, no_token, nothing_else
from tests.onlookers import git
from tests.standin import StandIn

PAUSES = (0.01, 0.01, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarry:
    """`Sources` on a stand-in and a real bucket, with its mirrors below `mirrors`."""

    github: StandIn
    sources: Sources
    bucket: Bucket
    directory: Path

    @property
    def mirrors(self) -> Path:
        """Where the mirrors lie."""
        return self.directory / "mirrors"

    def origin(
        self,
        repository: str = "octo/site",
        *,
        token: TokenFor = no_token,
        opens: Callable[[str], bool] = nothing_else,
    ) -> Origin:
        """The repository on the stand-in."""
        key = str(self.github.repository(repository).id) if self.known(repository) else "0"
        return Origin(
            base_url=self.github.url, repository=repository, key=key, token=token, opens=opens
        )

    def known(self, repository: str) -> bool:
        """Whether the stand-in has it."""
        return self.github.world.find(repository) is not None

    def mirror(self, repository: str = "octo/site") -> Path:
        """Its mirror of single commits."""
        return self.mirrors / f"{self.origin(repository).key}.git"

    async def archived(self, commit: str, *, depth: int = 1) -> tuple[Fetched, Archive]:
        """Fetches a commit of `octo/site` and archives it."""
        fetched = await self.sources.fetch(self.origin(), commit, depth=depth)
        return fetched, await self.sources.archive(fetched)

    async def laid_out(self, archive: Archive) -> Path:
        """The archive unpacked by tar, in a directory of its own."""
        place = self.directory / "laid-out" / archive.name.rpartition("/")[2]
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        body = await self.bucket.get(archive.name)
        whole = zstandard.ZstdDecompressor().decompressobj().decompress(body)
        subprocess.run(["tar", "-x", "-C", place], input=whole, check=True)
        return place


@asynccontextmanager
async def a_quarry(
    github: StandIn, bucket: Bucket, directory: Path, *, path: str = "", **changes: Any
) -> AsyncIterator[Quarry]:
    """A quarry; `changes` are made to what `Sources` takes, `path` goes before the PATH."""
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    sources = Sources(
        **{
            "directory": directory / "mirrors",
            "bucket": bucket,
            "environment": environment,
            "pauses": PAUSES,
            "timeout_seconds": 30,
            **changes,
        }
    )
    try:
        yield Quarry(github=github, sources=sources, bucket=bucket, directory=directory)
    finally:
        await sources.aclose()


def said(directory: Path, *arguments: str) -> str:
    """What git prints in an unpacked source; fails the test where git does."""
    done, error = git(directory, *arguments)
    assert done.returncode == 0, error
    return done.stdout.strip()


def tampered_git(directory: Path, script: str) -> str:
    """A directory for the PATH whose `git` is this shell script; `$GIT` is the real one."""
    real = shutil.which("git")
    assert real
    directory.mkdir(parents=True)
    text = directory / "git.sh"
    text.write_text(f"#!/bin/sh\nGIT={real}\n{script}\n")
    # By a process of its own: what a thread forks meanwhile would hold it open ("text file busy").
    subprocess.run(["install", "-m", "755", text, directory / "git"], check=True)
    return str(directory)


@asynccontextmanager
async def slowly(github: StandIn) -> AsyncIterator[str]:
    """A base URL by which the stand-in gives some 5 MB a second."""

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, pause: float
    ) -> None:
        while chunk := await reader.read(50_000):
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", github.port)
        with suppress(OSError):
            await asyncio.wait(
                [
                    asyncio.ensure_future(forward(reader, onward, pause=0)),
                    asyncio.ensure_future(forward(there, writer, pause=0.01)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        for end in (onward, writer):
            end.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def token_of(repository: str, *, value: str) -> str | None:
    """The same token for all."""
    return value
