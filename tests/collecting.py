"""Real releases, published as the worker publishes, and a collector over them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bot.collector import Collector, Retention, Tally
from bot.core import release
from bot.core.bucket import Bucket, Entry
from bot.core.deployment import Deployment, Push, Stage, Status
from bot.core.errors import Errored
from bot.core.lease import held as holding
from bot.core.ledger import Ledger
from bot.core.sitefile import Sitefile
from tests.builders import a_push, claimed
from tests.conftest import S3
from tests.hosting import CountingBucket, Hosting, a_hosting
from worker.build import Built
from worker.loop import Worker
from worker.output import Limits, Output
from worker.publish import Published, Publisher

LOG = b"a line\n"
SHARED = b"the same in every release " * 200


def page(name: str) -> str:
    """A page of its own for each name."""
    return f"<!doctype html><title>{name}</title>" + f"<p>{name}</p>" * 200


class FaultyBucket(CountingBucket):
    """A bucket that fails where a test says so."""

    def __init__(self, s3: S3, prefix: str) -> None:
        super().__init__(s3, prefix)
        self.breaks: Callable[[str, str], bool] = lambda _verb, _name: False
        """Asked before each call, with `get`, `delete` or `pages` and the name."""
        self.after: Callable[[str, str], Awaitable[None]] | None = None
        """Awaited after each deletion."""

    async def get(self, name: str) -> bytes:
        self._break("get", name)
        return await super().get(name)

    async def delete(self, name: str) -> None:
        self._break("delete", name)
        await super().delete(name)
        if self.after is not None:
            await self.after("delete", name)

    async def pages(self, prefix: str) -> AsyncIterator[tuple[Entry, ...]]:
        self._break("pages", prefix)
        async for page_ in super().pages(prefix):
            yield page_

    def _break(self, verb: str, name: str) -> None:
        if self.breaks(verb, name):
            raise Errored("S3 cannot be reached: a fault of the test", code="bucket_unreachable")


async def _unsaid(_: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Publishes outputs into a bucket and brings them live; `hosting` serves them."""

    hosting: Hosting
    worker: Worker

    @property
    def ledger(self) -> Ledger:
        return self.hosting.ledger

    @property
    def bucket(self) -> Bucket:
        return self.hosting.bucket

    async def publish(
        self, files: Mapping[str, str | bytes], push: Push | None = None
    ) -> Deployment:
        """Brings a push to its end, with a source and a log in the bucket."""
        held = await self.held(push)
        built, published = await self.published(held, files)
        return await self.accepted(held, built, published)

    async def pushed(self, *names: str, branch: str = "main") -> list[Deployment]:
        """A release for each name, one after another; all hold the same large file."""
        return [
            await self.publish(
                {"index.html": page(name), "shared.css": SHARED}, a_push(name, branch=branch)
            )
            for name in names
        ]

    async def shows(self, label: str, name: str) -> None:
        """A host shows the release of that name, byte for byte."""
        for path, body in (("/", page(name).encode()), ("/shared.css", SHARED)):
            for encoding in ("identity", "gzip"):
                answer = await self.hosting.get(label, path, accept_encoding=encoding)
                assert (answer.status_code, answer.content) == (200, body), (label, path)

    async def held(self, push: Push | None = None) -> Deployment:
        """A recorded push, fetched and claimed for building."""
        push = push or a_push(secrets.token_hex(4))
        answer = await self.ledger.records.record(push)
        fetching = await claimed(self.ledger, answer.deployment, Stage.FETCH)
        name = f"sources/7/{push.after:0<64}.tar.zst"
        await self.bucket.put(name, b"source", content_type="application/zstd")
        await self.ledger.claims.advance(fetching, Status.QUEUED, source=name)
        return await claimed(self.ledger, answer.deployment, Stage.BUILD)

    async def published(
        self, held: Deployment, files: Mapping[str, str | bytes]
    ) -> tuple[Built, Published]:
        """Publishes, compared with what production and the branch show; not accepted yet."""
        known = await self.worker.publisher.known(held)
        root = self.hosting.directory / f"output-{held.claim}"
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        output = Output(root=root, parts=())
        name = release.log_name(held.repository_key, held.id, held.claim)
        await self.bucket.put(name, LOG, content_type=release.PACK_TYPE)
        await self.ledger.claims.advance(held, Status.PUBLISHING)
        async with holding(self.ledger, held) as lease:
            published = await self.worker.publisher.publish(
                held, output, known=known, lease=lease, say=_unsaid
            )
        return Built(output=output, framework="", sitefile=Sitefile()), published

    async def accepted(self, held: Deployment, built: Built, published: Published) -> Deployment:
        """Ends it ready, as the worker does."""
        async with holding(self.ledger, held) as lease:
            ended = await self.worker._accepted(held, lease, built, published)
            lease.end("ended")
        return ended

    def collector(
        self, *, delay_seconds: float = 0, bucket: Bucket | None = None, **retention: int
    ) -> Collector:
        """A collector that keeps what `retention` says, by default next to nothing."""
        kept = {"production": 1, "branch": 0, "days": 0, **retention}
        return Collector(
            self.ledger,
            bucket or self.bucket,
            delay_seconds=delay_seconds,
            retention=Retention(**kept),
        )

    async def collect(self, **options: int) -> Tally:
        """Two rounds: one that condemns and one that deletes. The tally of the second."""
        collector = self.collector(**cast(Any, options))
        first = await collector.collect(dry_run=False)
        assert (first.stopped, first.complete) == ("", True)
        second = await collector.collect(dry_run=False)
        assert (second.stopped, second.complete) == ("", True)
        return second

    async def record(self, id_: str) -> Deployment:
        """The record as it is now."""
        found = await self.ledger.view.deployment(id_)
        assert found is not None
        return found

    async def names(self, kind: str) -> set[str]:
        """The objects of a kind that are in the bucket."""
        return set(await self.bucket.list(f"{kind}/"))

    async def packs_of(self, deployment: Deployment) -> set[str]:
        """The packs that a release names."""
        return set(release.packs_of(await self.bucket.get(deployment.release)))

    async def condemned(self) -> set[str]:
        """What is condemned now."""
        redis = cast(Any, self.ledger.connection.redis)
        prefix = self.ledger.connection.prefix
        return set(await redis.zrange(f"{prefix}{{build-queue}}:condemned", 0, -1))


@asynccontextmanager
async def a_press(valkey: str, s3: S3, prefix: str, directory: Path) -> AsyncIterator[Press]:
    """A press under a prefix of its own."""
    async with a_hosting(valkey, s3, prefix, directory) as hosting:
        publisher = Publisher(
            hosting.bucket,
            hosting.ledger.aliases,
            hosting.ledger.collection,
            spool=directory,
            limits=Limits(megabytes=1000, files=100_000),
        )
        worker = Worker(ledger=hosting.ledger, shop=cast(Any, None), publisher=publisher)
        yield Press(hosting=hosting, worker=worker)
