"""The way of a push up to the build: a GitHub, its webhook, the front door, and the fetching."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from bot.core.deployment import Deployment, Stage, Status
from bot.core.loop import Loop
from bot.intake import Intake
from bot.receiver import PATH
from bot.source import Sources, no_token
from tests.builders import claimed, finished
from tests.conftest import S3
from tests.front import SECRET, FrontDoor, a_front_door, served
from tests.standin import StandIn, Worktree


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """A GitHub whose webhook leads to a front door, a working copy, and the fetching stage."""

    door: FrontDoor
    github: StandIn
    tree: Worktree
    loop: Loop
    sources: Sources
    mirrors: Path

    async def push(
        self,
        files: Mapping[str, str | bytes | None] | None = None,
        *,
        message: str = "A change",
        branch: str = "main",
    ) -> str:
        """Commits and pushes; the id of the deployment that the delivery led to."""
        self.tree.write(files or {})
        await asyncio.to_thread(self.tree.commit, message)
        await asyncio.to_thread(self.tree.push, branch, force=True)
        await self.github.settled()
        delivery = self.github.deliveries[-1]
        assert delivery.status_code == 202, delivery.response_body
        return str(delivery.answer["deployment"])

    async def ask(self, repository: str = "acme/site", ref: str = "") -> str:
        """Asks for a deployment over the API; its id."""
        body = {"repository": repository, "ref": ref}
        answer = await self.door.client.post("/api/v1/deployments", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def fetch(self, id_: str) -> Deployment:
        """Takes it through the fetching stage; the record as it is then."""
        await self.loop.attend(await claimed(self.door.ledger, id_, Stage.FETCH))
        return await self.door.record(id_)

    async def live(self, id_: str) -> Deployment:
        """The same, and then built."""
        assert (await self.fetch(id_)).status is Status.QUEUED
        return await finished(self.door.ledger, id_)

    async def log(self, id_: str) -> str:
        """The deployment's log."""
        return (await self.door.client.get(f"/api/v1/deployments/{id_}/log")).text

    async def source(self, deployment: Deployment) -> tarfile.TarFile:
        """The source, unpacked in memory."""
        packed = await self.door.bucket.get(deployment.source)
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        return tarfile.open(fileobj=io.BytesIO(raw))

    def gits(self) -> list[str]:
        """The command line of every git that works in the mirrors."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.mirrors) in words:
                found.append(words)
        return found


@asynccontextmanager
async def a_yard(
    valkey: str, s3: S3, prefix: str, directory: Path, *, private: bool = False, **changes: object
) -> AsyncIterator[Yard]:
    """A yard whose repository is `acme/site`; `changes` are made to the settings."""
    async with (
        StandIn(directory / "github") as github,
        a_front_door(
            valkey,
            s3,
            prefix,
            directory,
            **({"github_url": github.url, "github_api_url": github.api_url} | changes),
        ) as door,
        served(door.app) as url,
    ):
        github.hook.url, github.hook.secret = url + PATH, SECRET
        number = secrets.randbelow(1_000_000_000) + 1
        github.create_repository("acme/site", id=number, private=private)
        mirrors = directory / "mirrors"
        sources = Sources(
            directory=mirrors,
            bucket=door.bucket,
            environment=os.environ,
            timeout_seconds=20,
            pauses=(0.02, 0.02),
        )

        async def token(_: str) -> str | None:
            return github.token

        intake = Intake(
            ledger=door.ledger,
            sources=sources,
            settings=door.settings,
            token_for=token if private else no_token,
        )
        clone = github.clone_url("acme/site")
        tree = Worktree(directory / "work", clone, token=github.token)
        try:
            yield Yard(
                door=door,
                github=github,
                tree=tree,
                loop=intake.loop(),
                sources=sources,
                mirrors=mirrors,
            )
        finally:
            await sources.aclose()
