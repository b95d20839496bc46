"""The connections to Redis, its scripts, and what the server's settings say of durability."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeAlias, TypeVar, cast

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from bot.core import keys
from bot.core.errors import Errored

Durability: TypeAlias = Literal["durable", "may lose writes", "unknown"]
T = TypeVar("T")
log = logging.getLogger(__name__)

WAIT_SECONDS = 2
"""How long one BLPOP waits on the server."""
WAIT_SOCKET_SECONDS = 10
"""Far above WAIT_SECONDS: a client that gives up first loses what the server pops for it."""
CALL_SECONDS = 1.5
"""A call that takes longer has failed: the receiver owes GitHub a 503 within two seconds."""
RECEIVING = frozenset({"record", "remove", "note", "refuse"})
"""The receiver's verbs. They have connections of their own, so that they wait for no reader."""


@cache
def _script(verb: str) -> tuple[str, str]:
    """A verb's Lua with the prelude before it, and the SHA-1 by which Redis knows it."""
    folder = resources.files("bot.core.ledger") / "lua"
    text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in ("prelude", verb))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _says_closed(error: RuntimeError) -> bool:
    """Whether it is uvloop's word for a connection that was reset while redis-py was sending."""
    return "the handler is closed" in str(error)


def _unreachable(error: Exception) -> Errored:
    words = str(error) or type(error).__name__
    return Errored(f"Redis cannot be reached: {words}", code="redis_unreachable")


class Connection:
    """One Redis, by three pools: for calls that answer at once, the receiver's, those that wait."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self.prefix = prefix
        # No client retries anywhere: a verb is repeated by its caller, who knows what that means.
        # Retrying a BLPOP could pop twice.
        # Notifications off: with them, a connection that the server has closed while it lay in the
        # pool is handed out all the same, so that after a restart each one fails a call.
        quiet = MaintNotificationsConfig(enabled=False)

        def client(most: int, *, seconds: float = CALL_SECONDS) -> Redis:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=most,
                timeout=CALL_SECONDS,
                socket_timeout=seconds,
                socket_connect_timeout=CALL_SECONDS,
                retry=Retry(NoBackoff(), 0),
                maint_notifications_config=quiet,
                decode_responses=True,
            )
            return Redis(connection_pool=pool)

        self.redis = client(32)
        self.receiving = client(32)
        self.waiting = client(256, seconds=WAIT_SOCKET_SECONDS)

    async def aclose(self) -> None:
        """Closes every pool."""
        for client in (self.redis, self.receiving, self.waiting):
            await client.aclose(close_connection_pool=True)

    async def call(
        self, verb: str, arguments: Mapping[str, Any], *, payload: bytes = b""
    ) -> list[str]:
        """Runs `lua/<verb>.lua` on `arguments`; answers its list of words.

        `payload` travels with them as it is: JSON would have to spell it out.

        Raises `Errored` (code `redis_unreachable`) when Redis does not answer in time.
        """
        text, digest = _script(verb)
        three = [keys.queue(self.prefix), keys.high(self.prefix), keys.fetch(self.prefix)]
        words: list[str | bytes] = [*three, keys.base(self.prefix)]
        words.append(msgspec.json.encode(arguments))
        if payload:
            words.append(payload)

        redis = self.receiving if verb in RECEIVING else self.redis

        async def run() -> list[str]:
            try:
                answer = await redis.evalsha(digest, 3, *words)
            except NoScriptError:
                answer = await redis.eval(text, 3, *words)
            return cast(list[str], answer)

        return await self.guard(run())

    async def guard(self, awaitable: Awaitable[T]) -> T:
        """Awaits a Redis call; its failure becomes `Errored` with code `redis_unreachable`."""
        caller = asyncio.current_task()
        cancels = caller.cancelling() if caller else 0
        try:
            return await self._translated(awaitable, CALL_SECONDS)
        finally:
            # redis-py sends by asyncio.wait_for, which before Python 3.12 loses a cancellation that
            # comes when all is sent: https://github.com/python/cpython/issues/86296
            if caller and caller.cancelling() > cancels:
                raise asyncio.CancelledError

    async def guard_wait(self, awaitable: Awaitable[T]) -> T:
        """The same for a call that waits on the server: never ended from here before its time."""
        return await self._translated(awaitable, WAIT_SOCKET_SECONDS + CALL_SECONDS)

    async def _translated(self, awaitable: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await awaitable
        except ResponseError as error:
            raise Errored(f"Redis refused: {error}", code="redis_refused") from error
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error
        except RuntimeError as error:
            if not _says_closed(error):
                raise
            raise _unreachable(error) from error

    async def durability(self) -> Durability:
        """Whether the server's own settings may lose acknowledged writes; see safety.md §4."""
        try:
            found = await self.guard(
                cast(
                    Awaitable[dict[str, str]], self.redis.config_get("append*", "maxmemory-policy")
                )
            )
        except Errored as error:
            if error.code == "redis_refused":
                return "unknown"
            raise
        right = found.get("appendonly") == "yes" and found.get("appendfsync") == "always"
        keeps = found.get("maxmemory-policy", "noeviction") == "noeviction"
        return "durable" if right and keeps else "may lose writes"

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[AsyncIterator[str]]:
        """What is published on a channel, behind our prefix.

        The iterator yields `""` each second in which nothing came, and raises `Errored` when the
        connection breaks.
        """
        pubsub = self.waiting.pubsub()
        try:
            await self.guard(pubsub.subscribe(self.prefix + channel))

            async def messages() -> AsyncIterator[str]:
                while True:
                    try:
                        found = await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)
                    except (RedisError, OSError) as error:
                        raise Errored("Redis went away", code="redis_unreachable") from error
                    yield str(found["data"]) if found else ""

            yield messages()
        finally:
            try:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            except (RedisError, OSError):
                log.debug("closing a subscription on a lost connection")
