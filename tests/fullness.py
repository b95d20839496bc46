"""Servers that have no room: a Redis at its limit, and an S3 that takes nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.front import served

REFUSALS: Final = {"InsufficientStorage": 507, "QuotaExceeded": 403}
"""How S3 servers say it: SeaweedFS and MinIO by a code of their own, others by the status."""
_METHODS: Final = ["GET", "HEAD", "PUT", "POST", "DELETE"]
_OWN_BUSINESS: Final = frozenset({"connection", "transfer-encoding", "content-length"})


@dataclass(slots=True)
class Quota:
    """What stands before an S3. While `refusal` is set, nothing is written."""

    url: str
    refusal: str = ""
    refused: int = 0

    def answer(self) -> Response:
        """S3's error document."""
        self.refused += 1
        body = f"<Error><Code>{self.refusal}</Code><Message>no room</Message></Error>"
        return Response(body, status_code=REFUSALS[self.refusal], media_type="application/xml")


@asynccontextmanager
async def with_a_quota(endpoint_url: str) -> AsyncIterator[Quota]:
    """An S3 whose writes can be refused, in front of the one at `endpoint_url`."""
    quota = Quota("")
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:

        async def hand_on(request: Request) -> Response:
            body = await request.body()
            if quota.refusal and request.method in ("PUT", "POST"):
                return quota.answer()
            # The host is part of what was signed.
            answer = await client.request(
                request.method,
                f"{endpoint_url}{request.scope['raw_path'].decode()}",
                params=request.url.query,
                headers=request.headers.raw,
                content=body,
            )
            response = Response(answer.content, status_code=answer.status_code)
            response.raw_headers = [
                (name, value)
                for name, value in answer.headers.raw
                if name.decode().lower() not in _OWN_BUSINESS
            ]
            if request.method != "HEAD":
                response.raw_headers.append((b"content-length", b"%d" % len(answer.content)))
            return response

        app = Starlette(routes=[Route("/{path:path}", hand_on, methods=_METHODS)])
        async with served(app) as url:
            quota.url = url
            yield quota


async def limit_memory(redis_url: str, *, bytes_: int) -> None:
    """Sets the server's maxmemory; 0 lifts it."""
    client: Any = Redis.from_url(redis_url)
    await client.config_set("maxmemory", str(bytes_))
    await client.aclose()
