"""The front door on real servers: what GitHub and the API's callers knock at, in this process."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from bot import api
from bot.collector import Collector
from bot.connections import Limits, within
from bot.core import settings as all_settings
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Status
from bot.core.ledger import Answer, Delivery, Ledger, open_ledger
from bot.core.settings import Settings
from bot.keeper import Keeper
from bot.logs import Logs
from bot.problems import HANDLERS
from bot.receiver import PATH, Receiver
from tests.builders import START, ZERO, built, commit
from tests.conftest import S3
from tests.standin import push_payload, sign

SECRET = "It's a Secret to Everybody"
TOKEN = "the-token-of-this-house"
LIMITS = Limits(connections=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontDoor:
    """The receiver and the API under a prefix of their own. `client` bears the token."""

    ledger: Ledger
    bucket: Bucket
    settings: Settings
    app: Starlette
    client: httpx2.AsyncClient

    async def send(
        self,
        body: bytes | Mapping[str, Any],
        *,
        event: str = "push",
        guid: str = "",
        secret: str = SECRET,
        headers: Mapping[str, str | None] | None = None,
    ) -> httpx2.Response:
        """Delivers a signed event as GitHub does; a header given as None is left out."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = signed(raw, event=event, guid=guid, secret=secret) | dict(headers or {})
        return await self.client.post(
            PATH, content=raw, headers={k: v for k, v in told.items() if v is not None}
        )

    async def push(self, after: str, **more: Any) -> str:
        """Delivers a push of the commit that `after` names; the deployment's id."""
        answer = await self.send(a_payload(after, **more))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["deployment"])

    async def pushed(self, after: str, **more: Any) -> Answer:
        """The same, as the builders take it."""
        return Answer(outcome="recorded", deployment=await self.push(after, **more))

    async def built(self, after: str, *, status: Status = Status.READY, **more: Any) -> Deployment:
        """The same, taken through both stages to its end."""
        return await built(self.ledger, await self.pushed(after, **more), status=status)

    async def record(self, id_: str) -> Deployment:
        """The record as it is now."""
        found = await self.ledger.view.deployment(id_)
        assert found is not None
        return found

    async def delivery(self, guid: str) -> Delivery:
        """What is noted of a delivery."""
        found = await self.ledger.view.delivery(guid)
        assert found is not None
        return found

    async def count(self) -> int:
        """How many deployments there are, at most 100."""
        return len((await self.ledger.view.deployments(limit=100))[0])


def signed(
    body: bytes, *, event: str = "push", guid: str = "", secret: str = SECRET
) -> dict[str, str | None]:
    """The headers of a delivery."""
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": guid or secrets.token_hex(8),
        "X-Hub-Signature-256": sign(body, secret),
    }


def a_payload(
    after: str,
    *,
    before: str = ZERO,
    branch: str = "main",
    repository: str = "acme/site",
    repository_id: int = 7,
    at: int = 0,
    **more: Any,
) -> dict[str, Any]:
    """A push event. `after` and `before` name commits (or are zero); `at` is seconds past START."""
    return push_payload(
        repository=repository,
        repository_id=repository_id,
        ref=f"refs/heads/{branch}",
        before=before if before == ZERO else commit(before),
        after=after if after == ZERO else commit(after),
        pushed_at=START + at,
        **more,
    )


@cache
def _bucket(name: str, endpoint_url: str, access_key: str, secret_key: str) -> Bucket:
    """One for all: to make a client of boto3's takes longer than most tests do."""
    credentials = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
    return Bucket(name, prefix="doors", endpoint_url=endpoint_url, credentials=credentials)


@asynccontextmanager
async def a_front_door(
    valkey: str, s3: S3, prefix: str, directory: Path, **changes: object
) -> AsyncIterator[FrontDoor]:
    """A front door; `changes` are made to the settings."""
    settings = all_settings.load(
        {
            "PUSHLANE_DATA_DIR": str(directory),
            "PUSHLANE_REDIS_URL": valkey,
            "PUSHLANE_REDIS_PREFIX": f"{prefix}:",
            "PUSHLANE_S3_BUCKET": s3.bucket,
            "PUSHLANE_S3_ENDPOINT_URL": s3.endpoint_url,
            "PUSHLANE_WEBHOOK_SECRET": SECRET,
            "PUSHLANE_API_TOKEN": TOKEN,
        }
    )
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    ledger = open_ledger(
        settings.redis_url, prefix=settings.redis_prefix, lease_seconds=3, max_attempts=3
    )
    bucket = _bucket(s3.bucket, s3.endpoint_url, s3.access_key, s3.secret_key)
    collector = Collector(ledger, bucket, delay_seconds=60)
    keeper = Keeper(ledger, bucket)
    app = Starlette(
        routes=[
            Receiver(ledger, settings).route,
            api.mount(api.Front(ledger, Logs(ledger, bucket), settings, collector, keeper)),
        ],
        exception_handlers=HANDLERS,
    )
    following = asyncio.create_task(ledger.changes.follow())
    try:
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://pushlane.test",
            headers={"Authorization": f"Bearer {TOKEN}"},
        ) as client:
            yield FrontDoor(ledger=ledger, bucket=bucket, settings=settings, app=app, client=client)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await ledger.aclose()


def is_problem(answer: httpx2.Response, status: int, code: str) -> bool:
    """Whether an answer is RFC 9457's, of this status and code, and says what is wrong."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "code"}
    assert found["type"] == "about:blank"
    assert found["title"]
    assert found["detail"]
    assert found["status"] == answer.status_code
    return bool((answer.status_code, found["code"]) == (status, code))


@asynccontextmanager
async def served(app: ASGIApp, *, limits: Limits = LIMITS) -> AsyncIterator[str]:
    """The application on a real server; its base URL."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        http=within(limits),
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def started() -> bool:
        return server.started

    try:
        await until(started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    """Waits for what is to become true."""
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)
