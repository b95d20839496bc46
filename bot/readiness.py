"""GET /readyz: whether each part that everything needs can be used, and has room."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.core.bucket import Bucket
from bot.core.errors import Errored, Full, disk_full
from bot.core.ledger import DURABLE_SETTINGS, Ledger
from bot.core.settings import Settings
from bot.keeper import Keeper

log = logging.getLogger("bot")

DISK_LEAST_BYTES: Final = 64_000_000
"""With less in the data directory nothing can be fetched."""
_LOOK_SECONDS: Final = 20.0
_AGAIN_SECONDS: Final = 1.0
"""While something is wrong: the catch-up waits for what is not."""
_PROBE_SECONDS: Final = 15.0
_PROBE: Final = ("probe", b"\0" * 4096)
"""What is written to see whether the bucket takes more: a full one may still be read."""
_RISKY: Final = "may lose writes"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What /readyz says: `ready`, and each part's state, or what is wrong with it."""

    ready: bool
    redis: str
    """`durable`, `may lose writes`, `unknown` (CONFIG is forbidden there)."""
    bucket: str
    """`usable`."""
    ledger: str
    """`whole`, or `restoring`: then every verb is refused."""
    disk: str
    """`usable`."""


class Readiness:
    """Looks at every part."""

    def __init__(
        self, *, ledger: Ledger, bucket: Bucket, keeper: Keeper, settings: Settings
    ) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._keeper = keeper
        self._settings = settings
        self._probe_due = 0.0
        self.was_ready = asyncio.Event()
        """Set for good once everything could be used."""

    @property
    def route(self) -> Route:
        """Where an orchestrator asks."""
        return Route("/readyz", self._answer, methods=["GET"])

    async def ready(self, *, whole: bool = False) -> Ready:
        """How everything is now. What cannot be reached is a state, too.

        With `whole` its errors in all their words, which may name addresses: for the log.
        """
        redis, bucket = await asyncio.gather(self._redis_state(whole), self._bucket_state(whole))
        ledger, disk = self._keeper.state, self._disk_state()
        durable = redis in ("durable", "unknown") or (
            redis == _RISKY and not self._settings.require_durable
        )
        well = durable and (bucket, ledger, disk) == ("usable", "whole", "usable")
        return Ready(ready=well, redis=redis, bucket=bucket, ledger=ledger, disk=disk)

    async def look(self) -> None:
        """Says aloud what changes, for ever."""
        before = Ready(ready=True, redis="", bucket="usable", ledger="whole", disk="usable")
        while True:
            now = await self.ready(whole=True)
            if now.ready:
                self.was_ready.set()
            for part in ("redis", "bucket", "disk"):
                said = getattr(now, part)
                if said == getattr(before, part):
                    continue
                if said in ("durable", "usable"):
                    log.info("%s: %s", part, said)
                elif said == _RISKY:
                    log.warning(
                        "this Redis may lose acknowledged writes: set there %s", DURABLE_SETTINGS
                    )
                elif said == "unknown":
                    log.warning(
                        "this Redis does not tell whether it may lose acknowledged writes (CONFIG "
                        "is forbidden): ask whoever keeps it for %s",
                        DURABLE_SETTINGS,
                    )
                else:
                    log.warning("%s: %s", part, said)
            before = now
            await asyncio.sleep(_LOOK_SECONDS if now.ready else _AGAIN_SECONDS)

    async def _answer(self, _: Request) -> Response:
        found = await self.ready()
        return Response(
            msgspec.json.encode(found),
            status_code=200 if found.ready else 503,
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def _redis_state(self, whole: bool) -> str:
        try:
            await self._ledger.connection.ensure_room()
        except Errored as error:
            if error.code != "ledger_replaced":
                return _words(error, whole=whole)
        try:
            return await self._ledger.connection.durability()
        except Errored as error:
            return _words(error, whole=whole)

    async def _bucket_state(self, whole: bool) -> str:
        try:
            # On a server of one's own an empty start is meant; on Amazon's a name may be mistyped.
            await self._bucket.ready(make=bool(self._settings.s3_endpoint_url))
            if time.monotonic() > self._probe_due:
                name, body = _PROBE
                await self._bucket.put(name, body, content_type="application/octet-stream")
                self._probe_due = time.monotonic() + _PROBE_SECONDS
        except Errored as error:
            return _words(error, whole=whole)
        return "usable"

    def _disk_state(self) -> str:
        path = self._settings.data_dir
        try:
            free = shutil.disk_usage(path).free
        except OSError as error:
            return f"{path} cannot be used: {error.strerror}"
        if free < DISK_LEAST_BYTES:
            return disk_full(f"{path} ({free // 1_000_000} MB free)").message
        return "usable"


def _words(error: Errored, *, whole: bool) -> str:
    told = whole or isinstance(error, Full)
    return error.message if told else error.message.partition(":")[0]
