"""Reporters between a real ledger and the GitHub stand-in, for their tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec

from bot.core import keys
from bot.core import settings as all_settings
from bot.core.deployment import Deployment, Push
from bot.core.github import GitHub
from bot.core.ledger import Ledger, open_ledger
from bot.core.reporter import Reporter
from bot.core.settings import Settings
from tests.builders import a_push
from tests.standin import StandIn, Worktree

REPOSITORY = "acme/site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a reporter works with. `tree` is pushed to `acme/site`."""

    standin: StandIn
    ledger: Ledger
    settings: Settings
    tree: Worktree

    def github(self, *, token: str | None = None, **more: Any) -> GitHub:
        """A client with the stand-in's own token, unless told otherwise; hangs up after 1 s."""
        return GitHub(
            api_url=self.standin.api_url,
            token=self.standin.token if token is None else token,
            environment={},
            timeout_seconds=1,
            **more,
        )

    def pushed(self, message: str = "one", *, repository: str = REPOSITORY) -> Push:
        """A push whose commit the stand-in has."""
        sha = self.tree.commit(message)
        self.tree.push_all("+HEAD:refs/heads/main")
        return msgspec.structs.replace(a_push(message, repository=repository), after=sha)

    async def recorded(self, push: Push) -> Deployment:
        """The record of a push."""
        return await self.record((await self.ledger.records.record(push)).deployment)

    async def record(self, id_: str) -> Deployment:
        """The record as it is now."""
        found = await self.ledger.view.deployment(id_)
        assert found is not None
        return found

    def states(self, sha: str) -> list[str]:
        """The states that were taken on a commit, in order."""
        return [status.state for status in self.standin.statuses(sha)]

    def descriptions(self, sha: str) -> list[str | None]:
        """Likewise their descriptions."""
        return [status.description for status in self.standin.statuses(sha)]

    async def due(self) -> dict[str, float]:
        """What GitHub does not know yet: `<slug>:<commit>` -> the seconds until it is due."""
        redis = cast(Any, self.ledger.connection.redis)
        found = await redis.zrange(
            keys.named(self.ledger.connection.prefix, "unreported"), 0, -1, withscores=True
        )
        return {name: score / 1000 - time.time() for name, score in found}

    async def seconds_of_pause(self) -> float:
        """How long everyone has to wait still."""
        redis = cast(Any, self.ledger.connection.redis)
        name = keys.named(self.ledger.connection.prefix, "report-pause")
        return float(max(await redis.pttl(name), 0)) / 1000

    async def all_told(self) -> None:
        """Waits until GitHub knows everything."""

        async def nothing_due() -> bool:
            return not await self.due()

        await until(nothing_due)


@asynccontextmanager
async def a_desk(redis_url: str, prefix: str, directory: Path) -> AsyncIterator[Desk]:
    """A desk whose stand-in has the public repository `acme/site`."""
    settings = all_settings.load(
        {
            "PUSHLANE_DATA_DIR": str(directory / "data"),
            "PUSHLANE_PUBLIC_URL": "https://deploy.example.com",
            "PUSHLANE_SITES_DOMAIN": "sites.example.net",
        }
    )
    async with StandIn(directory / "github") as standin:
        standin.create_repository(REPOSITORY, id=7)
        ledger = open_ledger(redis_url, prefix=f"{prefix}:")
        tree = Worktree(directory / "tree", standin.clone_url(REPOSITORY))
        try:
            yield Desk(standin=standin, ledger=ledger, settings=settings, tree=tree)
        finally:
            await ledger.aclose()


@asynccontextmanager
async def reporting(
    desk: Desk, github: GitHub | None = None, *, ledger: Ledger | None = None
) -> AsyncIterator[Reporter]:
    """One more bot process's reporter, at work while the body lasts. Closes its `github`."""
    github, ledger = github or desk.github(), ledger or desk.ledger
    reporter = Reporter(
        reports=ledger.reports, changes=ledger.changes, github=github, settings=desk.settings
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(github.aclose)
        await stack.enter_async_context(_beside(ledger.changes.follow()))
        await stack.enter_async_context(_beside(reporter.follow()))
        yield reporter


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    doing = asyncio.create_task(work)
    try:
        yield
    finally:
        assert not doing.done(), "it ended by itself"
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)


async def until(
    true: Callable[[], bool] | Callable[[], Coroutine[Any, Any, bool]], *, seconds: float = 20
) -> None:
    """Waits until it is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)
