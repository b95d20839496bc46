"""The connections to Redis, its scripts, and what the server's settings say of durability."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.maint_notifications import MaintNotificationsConfig

from bot.core import keys
from bot.core.errors import Errored, Full

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
_LOOK_SECONDS = 10.0
DURABLE_SETTINGS: Final = (
    "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no, maxmemory-policy noeviction"
)

PASSING: Final = frozenset(
    {
        "redis_unreachable",
        "redis_full",
        "redis_disk_full",
        "redis_read_only",
        "ledger_replaced",
    }
)
"""Codes of what passes: the same verb, repeated, may succeed later."""
REDIS_CODES: Final = PASSING | {"redis_refused"}
"""The codes of the errors that are Redis's, not GitHub's or a repository's."""


_PRELUDE: Final = (
    *("names", "changes", "doorbells", "endings"),
    *("projects", "further", "heads", "records", "pushes", "deliveries", "aliases"),
)
"""What every verb begins with, in this order: each part may use those before it."""


@cache
def _script(verb: str) -> tuple[str, str]:
    """A verb's Lua with what all have in common, and the SHA-1 by which Redis knows it."""
    folder = resources.files("bot.core.ledger") / "lua"
    names = (*(f"prelude/{part}" for part in _PRELUDE), "epoch", verb)
    *prelude, own = ((folder / f"{name}.lua").read_text("utf-8") for name in names)
    text = "\n".join([*prelude, "local function verb()", own, "end", "return settle(verb())", ""])
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _says_closed(error: RuntimeError) -> bool:
    """Whether it is uvloop's word for a connection that was reset while redis-py was sending."""
    return "the handler is closed" in str(error)


def _unreachable(error: Exception) -> Errored:
    words = str(error) or type(error).__name__
    return Errored(f"Redis cannot be reached: {words}", code="redis_unreachable")


class Connection:
    """One Redis, by three pools: for calls that answer at once, the receiver's, those that wait."""

    def __init__(self, url: str, *, prefix: str = "", least_epoch: int = 0) -> None:
        """With `least_epoch` 1, a ledger that was never begun (or was flushed) is refused."""
        self.prefix = prefix
        self.furthest = (least_epoch, 0)
        """The furthest epoch and tick that was seen of the ledger: it never goes back."""
        self._durable_until = 0.0
        self.behind = asyncio.Event()
        """Set while the ledger is known to be behind that: nothing is read or written then."""
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
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        payload: bytes = b"",
        fenced: bool = True,
    ) -> list[str]:
        """Runs `lua/<verb>.lua` on `arguments`; answers its list of words.

        `payload` travels with them as it is: JSON would have to spell it out. A ledger that is
        behind what was seen of it does nothing, unless the call is not `fenced`.

        Raises `Errored`: `redis_unreachable` when Redis does not answer in time, what else stands
        in `PASSING`, and `redis_refused`.
        """
        text, digest = _script(verb)
        three = [keys.queue(self.prefix), keys.high(self.prefix), keys.fetch(self.prefix)]
        epoch, tick = self.furthest if fenced else (0, 0)
        told = {**arguments, "epoch": str(epoch), "tick": str(tick)}
        told["fenced"] = "1" if fenced else ""
        words: list[str | bytes] = [*three, keys.base(self.prefix), msgspec.json.encode(told)]
        if payload:
            words.append(payload)

        redis = self.receiving if verb in RECEIVING else self.redis

        async def run() -> list[str]:
            try:
                answer = await redis.evalsha(digest, 3, *words)
            except NoScriptError:
                answer = await redis.eval(text, 3, *words)
            return cast(list[str], answer)

        found = await self.reach(run())
        if found[0] == "behind":
            self.behind.set()
            raise _replaced()
        if fenced:
            self.saw(found[0], found[1], asked_at=(epoch, tick))
        return found[2:]

    def saw(self, epoch: str | None, tick: str | None, *, asked_at: tuple[int, int]) -> None:
        """Notes how far the ledger is. `asked_at` is what `furthest` was before it was asked.

        Raises `Errored` (`ledger_replaced`) when it is behind that.
        """
        found = (int(epoch or 0), int(tick or 0))
        if found < asked_at:
            self.behind.set()
            raise _replaced()
        # Another answer may have overtaken this one.
        self.furthest = max(found, self.furthest)
        self.behind.clear()

    async def guard(self, awaitable: Awaitable[T]) -> T:
        """The same as `reach`, while the ledger is not known to be behind."""
        self._refuse_behind(awaitable)
        return await self.reach(awaitable)

    async def reach(self, awaitable: Awaitable[T]) -> T:
        """Awaits a Redis call; its failure becomes `Errored`, as `call` says."""
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
        """As `guard`, for a call that waits on the server: never ended here before its time."""
        self._refuse_behind(awaitable)
        return await self._translated(awaitable, WAIT_SOCKET_SECONDS + CALL_SECONDS)

    def _refuse_behind(self, awaitable: Awaitable[Any]) -> None:
        if self.behind.is_set():
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise _replaced()

    async def _translated(self, awaitable: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await awaitable
        except ResponseError as error:
            raise _refusal(error) from error
        except (RedisError, OSError, TimeoutError) as error:
            raise _unreachable(error) from error
        except RuntimeError as error:
            if not _says_closed(error):
                raise
            raise _unreachable(error) from error

    async def durability(self) -> Durability:
        """Whether the server's own settings may lose acknowledged writes."""
        found: dict[str, str] = {}
        try:
            # One pattern at a time: Redis 6.2 takes no more.
            for pattern in ("*append*", "maxmemory-policy"):
                asked = cast(Awaitable[dict[str, str]], self.receiving.config_get(pattern))
                found |= await self.reach(asked)
        except Errored as error:
            if error.code == "redis_refused":
                return "unknown"
            raise
        right = found.get("appendonly") == "yes" and found.get("appendfsync") == "always"
        rewriting = found.get("no-appendfsync-on-rewrite", "no") == "no"
        keeps = found.get("maxmemory-policy", "noeviction") == "noeviction"
        return "durable" if right and rewriting and keeps else "may lose writes"

    async def ensure_durable(self) -> None:
        """Raises `Errored` (`redis_not_durable`) when writes may be lost; looks every 10 s."""
        if time.monotonic() > self._durable_until:
            if await self.durability() == "may lose writes":
                raise Errored(
                    f"this Redis may lose acknowledged writes, and PUSHLANE_REQUIRE_DURABLE is on; "
                    f"set there: {DURABLE_SETTINGS}",
                    code="redis_not_durable",
                )
            self._durable_until = time.monotonic() + _LOOK_SECONDS

    async def ensure_room(self) -> None:
        """Raises what recording something would raise now: `redis_full`, `redis_read_only` …"""
        await self.call("room", {})

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[AsyncIterator[str]]:
        """What is published on a channel, behind our prefix.

        The iterator yields `""` each second in which nothing came, and raises `Errored` when the
        connection breaks.
        """
        pubsub = self.waiting.pubsub()
        try:
            await self.reach(pubsub.subscribe(self.prefix + channel))

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


def _replaced() -> Errored:
    return Errored(
        "the ledger in Redis is empty, or older than it was: it is restored from the bucket first",
        code="ledger_replaced",
    )


def _refusal(error: ResponseError) -> Errored:
    """What an error that Redis answers means, and whether it passes."""
    words = str(error)
    # Redis 6.2 wraps what a script met in words of its own.
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in words:
        return Full(
            "Redis is full: give it more memory (maxmemory), or let it hold less",
            code="redis_full",
        )
    if "MISCONF" in words:
        return Full(f"Redis cannot write to its disk: {words}", code="redis_disk_full")
    if isinstance(error, ReadOnlyError | ClusterDownError | MasterDownError) or any(
        word in words for word in ("READONLY", "NOREPLICAS")
    ):
        return Errored(f"this Redis takes no writes now: {words}", code="redis_read_only")
    return Errored(f"Redis refused: {words}", code="redis_refused")
