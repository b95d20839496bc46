"""A house whose processes die at a named point when they are told to."""

from __future__ import annotations

import secrets
import signal
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Final

import httpx2
from redis.asyncio import Redis

from bot.core import keys
from tests.acceptance.house import House, a_house, until
from tests.conftest import S3
from tests.failing.__main__ import QUICK
from tests.failing.points import ORDERS
from tests.standin import StandIn

LEASE_SECONDS: Final = 2
_EMPTY: Final = ("waiting", "active", "delayed", "rung", "unreported", "unsaved")


class FailingHouse(House):
    """Its processes obey orders to die."""

    def _module(self, name: str) -> tuple[str, ...]:
        return ("tests.failing", name)

    @property
    def orders(self) -> Path:
        """Where the order for each process lies."""
        return Path(self.environ[ORDERS])

    def order(self, module: str, point: str) -> None:
        """The process is to die at this point, once."""
        fresh = self.orders / f".{module}"
        fresh.write_text(point)
        fresh.replace(self.orders / module)

    def process(self, module: str) -> subprocess.Popen[bytes]:
        """The bot, or the newest worker."""
        found = self.bot if module == "bot" else self.workers[-1]
        assert found is not None
        return found

    async def died(self, module: str, point: str, *, seconds: float = 40) -> None:
        """Waits until the process is dead by its own hand."""

        async def dead() -> bool:
            return self.process(module).poll() is not None

        await until(
            dead,
            seconds=seconds,
            why=lambda: f"{module} never came to {point!r}\n{self.log(module)[-3000:]}",
        )
        assert self.process(module).returncode == -signal.SIGKILL, self.log(module)[-3000:]
        assert not (self.orders / module).exists()

    async def restart(self, module: str) -> None:
        """What a supervisor does."""
        if module == "worker":
            self.workers.remove(self.process(module))
            self.start_worker()
            return
        self.start_bot()
        await self.until_ready()

    async def revive(self) -> None:
        """Nobody is dead or frozen any more, and no order is left."""
        for module in ("bot", "worker"):
            (self.orders / module).unlink(missing_ok=True)
            if self.process(module).poll() is not None:
                await self.restart(module)
            self.process(module).send_signal(signal.SIGCONT)
        self.github.faults.clear()

    async def make_good(self) -> None:
        """What GitHub shows as failed is delivered again, as a person would."""
        newest = {each.guid: each for each in self.github.deliveries}
        for guid, delivery in newest.items():
            if not 200 <= delivery.status_code < 300:
                again = await self.github.redeliver(guid)
                assert 200 <= again.status_code < 300, again

    async def ask(self, path: str, body: dict[str, str] | None, key: str) -> httpx2.Response | None:
        """One POST; None when the bot went away before it answered."""
        try:
            headers = {"Idempotency-Key": key}
            return await self.call("POST", path, json=body, headers=headers)
        except httpx2.TransportError:
            return None

    async def at_rest(self) -> None:
        """Waits until every index is empty."""
        prefix = self.environ["PUSHLANE_REDIS_PREFIX"]
        left: dict[str, int] = {}
        redis = Redis.from_url(self.environ["PUSHLANE_REDIS_URL"])

        async def empty() -> bool:
            for name in _EMPTY:
                left[name] = int(await redis.zcard(keys.named(prefix, name)))
            for name in (keys.queue(prefix), keys.high(prefix), keys.fetch(prefix)):
                left[name] = int(await redis.llen(name))
            return not any(left.values())

        try:
            await until(empty, seconds=30, why=lambda: str(left))
        finally:
            await redis.aclose()

    async def begun(self, id_: str) -> None:
        """Waits until the build says that it has begun."""

        async def building() -> bool:
            return "begun" in (await self.build_log(id_)).splitlines()

        await until(building, seconds=30, why=lambda: self.log("worker")[-3000:])


def a_failing_house(
    directory: Path, *, redis_url: str, s3: S3, github: StandIn, **settings: str
) -> FailingHouse:
    """A house with quick leases; nothing of it is started. `settings` are further variables."""
    orders = directory / "orders"
    orders.mkdir()
    made = a_house(
        directory,
        redis_url=redis_url,
        s3=s3,
        prefix=f"failing{secrets.token_hex(4)}",
        github=github,
        PUSHLANE_LEASE_SECONDS=str(LEASE_SECONDS),
        PUSHLANE_STOP_GRACE_SECONDS="0",
        # It may see to webhooks, too.
        PUSHLANE_GITHUB_TOKEN=github.access.allow(scopes=["repo", "admin:repo_hook"]),
        **{ORDERS: str(orders), QUICK: "1", **settings},
    )
    return FailingHouse(**{each.name: getattr(made, each.name) for each in fields(made)})
