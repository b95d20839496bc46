"""How soon a moved alias is served, and what is while Redis is away."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from bot.core.ledger import Alias, Aliases, Ledger, open_ledger
from bot.gateway import Gateway, aliases
from tests.conftest import S3
from tests.hosting import DOMAIN, Hosting, a_client, a_gateway, a_hosting, following
from tests.relay import Relay, relayed


class CountingAliases(Aliases):
    """Aliases that count their reads, and let a test hold an answer back."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.connection)
        self.reads: Counter[str] = Counter()
        self.answers = asyncio.Event()
        self.answers.set()

    async def get(self, label: str) -> Alias | None:
        self.reads[label] += 1
        found = await super().get(label)
        await self.answers.wait()
        return found


@pytest.fixture
async def hosting(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> AsyncIterator[Hosting]:
    async with a_hosting(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def page(client: httpx2.AsyncClient, label: str) -> str:
    """The page of a site, or the status where there is none."""
    found = await client.get(f"http://{label}.{DOMAIN}/")
    return found.text if found.status_code == 200 else str(found.status_code)


async def until(true: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> float:
    """Asks again and again, 10 ms apart; the seconds until it was true."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.01)
    return time.monotonic() - begun


async def moved(hosting: Hosting, client: httpx2.AsyncClient) -> float:
    """Publishes twice while the site is asked for all the time.

    The seconds from the second end until it was seen.
    """
    label = (await hosting.publish({"index.html": "one"})).project

    async def shows_one() -> bool:
        return await page(client, label) == "one"

    async def shows_two() -> bool:
        return await page(client, label) == "two"

    await until(shows_one)
    seeing = asyncio.create_task(until(shows_two))
    begun = time.monotonic()
    await hosting.publish({"index.html": "two"})
    published = time.monotonic() - begun
    return await seeing - published


async def test_a_moved_alias_is_served_at_once(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that nothing but the announcement can be the cause.
    monkeypatch.setattr(aliases, "_RENEWED_SECONDS", 20.0)
    monkeypatch.setattr(aliases, "_TRUSTED_SECONDS", 20.0)
    assert await moved(hosting, hosting.client) < 1


async def test_it_is_served_within_a_second_by_a_process_that_hears_nothing(
    hosting: Hosting,
) -> None:
    deaf = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "other")
    async with a_client(deaf) as client:
        assert await moved(hosting, client) < 1
    await deaf.aclose()


async def test_it_is_served_within_a_second_when_the_subscription_is_half_dead(
    valkey: str, hosting: Hosting
) -> None:
    async with relayed(valkey) as (relay, through):
        listening = open_ledger(through, prefix=hosting.ledger.connection.prefix)
        half = a_gateway(
            hosting.ledger,
            hosting.bucket,
            hosting.directory / "other",
            changes=listening.changes,
        )
        async with following(listening, half), a_client(half) as client:
            assert await moved(hosting, client) < 1
            relay.silence()
            assert await moved(hosting, client) < 1
        await half.aclose()
        await listening.aclose()


async def test_a_rollback_is_served_at_once(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "_RENEWED_SECONDS", 20.0)
    monkeypatch.setattr(aliases, "_TRUSTED_SECONDS", 20.0)
    label = (await hosting.publish({"index.html": "one"})).project
    await hosting.publish({"index.html": "two"})

    async def shows_two() -> bool:
        return await page(hosting.client, label) == "two"

    async def shows_one() -> bool:
        return await page(hosting.client, label) == "one"

    await until(shows_two)
    await hosting.ledger.aliases.rollback(label)
    assert await until(shows_one) < 1


async def test_a_site_that_was_asked_for_too_early_is_served_when_it_is_there(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "_TRUSTED_SECONDS", 20.0)

    async def served() -> bool:
        return await page(hosting.client, "site") == "one"

    for _ in range(3):
        assert await page(hosting.client, "site") == "404"
    await hosting.publish({"index.html": "one"})
    assert await until(served) < 1


async def test_what_was_read_before_the_move_is_not_taken_for_fresh(hosting: Hosting) -> None:
    label = (await hosting.publish({"index.html": "one"})).project
    slow = CountingAliases(hosting.ledger)
    gateway = a_gateway(hosting.ledger, hosting.bucket, hosting.directory / "other", aliases=slow)
    with hosting.ledger.changes.listen("alias:") as listener:
        async with a_client(gateway) as client:
            beside = asyncio.create_task(gateway.follow())
            slow.answers.clear()
            early = asyncio.create_task(page(client, label))

            async def is_reading() -> bool:
                return slow.reads[label] == 1

            await until(is_reading)
            await hosting.publish({"index.html": "two"})
            while f"alias:{label}" not in await listener.next(seconds=5):
                pass
            await asyncio.sleep(0)  # the gateway, which listens too, has its turn
            slow.answers.set()
            assert await early == "one"
            assert await page(client, label) == "two"
            beside.cancel()
    await gateway.aclose()


async def test_a_site_that_is_asked_for_often_does_not_ask_redis_each_time(
    hosting: Hosting,
) -> None:
    label = (await hosting.publish({"index.html": "one"})).project
    counting = CountingAliases(hosting.ledger)
    gateway = a_gateway(
        hosting.ledger, hosting.bucket, hosting.directory / "other", aliases=counting
    )
    async with a_client(gateway) as client:
        begun = time.monotonic()
        found = await asyncio.gather(*(page(client, label) for _ in range(100)))
        assert found == ["one"] * 100
        assert counting.reads[label] == 1
        for _ in range(100):
            assert await page(client, label) == "one"
        assert counting.reads[label] <= 1 + (time.monotonic() - begun) / 0.4
    await gateway.aclose()


async def test_strangers_hosts_are_looked_up_once_and_not_remembered_without_end(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "_UNKNOWN", 20)
    counting = CountingAliases(hosting.ledger)
    known = (await hosting.publish({"index.html": "one"})).project
    gateway = a_gateway(
        hosting.ledger, hosting.bucket, hosting.directory / "other", aliases=counting
    )
    async with a_client(gateway) as client:
        assert await page(client, known) == "one"
        found = await asyncio.gather(*(page(client, "nobody") for _ in range(50)))
        assert found == ["404"] * 50
        assert await page(client, "nobody") == "404"
        assert counting.reads["nobody"] == 1
        await asyncio.gather(*(page(client, f"nobody-{number}") for number in range(100)))
        assert len(gateway._aliases._unknown) == 20
        assert list(gateway._aliases._known) == [known]
    await gateway.aclose()


class TestWithoutRedis:
    @pytest.fixture
    async def relay_and_gateway(
        self, valkey: str, hosting: Hosting
    ) -> AsyncIterator[tuple[Relay, Gateway]]:
        async with relayed(valkey) as (relay, through):
            ledger = open_ledger(through, prefix=hosting.ledger.connection.prefix)
            gateway = a_gateway(ledger, hosting.bucket, hosting.directory / "other")
            async with following(ledger, gateway):
                yield relay, gateway
            await gateway.aclose()
            await ledger.aclose()

    @pytest.mark.parametrize("how", ["cut", "silence"])
    async def test_what_is_known_is_served_on_and_what_is_not_is_503(
        self, hosting: Hosting, relay_and_gateway: tuple[Relay, Gateway], how: str
    ) -> None:
        relay, gateway = relay_and_gateway
        label = (await hosting.publish({"index.html": "one"})).project
        async with a_client(gateway) as client:
            assert await page(client, label) == "one"
            assert await page(client, "nobody") == "404"
            getattr(relay, how)()
            lost, slow = time.monotonic(), 0
            while time.monotonic() - lost < 3:
                asked = time.monotonic()
                assert await page(client, label) == "one"
                assert time.monotonic() - asked < 0.5
                slow += time.monotonic() - asked > 0.15
                await asyncio.sleep(0.01)
            assert slow <= 2, "once it is clear that Redis is away, nobody waits for it"
            for unknown in ("stranger", "nobody"):
                found = await client.get(f"http://{unknown}.{DOMAIN}/")
                assert (found.status_code, found.headers["cache-control"]) == (503, "no-store")
                assert found.headers["retry-after"]

            await hosting.publish({"index.html": "two"})
            relay.restore()

            async def shows_two() -> bool:
                return await page(client, label) == "two"

            assert await until(shows_two) < 5
            assert await page(client, "nobody") == "404"
