"""What the tests of one adapter against its real server share."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from bot.core.bucket import Bucket
from bot.core.ledger import Ledger, open_ledger
from tests.apistub import TOKEN, Pushlane, Stub, serve, tell
from tests.conftest import S3
from tests.onlookers import SECRET, Receiver, client_of, receiving
from tests.sources import Quarry, a_quarry
from tests.standin import StandIn
from worker.sandbox import Sandbox, Workspace


@pytest.fixture(params=["valkey", "debian_redis"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Each of the two servers that the ledger must do on."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[Ledger]:
    """A ledger under a prefix of its own."""
    prefix = f"{secrets.token_hex(6)}:"
    found = open_ledger(redis_url, prefix=prefix, lease_seconds=30, max_attempts=3)
    yield found
    await found.aclose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the stand-in's webhook leads to."""
    with receiving() as found:
        yield found


@pytest.fixture
async def github(tmp_path: Path, receiver: Receiver) -> AsyncIterator[StandIn]:
    """A GitHub of this test's own, which tells the receiver of each push."""
    async with StandIn(tmp_path / "github") as standin:
        standin.hook.url, standin.hook.secret = receiver.url, SECRET
        yield standin


@pytest.fixture
async def client(github: StandIn) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of that GitHub's API, let in by its token."""
    async with client_of(github) as found:
        yield found


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox whose scratch directory lies where only its owner may enter."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    made = Sandbox(
        kind="bubblewrap", scratch=closed / "scratch", egress="public", environment=os.environ
    )
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def workspace(sandbox: Sandbox) -> AsyncIterator[Workspace]:
    """A workspace of that sandbox."""
    async with sandbox.workspace() as made:
        yield made


@pytest.fixture
async def bucket(seaweedfs: S3, prefix: str) -> AsyncIterator[Bucket]:
    """The bucket, under a prefix of this test's own."""
    found = Bucket(
        seaweedfs.bucket,
        prefix=f"{prefix}/",
        endpoint_url=seaweedfs.endpoint_url,
        credentials={
            "aws_access_key_id": seaweedfs.access_key,
            "aws_secret_access_key": seaweedfs.secret_key,
        },
    )
    yield found
    await found.aclose()


@pytest.fixture
async def quarry(github: StandIn, bucket: Bucket, tmp_path: Path) -> AsyncIterator[Quarry]:
    """Sources of that GitHub, with mirrors of their own."""
    async with a_quarry(github, bucket, tmp_path) as found:
        yield found


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server that answers as the API documents; the command is signed in there."""
    with serve() as made:
        monkeypatch.setenv("PUSHLANE_URL", made.url)
        monkeypatch.setenv("PUSHLANE_TOKEN", TOKEN)
        yield made


@pytest.fixture
def pushlane(stub: Stub, capsys: pytest.CaptureFixture[str]) -> Pushlane:
    """The command, in this process."""
    return lambda *words: tell(capsys, *words)
