"""Kills Redis again and again under load, and counts what of the acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from redis.asyncio import Redis

from bot.core import keys
from bot.embedded import Server
from bot.embedded.valkey import valkey
from tests.builders import ZERO
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload

_SENDERS: Final = 16
_BRANCHES: Final = 40
_BETWEEN: Final = 50
"""So many deliveries are acknowledged between two kills, and then Redis dies at any moment."""
_LONGEST_SECONDS: Final = 30.0
_NOWHERE: Final = S3(
    endpoint_url="http://127.0.0.1:1", access_key="none", secret_key="none", bucket="none",
    environ={},
)  # fmt: skip


@dataclass(slots=True)
class Figures:
    """What came of it."""

    kills: int = 0
    acknowledged: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    """GUIDs that were answered 202, and of which there is no delivery or no record."""
    seconds: float = 0.0


@dataclass(slots=True)
class _Acknowledged:
    guid: str
    deployment: str
    commit: str


async def kill_redis(kills: int, directory: Path) -> Figures:
    """The receiver takes deliveries all the while; Redis, with its durable settings, does not."""
    began, figures = time.monotonic(), Figures()
    redis = await valkey(directory / "valkey", password=secrets.token_hex(8), port=0).start()
    url, prefix = redis.environ["PUSHLANE_REDIS_URL"], f"durable{secrets.token_hex(4)}"
    taken: list[_Acknowledged] = []
    numbers = itertools.count(1)
    try:
        async with a_front_door(url, _NOWHERE, prefix, directory) as door:
            senders = [
                asyncio.create_task(_send(door, numbers, taken, figures)) for _ in range(_SENDERS)
            ]
            try:
                for _ in range(kills):
                    await _until(taken, len(taken) + _BETWEEN)
                    await asyncio.sleep(random.uniform(0, 0.1))
                    assert redis.process is not None
                    redis.process.kill()
                    await redis.process.wait()
                    redis = await redis.start()
                    figures.kills += 1
            finally:
                for sender in senders:
                    sender.cancel()
                for ended in await asyncio.gather(*senders, return_exceptions=True):
                    if isinstance(ended, Exception):
                        raise ended
            assert not door.ledger.connection.behind.is_set(), "it came back without its last tick"
        figures.acknowledged = len(taken)
        figures.lost = await _lost(redis, prefix, taken)
    finally:
        await redis.stop()
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


async def _until(taken: list[_Acknowledged], count: int) -> None:
    end = time.monotonic() + _LONGEST_SECONDS
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} were acknowledged"
        await asyncio.sleep(0.005)


async def _send(
    door: FrontDoor, numbers: Iterator[int], taken: list[_Acknowledged], figures: Figures
) -> None:
    """Delivers one push after another, each of another commit."""
    while True:
        number = next(numbers)
        payload = a_payload(
            f"push {number}", before=ZERO, branch=f"branch-{number % _BRANCHES}", at=number
        )
        guid = f"durable-{number}"
        with suppress(httpx2.HTTPError):
            answer = await door.send(payload, guid=guid)
            if answer.status_code == 202:
                id_ = str(answer.json()["deployment"])
                taken.append(_Acknowledged(guid, id_, str(payload["after"])))
            else:
                assert answer.status_code == 503, answer.text
                figures.refused += 1
                await asyncio.sleep(0.02)


async def _lost(redis: Server, prefix: str, taken: list[_Acknowledged]) -> list[str]:
    client = cast(Any, Redis.from_url(redis.environ["PUSHLANE_REDIS_URL"], decode_responses=True))
    lost = []
    try:
        for start in range(0, len(taken), 500):
            part = taken[start : start + 500]
            pipe = client.pipeline(transaction=False)
            for each in part:
                pipe.hget(keys.deployment(f"{prefix}:", each.deployment), "commit")
                pipe.hget(keys.delivery(f"{prefix}:", each.guid), "deployment")
            found = await pipe.execute()
            for place, each in enumerate(part):
                if found[2 * place : 2 * place + 2] != [each.commit, each.deployment]:
                    lost.append(each.guid)
    finally:
        await client.aclose()
    return lost
