"""The bot's composition root: settings become clients, clients become routes and loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot import api, pages
from bot.catchup import CatchUp
from bot.collector import GRACE_SECONDS, Collector
from bot.core.bucket import Bucket
from bot.core.errors import Errored
from bot.core.github import GitHub
from bot.core.ledger import Ledger, open_ledger
from bot.core.loop import Loop
from bot.core.reporter import Reporter
from bot.core.settings import Settings
from bot.gateway import Gateway, label_of
from bot.intake import Intake
from bot.keeper import Keeper
from bot.logs import Logs
from bot.problems import HANDLERS
from bot.readiness import Readiness
from bot.receiver import PATH, Receiver
from bot.source import Sources

log = logging.getLogger("bot")

_FETCHES: Final = 4
"""Sources that one process fetches at a time."""
_SWEEP_SECONDS: Final = 2.0


class Bot:
    """Everything that one bot process holds; an ASGI application."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """`environment` is the process's own: its certificates and proxies reach git and GitHub."""
        self.settings = settings
        self.ledger: Ledger = open_ledger(
            settings.redis_url,
            prefix=settings.redis_prefix,
            lease_seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
            least_epoch=1,
            require_durable=settings.require_durable,
        )
        self.bucket = Bucket(
            settings.s3_bucket, prefix=settings.s3_prefix, endpoint_url=settings.s3_endpoint_url
        )
        self.github = GitHub(
            api_url=settings.github_api_url,
            token=settings.github_token,
            app_id=settings.github_app_id,
            app_private_key=settings.github_app_private_key,
            environment=environment,
        )
        seconds, size = settings.fetch_limits
        self.sources = Sources(
            directory=settings.data_dir / "mirrors",
            bucket=self.bucket,
            environment=environment,
            timeout_seconds=seconds,
            max_bytes=size,
            concurrency=_FETCHES,
        )
        self.gateway = Gateway(
            aliases=self.ledger.aliases,
            changes=self.ledger.changes,
            bucket=self.bucket,
            sites_domain=settings.sites_domain,
            cache_dir=settings.data_dir / "cache",
        )
        self.reporter = Reporter(
            reports=self.ledger.reports,
            changes=self.ledger.changes,
            github=self.github,
            settings=settings,
        )
        self.collector = Collector(
            self.ledger,
            self.bucket,
            delay_seconds=settings.build_timeout_seconds + GRACE_SECONDS,
        )
        self.fetching: Loop = Intake(
            ledger=self.ledger,
            sources=self.sources,
            settings=settings,
            token_for=self.github.token_for,
        ).loop()
        self.catch_up = CatchUp(
            ledger=self.ledger,
            sources=self.sources,
            github=self.github,
            settings=settings,
            hook_url=settings.public_url + PATH,
        )
        self.keeper = Keeper(
            self.ledger,
            self.bucket,
            make_bucket=bool(settings.s3_endpoint_url),
            restored=self.catch_up.soon,
        )
        self.readiness = Readiness(
            ledger=self.ledger, bucket=self.bucket, keeper=self.keeper, settings=settings
        )
        self._routes = self._starlette()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: a host under the sites' domain reaches the gateway and nothing else."""
        if scope["type"] == "http":
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if label_of(host, self.settings.sites_domain) is not None:
                await self.gateway(scope, receive, send)
                return
        await self._routes(scope, receive, send)

    def end(self) -> None:
        """Asks it to end: no more is claimed. Safe to call from a signal handler."""
        self.fetching.ending.set()

    def _starlette(self) -> ASGIApp:
        logs = Logs(self.ledger, self.bucket)
        front = api.Front(self.ledger, logs, self.settings, self.collector, self.keeper)
        made = Starlette(
            routes=[
                Receiver(self.ledger, self.settings, missed=self.catch_up.soon).route,
                api.mount(front),
                Route("/healthz", _alive, methods=["GET"]),
                self.readiness.route,
                *pages.routes(ledger=self.ledger, logs=logs, settings=self.settings),
            ],
            exception_handlers=HANDLERS,
            lifespan=self._lifespan,
        )
        # It would lead to whatever host the request names.
        made.router.redirect_slashes = False
        return made

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.bucket.aclose)
            stack.push_async_callback(self.ledger.aclose)
            stack.push_async_callback(self.github.aclose)
            stack.push_async_callback(self.sources.aclose)
            stack.push_async_callback(self.gateway.aclose)
            beside = [
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("changes", self.ledger.changes.follow()),
                    ("gateway", self.gateway.follow()),
                    ("reporter", self.reporter.follow()),
                    ("sweep", self._sweep()),
                    ("keeper", self.keeper.follow()),
                    ("look", self.readiness.look()),
                    ("catch-up", self._catch_up()),
                    ("collector", self.collector.follow()),
                )
            ]
            loops = [
                asyncio.create_task(self.fetching.serve(), name=f"intake {number}")
                for number in range(_FETCHES)
            ]
            for each in (*beside, *loops):
                each.add_done_callback(_unexpected_end)
            log.info("serving", extra={"host": self.settings.host, "port": self.settings.port})
            yield
            self.end()
            # The loops end by themselves: what waits at a doorbell within two seconds.
            _, late = await asyncio.wait(loops, timeout=self.settings.stop_grace_seconds)
            if late:
                log.info("giving back what is not done")
                self.fetching.give_back()
                await asyncio.wait(loops)
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            with suppress(Errored):
                found = await self.ledger.claims.sweep()
                if any(found.values()):
                    log.info("swept", extra=found)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _catch_up(self) -> None:
        """Once Redis and the bucket have answered: what is caught up with needs both."""
        await self.readiness.was_ready.wait()
        if self.settings.catch_up_seconds:
            await self.catch_up.follow()


async def _alive(_: Request) -> Response:
    return Response("ok\n", media_type="text/plain", headers={"Cache-Control": "no-store"})


def _unexpected_end(ended: asyncio.Task[None]) -> None:
    if not ended.cancelled() and (error := ended.exception()) is not None:
        log.critical("%s ended", ended.get_name(), exc_info=error)
