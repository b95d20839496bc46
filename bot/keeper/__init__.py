"""Keeps what the ledger holds safe in the bucket, and brings it back into a ledger that lacks it.

A ledger that was flushed, replaced, or has come back older than it was is noticed by the next verb
that is called on it, and refuses all until the keeper of some bot has restored it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from bot.core.bucket import Bucket
from bot.core.errors import Errored, Rejected
from bot.core.ledger import Ledger
from bot.core.ledger.restores import Begun, Progress, State
from bot.keeper.restoring import lacking, restore
from bot.keeper.saving import save_due

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 86_400.0
_HELD_SECONDS: Final = 0.5
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0


class Keeper:
    """Saves and restores for as long as a bot lives. Any number of them may share a ledger."""

    def __init__(
        self,
        ledger: Ledger,
        bucket: Bucket,
        *,
        make_bucket: bool = False,
        restored: Callable[[], None] = lambda: None,
    ) -> None:
        """`restored` is called when a ledger that was behind is open again."""
        self._ledger = ledger
        self._bucket = bucket
        self._make_bucket = make_bucket
        self._restored = restored
        self._asked: asyncio.Queue[str] = asyncio.Queue()
        self._at_start = ledger.connection.furthest
        """Nothing was seen of the ledger while it is no further."""
        self.trouble = ""
        """What is in the way of a restoration; empty when nothing is."""

    async def follow(self) -> None:
        """Goes on until it is cancelled, also while Redis or S3 come and go."""
        await asyncio.gather(self._save(), self._watch())

    @property
    def state(self) -> str:
        """`whole`, or `restoring` with what is in its way."""
        if not self._ledger.connection.behind.is_set():
            return "whole"
        return f"restoring: {self.trouble}" if self.trouble else "restoring"

    async def progress(self) -> State:
        """What the ledger says of restorations, whichever bot is at them."""
        return await self._ledger.restores.state()

    async def restore(self, *, force: bool) -> State:
        """What a person asks for. Answers at once; `progress` tells the rest.

        A ledger that is empty or behind is being restored already. One that is not gets what it
        lacks only with `force`; where it lacks nothing, nothing is done.
        Raises `Rejected` (409 `ledger_not_empty`), and `Errored` when the bucket cannot be read.
        """
        now = await self.progress()
        if now.going_on or not now.epoch:
            return now
        if not force:
            if now.last and now.last.epoch == now.epoch:
                return now
            wanted = await lacking(self._ledger.restores, self._bucket)
            if not wanted:
                return now
            raise Rejected(
                f"the ledger is not empty, and lacks {len(wanted):,} of the things that the bucket "
                "holds: --force brings back what it lacks, and leaves alone what it holds",
                code="ledger_not_empty",
                http_status=409,
            )
        token = secrets.token_hex(8)
        if await self._ledger.restores.begin(token) is not Begun.HELD:
            self._asked.put_nowait(token)
        return await self.progress()

    async def _save(self) -> None:
        pause, failing = _FIRST_PAUSE, False
        with self._ledger.changes.listen("save") as listener:
            while True:
                try:
                    wait = await save_due(self._ledger.saves, self._bucket)
                except Errored as error:
                    if not failing and error.code.startswith("bucket"):
                        log.warning("what ends is saved later", extra={"error": error.message})
                        failing = True
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                if failing:
                    log.info("what ended meanwhile is saved")
                pause, failing = _FIRST_PAUSE, False
                if wait > 0:
                    await listener.next(seconds=wait)

    async def _watch(self) -> None:
        """Looks after the ledger: at the start, once a day, when asked, and when it is behind."""
        pause, token, asked = _FIRST_PAUSE, secrets.token_hex(8), False
        while True:
            try:
                done = await self._look(token, asked=asked)
            except Errored as error:
                if error.message != self.trouble:
                    log.warning("the ledger waits", extra={"error": error.message})
                self.trouble = error.message
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self.trouble, pause = "", _FIRST_PAUSE
            if not done and await self._is_behind():
                # The bot that is at it may end before it is done.
                await asyncio.sleep(_HELD_SECONDS)
            else:
                token, asked = await self._next()

    async def _look(self, token: str, *, asked: bool) -> bool:
        """Brings back what is missing. False: another bot is at it."""
        restores = self._ledger.restores
        await self._bucket.ready(make=self._make_bucket)
        begun = await restores.begin(token)
        if begun is Begun.HELD:
            return False
        if begun is Begun.BEHIND and self._ledger.connection.furthest > self._at_start:
            log.warning("the ledger in Redis is empty, or older than it was: looking in the bucket")
        elif begun is Begun.BEHIND:
            log.info("this Redis holds no ledger yet: looking in the bucket for one")

        async def tell(progress: Progress) -> None:
            # Of a whole ledger only what is under way is compared: there is nothing to say.
            if progress.of and not progress.done and begun is Begun.BEHIND:
                log.warning("restoring from the bucket", extra={"things": progress.of})
            await restores.go_on(token, progress)

        found = await restore(restores, self._bucket, tell=tell)
        merged = found.projects + found.secrets + found.aliases + found.deployments
        await restores.end(token, found, noted=asked or merged > 0)
        if merged:
            counts = {"projects": found.projects, "aliases": found.aliases}
            log.warning(
                "restored from the bucket", extra=counts | {"deployments": found.deployments}
            )
        elif begun is Begun.BEHIND:
            log.info("the bucket holds nothing that the ledger lacks")
        await self._is_behind()
        if begun is Begun.BEHIND:
            self._restored()
        return True

    async def _is_behind(self) -> bool:
        """Asks the ledger, rather than waiting for the next verb to find out."""
        with suppress(Errored):
            await self._ledger.connection.ensure_room()
        return self._ledger.connection.behind.is_set()

    async def _next(self) -> tuple[str, bool]:
        """Waits for a reason to look; the token to look with, and whether a person asked."""
        asked = asyncio.create_task(self._asked.get())
        behind = asyncio.create_task(self._ledger.connection.behind.wait())
        try:
            await asyncio.wait(
                {asked, behind}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if asked.done():
                return asked.result(), True
            return secrets.token_hex(8), False
        finally:
            asked.cancel()
            behind.cancel()
