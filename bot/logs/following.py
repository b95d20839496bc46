"""Logs as they come: each deployment that is followed is read once for all who follow it.

Whoever joins late, or takes lines more slowly than they come, reads for itself until it has caught
up; only so many do so at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from bot.core.bucket import Bucket
from bot.core.deployment import ENDED, Deployment
from bot.core.errors import Errored
from bot.core.ledger import Ledger
from bot.logs.reading import Line, Position, Reader, position

BEAT_SECONDS: Final = 15.0
"""How long `follow` is silent at most: proxies cut a stream that is silent for longer."""
_LOOK_SECONDS: Final = 1.0
"""Changes are a hint only, so a feed looks for itself this often."""
_CATCH_UP: Final = 4
"""Who reads for itself at a time."""
_KEPT_LINES: Final = 1000
_KEPT_CHARACTERS: Final = 300_000
_NOWHERE: Final[Position] = (1 << 64, 0, 0)
"""Further than anybody comes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Event:
    told: dict[object, bytes] = field(default_factory=dict, repr=False)
    """How it is told, by who tells it: once for all who get the same event."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lines(_Event):
    """Lines that came together; at least one."""

    lines: Sequence[Line]

    @property
    def end(self) -> Position:
        """Where the last of them stands."""
        return position(self.lines[-1].id)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Changed(_Event):
    """The deployment has another status or claim, or is asked to stop; first, how it is now."""

    deployment: Deployment


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ended(_Event):
    """The deployment has ended, and all its lines have been told."""

    deployment: Deployment


Event: TypeAlias = Lines | Changed | Ended | None
"""None: nothing has happened for a while, and the stream is still there."""


class _Feed:
    """What all followers of one deployment see: how it is, and the newest of its lines."""

    def __init__(self, ledger: Ledger, bucket: Bucket, id_: str) -> None:
        self.id = id_
        self.change: Changed | Ended | None = None
        """How the deployment is; None before the first look, and when it is not there."""
        self.start = _NOWHERE
        """Whoever has come so far finds here all that follows."""
        self.turn = asyncio.Event()
        """Set, and replaced by another, when there is something new."""
        self.over = False
        self.error: Errored | None = None
        self.followers = 0
        self._ledger = ledger
        self._reader = Reader(ledger, bucket, after="")
        self._kept: deque[Lines] = deque()
        self._reading = asyncio.create_task(self._run(), name=f"feed {id_}")

    def after(self, reached: Position) -> Lines | None:
        """The next lines for who has `reached` at least `start`; None when there are none yet."""
        found: Lines | None = None
        for lines in reversed(self._kept):
            if lines.end <= reached:
                break
            found = lines
        if found is None or position(found.lines[0].id) > reached:
            return found
        return Lines(lines=[line for line in found.lines if position(line.id) > reached])

    def end(self) -> None:
        """Reads no more."""
        self._reading.cancel()

    async def _run(self) -> None:
        try:
            await self._read()
        except Errored as error:
            self.error = error
        finally:
            self.over = True
            self._tell()

    async def _read(self) -> None:
        id_ = self.id
        told: tuple[str, ...] = ()
        only_lines = frozenset({f"log:{id_}"})
        with self._ledger.changes.listen(f"deployment:{id_}", f"log:{id_}") as listener:
            record = await self._ledger.view.deployment(id_)
            if record is not None and record.status not in ENDED:
                await self._reader.skip_all(record)
                self.start = self._reader.position
            while record is not None:
                ended, now = record.status in ENDED, (record.status, record.claim, record.stop)
                if not ended and now != told:
                    self.change, told = Changed(deployment=record), now
                    self._tell()
                if self.start != _NOWHERE:
                    async for page in self._reader.pages(record):
                        self._keep(Lines(lines=page))
                        self._tell()
                if ended:
                    self.change = Ended(deployment=record)
                    return
                heard = await listener.next(seconds=_LOOK_SECONDS)
                if heard != only_lines:
                    record = await self._ledger.view.deployment(id_)
            self.change = None

    def _keep(self, lines: Lines) -> None:
        self._kept.append(lines)
        count = sum(len(each.lines) for each in self._kept)
        characters = sum(len(line.text) for each in self._kept for line in each.lines)
        while len(self._kept) > 1 and (count > _KEPT_LINES or characters > _KEPT_CHARACTERS):
            dropped = self._kept.popleft()
            self.start = dropped.end
            count -= len(dropped.lines)
            characters -= sum(len(line.text) for line in dropped.lines)

    def _tell(self) -> None:
        turn, self.turn = self.turn, asyncio.Event()
        turn.set()


class Followers:
    """Everyone in this process who follows a log."""

    def __init__(self, ledger: Ledger, bucket: Bucket) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._feeds: dict[str, _Feed] = {}
        self._catching_up = asyncio.Semaphore(_CATCH_UP)

    def of(self, id_: str) -> int:
        """How many follow this deployment."""
        feed = self._feeds.get(id_)
        return feed.followers if feed else 0

    async def follow(self, id_: str, *, after: str = "") -> AsyncIterator[Event]:
        """The lines after `after`, as they come, and what becomes of the deployment, to its end.

        Begins with a `Changed` and ends with an `Ended`; of a deployment that has ended, there is
        no `Changed`, and of one that is not there, nothing at all. When it is retried, the next
        claim's lines follow. Raises `Errored`: whoever follows may come back with the last id that
        it got.
        """
        with self._joined(id_) as feed:
            reader = Reader(self._ledger, self._bucket, after=after)
            first, told = True, feed.change
            spoke_at = time.monotonic()
            while True:
                turn, change = feed.turn, feed.change
                if feed.error:
                    raise Errored(feed.error.message, code=feed.error.code)
                if change is None and feed.over:
                    return
                if isinstance(change, Changed) and (first or change is not told):
                    # Who joins is told how it is at this moment, and nobody else is.
                    yield Changed(deployment=change.deployment) if first else change
                    told, spoke_at = change, time.monotonic()
                if change is not None:
                    if first:
                        reader.begin(change.deployment)
                        first = False
                    async for lines in self._lines(feed, reader, change.deployment):
                        yield lines
                        spoke_at = time.monotonic()
                if isinstance(change, Ended):
                    yield change
                    return
                if feed.over and not turn.is_set():
                    return
                try:
                    async with asyncio.timeout(spoke_at + BEAT_SECONDS - time.monotonic()):
                        await turn.wait()
                except TimeoutError:
                    yield None
                    spoke_at = time.monotonic()

    async def _lines(self, feed: _Feed, reader: Reader, record: Deployment) -> AsyncIterator[Lines]:
        """What there is for who has come as far as `reader`, which it takes along."""
        while True:
            if reader.position >= feed.start:
                lines = feed.after(reader.position)
                if lines is None:
                    return
                reader.skip(lines.lines[-1].id)
                yield lines
                continue
            pages = reader.pages(record)
            try:
                while reader.position < feed.start:
                    async with self._catching_up:
                        page = await anext(pages, None)
                    if page is None:
                        break
                    yield Lines(lines=page)
            finally:
                await pages.aclose()
            if reader.position < feed.start:
                return

    @contextmanager
    def _joined(self, id_: str) -> Iterator[_Feed]:
        feed = self._feeds.get(id_)
        if feed is None or feed.error:
            feed = self._feeds[id_] = _Feed(self._ledger, self._bucket, id_)
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                feed.end()
                if self._feeds.get(id_) is feed:
                    del self._feeds[id_]
