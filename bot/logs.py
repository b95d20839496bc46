"""A deployment's log as it is read: the lines of all its claims, whole, the last, or as they come.

A line is read from Redis while it is there (minutes more once its log is saved), and then from the
bucket, where the whole log of each claim is kept. Memory is bounded by a page of lines, whatever
the length of the log.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec
import zstandard

from bot.core import release
from bot.core.bucket import Bucket, NotInBucket
from bot.core.deployment import ENDED, Deployment
from bot.core.errors import Errored
from bot.core.ledger import Ledger

PAGE: Final = 1000
"""Lines that are held at once."""
BEAT_SECONDS: Final = 15.0
"""How long `follow` is silent at most: proxies cut a stream that is silent for longer."""
BEAT: Final = b": still here\n\n"
"""What keeps a text/event-stream alive; clients do not see it."""
_LOOK_SECONDS: Final = 1.0
"""Changes are a hint only, so a follower looks for itself this often."""
_ID: Final = re.compile(r"([0-9]{1,4})-([0-9]{1,19}-[0-9]{1,19})")
_START: Final = "0"
_SLICE: Final = 256
"""Compressed bytes taken at a time: repetitive text may unpack to thousands of times as many."""


class Line(NamedTuple):
    """One line without its end.

    `id` is `<claim index>-<stream id>`, opaque to whoever gets it: what follows a line is asked
    for by its id. The nth line that comes from the bucket has the stream id `0-<n>`.
    """

    id: str
    text: str


class Changed(msgspec.Struct, frozen=True):
    """The deployment has another status or claim, or is asked to stop; first, how it is now."""

    deployment: Deployment


class Ended(msgspec.Struct, frozen=True):
    """The deployment has ended, and all its lines have been told."""

    deployment: Deployment


Event: TypeAlias = Line | Changed | Ended | None
"""None: nothing has happened for a while, and the stream is still there."""


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """The last lines of a log. `first` is the number of the first of them, counted from 1."""

    first: int
    lines: tuple[Line, ...]


async def lines(
    ledger: Ledger, bucket: Bucket, deployment: Deployment, *, after: str = ""
) -> AsyncIterator[Line]:
    """All lines of all claims so far, oldest first, or those after the line with the id `after`.

    An `after` that is no id of this log counts as none. Raises `Errored`.
    """
    async for page in _Reader(ledger, bucket, after=after).pages(deployment):
        for line in page:
            yield line


async def follow(
    ledger: Ledger, bucket: Bucket, id_: str, *, after: str = ""
) -> AsyncIterator[Event]:
    """The lines after `after`, as they come, and what becomes of the deployment, to its end.

    Begins with a `Changed` and ends with an `Ended`; of a deployment that has ended, there is no
    `Changed`, and of one that is not there, nothing at all. When it is retried, the next claim's
    lines follow. Raises `Errored`: whoever follows may come back with the last id that it got.
    """
    reader = _Reader(ledger, bucket, after=after)
    told: tuple[str, ...] = ()
    only_lines = frozenset({f"log:{id_}"})
    with ledger.changes.listen(f"deployment:{id_}", f"log:{id_}") as listener:
        record = await ledger.view.deployment(id_)
        spoke_at = time.monotonic()
        while record is not None:
            ended, now = record.status in ENDED, (record.status, record.claim, record.stop)
            if not ended and now != told:
                yield Changed(record)
                told, spoke_at = now, time.monotonic()
            async for page in reader.pages(record):
                for line in page:
                    yield line
                spoke_at = time.monotonic()
            if ended:
                yield Ended(record)
                return
            heard = await listener.next(seconds=_LOOK_SECONDS)
            if heard != only_lines:
                record = await ledger.view.deployment(id_)
            if time.monotonic() - spoke_at >= BEAT_SECONDS:
                yield None
                spoke_at = time.monotonic()


async def tail(
    ledger: Ledger, bucket: Bucket, deployment: Deployment, *, most: int, characters: int
) -> Tail:
    """The last `most` lines so far, fewer when they hold more than `characters`.

    Raises `Errored`.
    """
    found: list[Line] = []
    total = 0
    for index, claim in reversed(tuple(enumerate(deployment.claims))):
        count, last = await _last(
            ledger, bucket, deployment, index=index, claim=claim, most=most - len(found)
        )
        total += count
        found = [*last, *found]
    shown, left = 0, characters
    for line in reversed(found):
        left -= len(line.text)
        if left < 0:
            break
        shown += 1
    return Tail(first=total - shown + 1, lines=tuple(found[len(found) - shown :]))


def sse(data: str, *, event: str = "", id_: str = "") -> bytes:
    """One event of a text/event-stream. `data` may have several lines, and be hostile."""
    rows = [f"event: {event}"] if event else []
    rows += [f"data: {row}" for row in re.split(r"\r\n|\r|\n", data)]
    rows += [f"id: {id_}"] if id_ else []
    return "\n".join((*rows, "", "")).encode("utf-8", "replace")


class _Reader:
    """Reads on, claim after claim, from where it came to the last time."""

    def __init__(self, ledger: Ledger, bucket: Bucket, *, after: str) -> None:
        self._ledger = ledger
        self._bucket = bucket
        found = _ID.fullmatch(after)
        self._index = int(found[1]) if found else 0
        self._after = found[2] if found else _START

    async def pages(self, deployment: Deployment) -> AsyncIterator[list[Line]]:
        """What is there now and has not been read; `deployment` is the record as it is now.

        The log of the running claim is read from Redis alone: more of it may come.
        """
        claims = deployment.claims
        if self._after != _START and self._index >= len(claims):
            self._index, self._after = 0, _START
        while self._index < len(claims):
            claim = claims[self._index]
            closed = claim != deployment.claim
            in_redis = False
            async for page in self._from_redis(deployment.id, claim):
                in_redis = True
                yield page
            if not closed:
                return
            if not in_redis and not await self._is_in_redis(deployment.id, claim):
                async for page in self._from_bucket(deployment, claim):
                    yield page
            self._index, self._after = self._index + 1, _START

    async def _from_redis(self, id_: str, claim: str) -> AsyncIterator[list[Line]]:
        while page := await self._ledger.logs.read(id_, claim, after=self._after, limit=PAGE):
            self._after = page[-1].id
            yield [Line(f"{self._index}-{line.id}", line.text) for line in page]
            if len(page) < PAGE:
                return

    async def _is_in_redis(self, id_: str, claim: str) -> bool:
        """Whether a log of which there is nothing left to read is there at all."""
        return self._after != _START and bool(await self._ledger.logs.read(id_, claim, limit=1))

    async def _from_bucket(self, deployment: Deployment, claim: str) -> AsyncIterator[list[Line]]:
        # An id that Redis gave has no place here: then the whole comes once more, rather than
        # that a line is missed.
        milliseconds, _, number = self._after.partition("-")
        skip = int(number or 0) if int(milliseconds) == 0 else 0
        count = 0
        async for texts in _kept(self._bucket, _name(deployment, claim)):
            page = [
                Line(f"{self._index}-0-{n}", text)
                for n, text in enumerate(texts, count + 1)
                if n > skip
            ]
            count += len(texts)
            if page:
                yield page


async def _last(
    ledger: Ledger, bucket: Bucket, deployment: Deployment, *, index: int, claim: str, most: int
) -> tuple[int, Iterable[Line]]:
    """How many lines a claim's log has, and the last `most` of them."""
    count, found = await ledger.logs.last(deployment.id, claim, limit=most)
    if count or claim == deployment.claim:
        return count, [Line(f"{index}-{line.id}", line.text) for line in found]
    last: deque[Line] = deque(maxlen=most)
    async for texts in _kept(bucket, _name(deployment, claim)):
        last.extend(Line(f"{index}-0-{n}", text) for n, text in enumerate(texts, count + 1))
        count += len(texts)
    return count, last


async def _kept(bucket: Bucket, name: str) -> AsyncIterator[list[str]]:
    """The lines of a log in the bucket, up to a page at a time; none when it is not there."""
    unpacking = zstandard.ZstdDecompressor().decompressobj()
    rest = b""
    try:
        async with bucket.stream(name, chunk=65_536) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), _SLICE):
                    rest += unpacking.decompress(chunk[start : start + _SLICE])
                    *whole, rest = rest.split(b"\n")
                    for first in range(0, len(whole), PAGE):
                        yield [line.decode("utf-8", "replace") for line in whole[first:][:PAGE]]
    except NotInBucket:
        return
    except zstandard.ZstdError as error:
        raise Errored(f"{name} is broken: {error}", code="log_broken", retryable=False) from error
    if rest:
        yield [rest.decode("utf-8", "replace")]


def _name(deployment: Deployment, claim: str) -> str:
    return release.log_name(deployment.repository_key, deployment.id, claim)
