"""A worker's parts on real servers, and sources to build, for the tests of the worker."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import zstandard

from bot.core import settings as all_settings
from bot.core.bucket import Bucket
from bot.core.deployment import Deployment, Push, Stage, Status
from bot.core.ledger import Answer, Ledger, Request, open_ledger
from bot.core.secrets import Keyring
from bot.core.settings import Settings
from tests.builders import a_push, claimed
from tests.conftest import S3
from worker.build import Workshop
from worker.caches import Store
from worker.loop import Worker
from worker.output import Limits
from worker.publish import Publisher
from worker.sandbox import Sandbox

LINK = "link:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All parts of a worker under a prefix of their own."""

    ledger: Ledger
    bucket: Bucket
    settings: Settings
    sandbox: Sandbox
    worker: Worker

    async def queued(
        self, files: Mapping[str, str | bytes], push: Push | None = None
    ) -> Deployment:
        """Records a push whose commit holds `files`, and takes it through the fetching stage."""
        push = push or a_push(secrets.token_hex(4))
        return await self._fetched(files, await self.ledger.records.record(push))

    async def held(self, files: Mapping[str, str | bytes], push: Push | None = None) -> Deployment:
        """The same, claimed for building."""
        found = await self.queued(files, push)
        return await claimed(self.ledger, found.id, Stage.BUILD)

    async def asked(self, files: Mapping[str, str | bytes], request: Request) -> Deployment:
        """The same for what a person asks for."""
        found = await self._fetched(files, await self.ledger.records.request(request))
        return await claimed(self.ledger, found.id, Stage.BUILD)

    async def _fetched(self, files: Mapping[str, str | bytes], answer: Answer) -> Deployment:
        held = await claimed(self.ledger, answer.deployment, Stage.FETCH)
        name = f"sources/7/{secrets.token_hex(20)}.tar.zst"
        await self.bucket.put(name, archive(files), content_type="application/zstd")
        return await self.ledger.claims.advance(
            held, Status.QUEUED, source=name, commit=held.commit or secrets.token_hex(20)
        )

    async def record(self, id_: str) -> Deployment:
        """The record as it is now."""
        found = await self.ledger.view.deployment(id_)
        assert found is not None
        return found

    async def log(self, deployment: Deployment) -> str:
        """The live log of the newest claim."""
        claim = (await self.record(deployment.id)).claims[-1]
        lines = await self.ledger.logs.read(deployment.id, claim, limit=100_000)
        return "\n".join(line.text for line in lines)


def share_toolchains(directory: Path) -> None:
    """Lets a data directory use the tools that other tests, and other processes, have fetched."""
    shared = Path(tempfile.gettempdir(), f"pushlane-toolchains-{os.getuid()}")
    shared.mkdir(mode=0o700, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / "toolchains"
    if not link.exists():
        link.symlink_to(shared)


@asynccontextmanager
async def a_bench(
    valkey: str,
    s3: S3,
    prefix: str,
    directory: Path,
    *,
    output_seconds: float = 600.0,
    environment: Mapping[str, str] = os.environ,
    **changes: object,
) -> AsyncIterator[Bench]:
    """A bench; `environment` is what its builds are told from, `changes` are to the settings."""
    share_toolchains(directory)
    settings = all_settings.load(
        {
            "PUSHLANE_DATA_DIR": str(directory),
            "PUSHLANE_REDIS_URL": valkey,
            "PUSHLANE_REDIS_PREFIX": f"{prefix}:",
            "PUSHLANE_S3_PREFIX": prefix,
            "PUSHLANE_S3_BUCKET": s3.bucket,
            "PUSHLANE_S3_ENDPOINT_URL": s3.endpoint_url,
        }
    )
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    ledger = open_ledger(
        valkey, prefix=settings.redis_prefix, lease_seconds=settings.lease_seconds, max_attempts=3
    )
    bucket = Bucket(
        s3.bucket,
        prefix=settings.s3_prefix,
        endpoint_url=s3.endpoint_url,
        credentials={"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key},
    )
    sandbox = Sandbox(
        kind=settings.sandbox,
        scratch=directory / "scratch",
        egress=settings.egress,
        environment=environment,
    )
    await sandbox.start()
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    limits = Limits(
        megabytes=settings.build_output_mb,
        files=settings.build_output_files,
        seconds=output_seconds,
    )
    try:
        yield Bench(
            ledger=ledger,
            bucket=bucket,
            settings=settings,
            sandbox=sandbox,
            worker=Worker(
                ledger=ledger,
                shop=Workshop(
                    settings=settings,
                    sandbox=sandbox,
                    bucket=bucket,
                    environment=os.environ,
                    store=Store(directory / "caches", most_bytes=settings.cache_mb * 1_000_000),
                ),
                publisher=Publisher(
                    bucket, ledger.aliases, ledger.collection, spool=spool, limits=limits
                ),
                secrets=("s3cr3t-of-the-house",),
                keyring=Keyring(settings.secret_key),
            ),
        )
    finally:
        await sandbox.aclose()
        await ledger.aclose()
        await bucket.aclose()


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A tar.zst of `files`; a text that begins with `link:` becomes a symbolic link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.mtime = 1_790_000_000
            if isinstance(content, str) and content.startswith(LINK):
                member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix(LINK)
                tar.addfile(member)
                continue
            body = content.encode() if isinstance(content, str) else content
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return zstandard.compress(stream.getvalue())
