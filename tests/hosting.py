"""Real releases behind a real gateway, for its tests: published by hand, asked by HTTP."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from bot import connections
from bot.core import release
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Push, Stage, Status, branch_label, deployment_label
from bot.core.ledger import Ending, Ledger, open_ledger
from bot.core.release import Manifest
from bot.gateway import Gateway
from tests.builders import a_push, claimed, queued
from tests.conftest import S3
from worker.output import Limits, Output, walk
from worker.pack import pack

DOMAIN = "sites.test"
LIMITS = connections.Limits(connections=1000)
PAGE = "<!doctype html><title>Hi</title>" + "<p>Hello, hello, hello.</p>" * 300


class CountingBucket(Bucket):
    """A bucket that counts what it is asked for, by the object's name."""

    def __init__(self, s3: S3, prefix: str) -> None:
        super().__init__(
            s3.bucket,
            prefix=f"{prefix}/",
            endpoint_url=s3.endpoint_url,
            credentials={
                "aws_access_key_id": s3.access_key,
                "aws_secret_access_key": s3.secret_key,
            },
        )
        self.reads: Counter[str] = Counter()

    async def get(self, name: str) -> bytes:
        self.reads[name] += 1
        return await super().get(name)

    async def get_range(self, name: str, *, offset: int, length: int) -> bytes:
        self.reads[name] += 1
        return await super().get_range(name, offset=offset, length=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """A ledger and a bucket of one test's own, a gateway over them, and a client of it."""

    ledger: Ledger
    bucket: CountingBucket
    gateway: Gateway
    client: httpx2.AsyncClient
    directory: Path

    async def publish(
        self,
        files: Mapping[str, str | bytes],
        *,
        push: Push | None = None,
        spa: bool = False,
    ) -> Deployment:
        """Brings a push live whose output is `files`, packed as the worker packs."""
        answer = await self.ledger.records.record(push or a_push(secrets.token_hex(4)))
        await queued(self.ledger, answer)
        held = await claimed(self.ledger, answer.deployment, Stage.BUILD)
        held = await self.ledger.claims.advance(held, Status.PUBLISHING)
        name = await self.write(held, files, spa=spa)
        return await self.ledger.claims.finish(held, Ending(status=Status.READY, release=name))

    async def write(
        self, held: Deployment, files: Mapping[str, str | bytes], *, spa: bool = False
    ) -> str:
        """Writes the release of `files` into the bucket; its manifest's name."""
        root = self.directory / f"output-{held.claim}"
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        output = Output(root=root, parts=())
        found, _ = walk(output, Limits(megabytes=1000, files=100_000))
        made = pack(output, found, known={}, spool=self.directory, check=lambda: None)
        made.file.seek(0)
        packed = release.pack_name("7", held.id, held.claim)
        await self.bucket.put(packed, made.file.read(), content_type=release.PACK_TYPE)
        made.file.close()
        manifest = Manifest(
            deployment=held.id,
            claim=held.claim,
            project=held.project,
            commit=held.commit,
            created_at=1,
            packs=(packed,),
            files=made.files,
            contents=made.new,
            spa=spa,
        )
        name = release.manifest_name("7", held.id, held.claim)
        await self.bucket.put(
            name, release.encode(manifest), content_type="application/octet-stream"
        )
        return name

    async def get(
        self, label: str, path: str = "/", *, method: str = "GET", **headers: str
    ) -> httpx2.Response:
        """What a visitor gets; `headers` are written with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(
            method,
            f"http://{label}.{DOMAIN}{path}",
            headers={"accept-encoding": "identity", **named},
        )


def labels(deployment: Deployment) -> tuple[str, str, str]:
    """The labels of a deployment: production, its branch, its own."""
    return (
        deployment.project,
        branch_label(deployment.branch, deployment.project),
        deployment_label(deployment.id, deployment.project),
    )


@asynccontextmanager
async def a_hosting(
    valkey: str, s3: S3, prefix: str, directory: Path, **options: Any
) -> AsyncIterator[Hosting]:
    """A hosting whose gateway follows the ledger; `options` are the gateway's."""
    ledger = open_ledger(valkey, prefix=f"{prefix}:")
    bucket = CountingBucket(s3, prefix)
    made = a_gateway(ledger, bucket, directory / "cache", **options)
    async with following(ledger, made), a_client(made) as client:
        try:
            yield Hosting(
                ledger=ledger, bucket=bucket, gateway=made, client=client, directory=directory
            )
        finally:
            await made.aclose()
            await bucket.aclose()
    await ledger.aclose()


def a_gateway(ledger: Ledger, bucket: Bucket, cache: Path, **options: Any) -> Gateway:
    """A gateway, as another process would make it."""
    return Gateway(
        **{
            "aliases": ledger.aliases,
            "changes": ledger.changes,
            "bucket": bucket,
            "sites_domain": DOMAIN,
            "cache_dir": cache,
            **options,
        }
    )


def a_client(gateway: ASGIApp) -> httpx2.AsyncClient:
    """A client that calls the application itself."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=gateway))


@asynccontextmanager
async def following(ledger: Ledger, gateway: Gateway) -> AsyncIterator[None]:
    """What a process does beside its requests, while the body lasts."""
    beside = [
        asyncio.create_task(ledger.changes.follow()),
        asyncio.create_task(gateway.follow()),
    ]
    try:
        yield
    finally:
        for each in beside:
            each.cancel()
        await asyncio.gather(*beside, return_exceptions=True)


@asynccontextmanager
async def served(app: ASGIApp, *, limits: connections.Limits = LIMITS) -> AsyncIterator[int]:
    """The port on loopback under which uvicorn serves the application, in this loop."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        http=connections.within(limits),
        log_config=None,
        access_log=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield listener.getsockname()[1]
    finally:
        await server.shutdown(sockets=[listener])
