"""All that stands in the storm: engines, bots, workers, the stand-in, and a proxy on each link."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bot.embedded import Server
from bot.embedded.ports import kept_ports
from bot.embedded.seaweedfs import start_seaweedfs
from bot.embedded.valkey import valkey
from tests.chaos.proxy import Address, Proxy
from tests.chaos.slots import Slot
from tests.chaos.weather import Weather
from tests.failing.mutants import MUTANT
from tests.failing.points import ORDERS
from tests.standin import StandIn

PREFIX: Final = "storm"
LEASE_SECONDS: Final = 3
MAX_ATTEMPTS: Final = 5
GRACE_SECONDS: Final = 2


@dataclass(slots=True, kw_only=True)
class Fleet:
    """The processes and the links between them. Made by `set_sail`."""

    directory: Path
    weather: Weather
    github: StandIn
    redis: Server
    s3: Server
    bots: list[Slot] = field(default_factory=list)
    workers: list[Slot] = field(default_factory=list)
    links: dict[str, dict[str, Proxy]] = field(default_factory=dict)
    """By slot: `redis`, `s3` and (a bot's) `github`."""
    front: Proxy
    secrets: Mapping[str, str]
    """By name: what may be seen nowhere."""
    client: httpx2.AsyncClient
    keeping: list[asyncio.Task[None]] = field(default_factory=list)
    turn: int = 0

    @property
    def slots(self) -> list[Slot]:
        """Bots and workers."""
        return [*self.bots, *self.workers]

    @property
    def proxies(self) -> list[Proxy]:
        """Every link."""
        return [*(proxy for links in self.links.values() for proxy in links.values()), self.front]

    @property
    def url(self) -> str:
        """Where GitHub, people and visitors come in."""
        return f"http://127.0.0.1:{self.front.port}"

    def bots_in_turn(self) -> Sequence[Address]:
        """Where the front door leads: to one bot after another, past those that are not up."""
        self.turn += 1
        ready = [slot for slot in self.bots if slot.up] or self.bots
        first = self.turn % len(ready)
        return [("127.0.0.1", slot.port) for slot in (*ready[first:], *ready[:first])]

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """One call of the API, with the token."""
        told = {"Authorization": f"Bearer {self.secrets['api token']}", **(headers or {})}
        return await self.client.request(method, self.url + path, headers=told, **more)

    async def page(self, label: str, path: str = "/", *, port: int = 0) -> httpx2.Response:
        """A page of the site under `label`, by the front door or by one bot's own."""
        where = f"http://127.0.0.1:{port or self.front.port}"
        headers = {"Host": f"{label}.localhost:{self.front.port}"}
        return await self.client.get(where + path, headers=headers)

    def direct_redis(self) -> Redis:
        """A client past all proxies."""
        return Redis.from_url(
            self.redis.environ["PUSHLANE_REDIS_URL"],
            decode_responses=True,
            socket_timeout=5,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )

    def start(self) -> None:
        """Starts every process, and keeps each alive."""
        self.keeping = [asyncio.create_task(slot.keep(), name=slot.name) for slot in self.slots]

    async def until_up(self, *, seconds: float = 90.0) -> None:
        """Waits until every process has come up."""
        end = time.time() + seconds
        while not all(slot.up for slot in self.slots):
            assert time.time() < end, [slot.name for slot in self.slots if not slot.up]
            for keeping in self.keeping:
                if keeping.done():
                    keeping.result()
            await asyncio.sleep(0.05)

    async def kill_redis(self, *, seconds: float) -> None:
        """kill -9, and the start again after so long."""
        assert self.redis.process is not None
        with self.weather.spell("redis down"):
            self.redis.process.kill()
            await self.redis.process.wait()
            await asyncio.sleep(seconds)
            self.redis = await self.redis.start()

    async def close(self) -> None:
        """Ends everything."""
        await asyncio.gather(*(slot.stop() for slot in self.slots))
        for keeping in self.keeping:
            keeping.cancel()
        await asyncio.gather(*self.keeping, return_exceptions=True)
        await self.client.aclose()
        for proxy in self.proxies:
            await proxy.close()
        await self.github.__aexit__(None, None, None)
        await asyncio.gather(self.redis.stop(), self.s3.stop(seconds=8))


async def set_sail(directory: Path, *, bots: int, workers: int, mutant: str = "") -> Fleet:
    """Engines, stand-in, proxies and slots; the processes are not started yet.

    With `mutant` the processes lack one rule of the protocol; without, they are the real ones.
    """
    (directory / "logs").mkdir(parents=True)
    redis_password, s3_key = secrets.token_hex(12), secrets.token_hex(20)
    redis = await valkey(directory / "valkey", password=redis_password, port=0).start()
    s3 = await start_seaweedfs(
        directory / "seaweedfs",
        access_key=secrets.token_hex(10),
        secret_key=s3_key,
        bucket="pushlane-storm",
    )
    github = StandIn(directory / "github")
    github.access.limit = 10_000_000
    await github.__aenter__()
    fleet = Fleet(
        directory=directory,
        weather=Weather(),
        github=github,
        redis=redis,
        s3=s3,
        # Called when there are connections: the fleet that it needs is made here.
        front=Proxy("front", lambda: fleet.bots_in_turn(), http=True),  # noqa: PLW0108
        secrets={
            "webhook secret": secrets.token_hex(16),
            "api token": secrets.token_hex(16),
            "secret key": secrets.token_hex(16),
            "github token": github.token,
            "redis password": redis_password,
            "s3 key": s3_key,
        },
        client=httpx2.AsyncClient(
            trust_env=False, timeout=15, limits=httpx2.Limits(max_keepalive_connections=0)
        ),
    )
    await fleet.front.start()
    github.hook.url = f"{fleet.url}/webhooks/github"
    github.hook.secret = fleet.secrets["webhook secret"]
    names = [*(f"bot-{n}" for n in range(bots)), *(f"worker-{n}" for n in range(workers))]
    ports = kept_ports(directory / "ports.json", [n for n in names if n.startswith("bot")])
    for name in names:
        module = name.partition("-")[0]
        await _add_links(fleet, name)
        slot = Slot(
            name=name,
            module=module,
            argv=("-m", "tests.failing", module) if mutant else ("-m", module),
            environ={
                **_environ(fleet, name, port=ports.get(name, 0)),
                **({MUTANT: mutant, ORDERS: str(directory)} if mutant else {}),
            },
            directory=directory,
            weather=fleet.weather,
            port=ports.get(name, 0),
        )
        (fleet.bots if module == "bot" else fleet.workers).append(slot)
    return fleet


async def _add_links(fleet: Fleet, name: str) -> None:
    redis = _address(fleet.redis.environ["PUSHLANE_REDIS_URL"])
    s3 = _address(fleet.s3.environ["PUSHLANE_S3_ENDPOINT_URL"])
    links = {
        "redis": Proxy(f"{name} redis", lambda: [redis]),
        "s3": Proxy(f"{name} s3", lambda: [s3], http=True),
    }
    if name.startswith("bot"):
        github = _address(fleet.github.url)
        links["github"] = Proxy(f"{name} github", lambda: [github], http=True)
    for proxy in links.values():
        await proxy.start()
    fleet.links[name] = links


def _environ(fleet: Fleet, name: str, *, port: int) -> dict[str, str]:
    links, number = fleet.links[name], int(name.partition("-")[2])
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PUSHLANE_", "AWS_", "PYTEST_", "PYTHONDONT")) and key != "REDIS_URL"
    }
    password = fleet.secrets["redis password"]
    environ = {
        **inherited,
        **fleet.s3.environ,
        "NO_PROXY": "127.0.0.1,localhost",
        "PUSHLANE_DATA_DIR": str(fleet.directory / name),
        "PUSHLANE_REDIS_URL": f"redis://:{password}@127.0.0.1:{links['redis'].port}/0",
        "PUSHLANE_REDIS_PREFIX": f"{PREFIX}:",
        "PUSHLANE_S3_PREFIX": PREFIX,
        "PUSHLANE_S3_ENDPOINT_URL": f"http://127.0.0.1:{links['s3'].port}",
        "PUSHLANE_PUBLIC_URL": f"http://localhost:{fleet.front.port}",
        "PUSHLANE_SITES_DOMAIN": f"localhost:{fleet.front.port}",
        "PUSHLANE_WEBHOOK_SECRET": fleet.secrets["webhook secret"],
        "PUSHLANE_API_TOKEN": fleet.secrets["api token"],
        "PUSHLANE_SECRET_KEY": fleet.secrets["secret key"],
        "PUSHLANE_LEASE_SECONDS": str(LEASE_SECONDS),
        "PUSHLANE_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "PUSHLANE_STOP_GRACE_SECONDS": str(GRACE_SECONDS),
        # Of the workers every other one builds without a sandbox: that is a kind of its own.
        "PUSHLANE_SANDBOX": "none" if number % 2 else "bubblewrap",
    }
    if port:
        environ |= {
            "PUSHLANE_PORT": str(port),
            "PUSHLANE_GITHUB_URL": f"http://127.0.0.1:{links['github'].port}",
            "PUSHLANE_GITHUB_API_URL": f"http://127.0.0.1:{links['github'].port}/api/v3",
            "PUSHLANE_GITHUB_TOKEN": fleet.secrets["github token"],
            "PUSHLANE_CATCH_UP_SECONDS": "12",
        }
    return environ


def _address(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port
