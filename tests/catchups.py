"""A yard whose webhook may fail, and the catch-up that looks after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.catchup import CatchUp
from bot.catchup.look import Looked, Looker
from bot.core.deployment import Deployment
from bot.core.github import GitHub
from bot.core.ledger import Project
from bot.receiver import PATH
from tests.conftest import S3
from tests.yard import Yard, a_yard

SCOPES = ("repo", "admin:repo_hook")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A yard of which `site` is the project, with a client that may do everything."""

    yard: Yard
    client: GitHub

    async def project(self) -> Project:
        """The project as it is now."""
        found = await self.yard.door.ledger.view.project("site")
        assert found is not None
        return found

    async def look(self, *, grace_seconds: float = 0) -> Looked:
        """One look at it; nothing lags unless told otherwise."""
        looker = Looker(
            ledger=self.yard.door.ledger,
            sources=self.yard.sources,
            github=self.client,
            settings=self.yard.door.settings,
            grace_seconds=grace_seconds,
        )
        return await looker.look(await self.project())

    async def told(self, message: str, *, branch: str = "main") -> str:
        """A push that GitHub delivers; the deployment's id."""
        self.yard.github.hook.enabled = True
        return await self.yard.push(message=message, branch=branch)

    async def live(self, message: str = "First", *, branch: str = "main") -> Deployment:
        """The same, taken to its end."""
        return await self.yard.live(await self.told(message, branch=branch))

    async def untold(self, message: str, *, branch: str = "main") -> str:
        """A push that GitHub says nothing of; the commit."""
        self.yard.github.hook.enabled = False
        sha = await asyncio.to_thread(self.yard.tree.commit, message)
        await asyncio.to_thread(self.yard.tree.push, branch, force=True)
        await self.yard.github.settled()
        return sha

    async def records(self) -> list[Deployment]:
        """All deployments, oldest first."""
        found, _ = await self.yard.door.ledger.view.deployments(limit=100)
        return found[::-1]

    async def newest(self) -> Deployment:
        """The newest of them."""
        return (await self.records())[-1]

    def catch_up(self, **changes: Any) -> CatchUp:
        """One more bot process's catch-up."""
        settings = self.yard.door.settings
        return CatchUp(
            ledger=self.yard.door.ledger,
            sources=self.yard.sources,
            github=self.client,
            settings=settings,
            hook_url=settings.public_url + PATH,
            **({"grace_seconds": 0} | changes),
        )


@asynccontextmanager
async def a_watch(
    valkey: str, s3: S3, prefix: str, directory: Path, **changes: Any
) -> AsyncIterator[Watch]:
    """A watch; `changes` are made to the settings."""
    async with a_yard(valkey, s3, prefix, directory, **changes) as yard:
        client = GitHub(
            api_url=yard.github.api_url,
            token=yard.github.access.allow(scopes=SCOPES),
            environment={},
            timeout_seconds=2,
        )
        try:
            yield Watch(yard=yard, client=client)
        finally:
            await client.aclose()


@asynccontextmanager
async def following(*catch_ups: CatchUp) -> AsyncIterator[None]:
    """The catch-ups at work while the body lasts."""
    doing = [asyncio.create_task(each.follow()) for each in catch_ups]
    try:
        yield
    finally:
        assert not any(each.done() for each in doing), "one ended by itself"
        for each in doing:
            each.cancel()
        await asyncio.gather(*doing, return_exceptions=True)
