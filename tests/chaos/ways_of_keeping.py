"""The ways past the points of what keeps the ledger: restoring, collecting, catching up."""

from __future__ import annotations

import secrets
from typing import Any, cast

from redis.asyncio import Redis

from tests.acceptance.house import Record, own_label, until
from tests.chaos.ways import Asked, Way, bucket_of


class Lost(Way):
    """Redis is emptied under the running processes, and its bot dies while it restores."""

    count = 2

    async def begin(self) -> None:
        await super().begin()
        await self.push()
        self.first = await self.house.ready(self.sha)
        await self.house.at_rest()

    async def go(self) -> None:
        environ = self.house.environ
        redis = cast(Any, Redis.from_url(environ["PUSHLANE_REDIS_URL"]))
        try:
            found = [key async for key in redis.scan_iter(f"{environ['PUSHLANE_REDIS_PREFIX']}*")]
            await redis.delete(*found)
        finally:
            await redis.aclose()

    async def mend(self) -> None:
        await self.house.shows(self.first["project"], self.words, seconds=30)
        assert (await self.house.record(self.first["id"]))["status"] == "ready"
        self.words = secrets.token_hex(6)
        await self.push()


class Collect(Asked):
    """A person makes room: of three releases of a project the newest is kept."""

    count = 3
    is_due = False

    async def begin(self) -> None:
        await super().begin()
        self.older: list[Record] = []
        for _ in range(3):
            self.words = secrets.token_hex(6)
            await self.push()
            self.older.append(await self.house.ready(self.sha))
        self.older.pop()
        await self.house.at_rest()
        if self.is_due:
            await self._collected(condemned=True)

    def path(self) -> tuple[str, dict[str, str] | None]:
        return "/api/v1/gc", None

    async def mend(self) -> None:
        await self._collected(condemned=False)

    async def _collected(self, *, condemned: bool) -> None:
        """Collects until the older releases are condemned, or are deleted."""
        number = self.house.github.repository(self.name).id
        left = 0 if not condemned else 3

        async def done() -> bool:
            answer = await self.house.call("POST", "/api/v1/gc")
            assert answer.status_code in (200, 409), answer.text
            async with bucket_of(self.house) as bucket:
                there = len(await bucket.list(f"releases/{number}/"))
            return answer.is_success and (condemned or there == left + 1)

        await until(done, seconds=30, why=lambda: self.house.log("bot")[-3000:])

    async def right(self, *, seconds: float = 60) -> Record:
        for each in self.older:
            assert (await self.house.get(own_label(each))).status_code == 410
        return await super().right(seconds=seconds)


class CollectWhatIsDue(Collect):
    """The same, when the older ones are condemned already."""

    is_due = True


class Untold(Way):
    """GitHub never tells of a push: a bot that starts finds it, and dies over that."""

    count = 2

    async def begin(self) -> None:
        await super().begin()
        await self.push()
        await self.house.ready(self.sha)
        await self.house.at_rest()
        self.words = secrets.token_hex(6)

    async def go(self) -> None:
        house = self.house
        house.github.hook.enabled = False
        try:
            await self.push()
        finally:
            house.github.hook.enabled = True
        await self.restart()

    async def restart(self) -> None:
        house = self.house
        house.process("bot").kill()
        house.process("bot").wait()
        # Without the order it has died where it was told to, in a round of its own.
        if (house.orders / "bot").exists():
            house.start_bot()

    async def mend(self) -> None:
        """It is found by the next bot."""


class Missed(Untold):
    """Nobody answers when GitHub tells of it: it is asked to deliver once more."""

    async def go(self) -> None:
        hook = self.house.github.hook
        url, hook.url = hook.url, "http://127.0.0.1:1/webhooks/github"
        try:
            await self.push()
        finally:
            hook.url = url
        await self.restart()
