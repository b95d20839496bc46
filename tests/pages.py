"""The pages over real servers, and somebody who reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import zstandard
from msgspec.structs import replace as altered
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import ASGIApp

from bot import pages
from bot.core import keys, release
from bot.core import settings as all_settings
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Stage, Status
from bot.core.ledger import Ending, Ledger, open_ledger
from bot.core.settings import Settings
from bot.logs import Logs, Places
from bot.pages.session import Sessions
from tests.builders import a_push, claimed
from tests.conftest import S3
from tests.ledgers import redis_of

TOKEN = "the-token-of-the-house"
HOSTILE = "<script>document.title='pwned'</script>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A ledger and a bucket of one test's own, the pages over them, and a client of these."""

    ledger: Ledger
    bucket: Bucket
    settings: Settings
    app: ASGIApp
    client: httpx2.AsyncClient

    async def fetched(self, after: str, *lines: str, **fields: Any) -> Deployment:
        """Records a push, whose fetching writes `lines`; `fields` are the push's own."""
        names = {"message", "author", "private"}
        push = a_push(after, **{k: v for k, v in fields.items() if k not in names})
        push = altered(push, **{k: v for k, v in fields.items() if k in names})
        answer = await self.ledger.records.record(push)
        held = await claimed(self.ledger, answer.deployment, Stage.FETCH)
        await self.ledger.logs.append(held, lines)
        return await self.ledger.claims.advance(held, Status.QUEUED, source="sources/7/x.tar.zst")

    async def building(self, after: str, *lines: str, **fields: Any) -> Deployment:
        """The same, and claims it for a build that writes `lines`."""
        found = await self.fetched(after, **fields)
        return await self.claimed(found, *lines)

    async def claimed(self, deployment: Deployment, *lines: str) -> Deployment:
        """Claims a queued deployment for a build that writes `lines`."""
        held = await claimed(self.ledger, deployment.id, Stage.BUILD)
        await self.ledger.logs.append(held, lines)
        return held

    async def ended(
        self, held: Deployment, status: Status = Status.READY, **fields: Any
    ) -> Deployment:
        """Ends a build; `fields` are the ending's own."""
        if status is Status.READY:
            held = await self.ledger.claims.advance(held, Status.PUBLISHING)
            fields = {"release": f"releases/7/{held.id}.json", **fields}
        return await self.ledger.claims.finish(held, Ending(status=status, **fields))

    async def saved(self, deployment: Deployment, claim: int, lines: Sequence[str]) -> None:
        """Puts the whole log of a claim into the bucket, as the worker does."""
        name = release.log_name(deployment.repository_key, deployment.id, deployment.claims[claim])
        body = zstandard.compress("".join(f"{line}\n" for line in lines).encode())
        await self.bucket.put(name, body, content_type=release.PACK_TYPE)

    async def forgotten(self, deployment: Deployment) -> None:
        """Lets the live logs of all claims have passed."""
        for claim in deployment.claims:
            name = keys.log(self.ledger.connection.prefix, deployment.id, claim)
            await redis_of(self.ledger).delete(name)

    async def get(
        self, path: str, *, signed_in: bool = False, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        """What a reader gets; redirects are not followed."""
        cookies = {"cookie": self.cookie()} if signed_in else {}
        return await self.client.get(path, headers={**cookies, **(headers or {})})

    async def page(self, deployment: Deployment, *, signed_in: bool = False) -> str:
        """The page of a deployment; fails the test when it is not to be had."""
        found = await self.get(f"/deployments/{deployment.id}", signed_in=signed_in)
        assert found.status_code == 200, found.text
        return found.text

    def cookie(self) -> str:
        """The cookie of one who has signed in."""
        response = Response()
        sessions = Sessions(token=TOKEN, public_url=self.settings.public_url)
        sessions.begin(response)
        return response.headers["set-cookie"].partition(";")[0]


@asynccontextmanager
async def a_reading(
    valkey: str,
    s3: S3,
    prefix: str,
    *,
    hears: bool = True,
    places: Places | None = None,
    **changes: Any,
) -> AsyncIterator[Reading]:
    """A reading; `changes` are made to the settings. Without `hears` no change is handed on."""
    settings = all_settings.load(
        {
            "PUSHLANE_REDIS_URL": valkey,
            "PUSHLANE_REDIS_PREFIX": f"{prefix}:",
            "PUSHLANE_S3_PREFIX": prefix,
            "PUSHLANE_S3_BUCKET": s3.bucket,
            "PUSHLANE_S3_ENDPOINT_URL": s3.endpoint_url,
            "PUSHLANE_API_TOKEN": TOKEN,
        }
    )
    settings = replace(settings, **changes)
    ledger = open_ledger(settings.redis_url, prefix=settings.redis_prefix, max_attempts=3)
    bucket = Bucket(
        s3.bucket,
        prefix=settings.s3_prefix,
        endpoint_url=settings.s3_endpoint_url,
        credentials={"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key},
    )
    logs = Logs(ledger, bucket, places=places)
    app = Starlette(routes=pages.routes(ledger=ledger, logs=logs, settings=settings))
    transport = httpx2.ASGITransport(app=app)
    following = asyncio.ensure_future(ledger.changes.follow() if hears else asyncio.sleep(0))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url=settings.public_url) as client:
            yield Reading(ledger=ledger, bucket=bucket, settings=settings, app=app, client=client)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await ledger.aclose()
        await bucket.aclose()
