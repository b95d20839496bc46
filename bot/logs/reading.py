"""The lines of all claims of a deployment, from wherever they lie: whole, the last, or on from one.

A line is read from Redis while it is there (minutes more once its log is saved), and then from the
bucket, where the whole log of each claim is kept. Memory is bounded by a page of lines, whatever
the length of the log.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec
import zstandard

from bot.core import release
from bot.core.bucket import Bucket, NotInBucket
from bot.core.deployment import Deployment
from bot.core.errors import Errored
from bot.core.ledger import Ledger

PAGE: Final = 1000
"""Lines that are held at once."""
_ID: Final = re.compile(r"([0-9]{1,4})-([0-9]{1,19}-[0-9]{1,19})")
_START: Final = "0"
_SLICE: Final = 256
"""Compressed bytes taken at a time: repetitive text may unpack to thousands of times as many."""


Position: TypeAlias = tuple[int, int, int]
"""How far somebody has read: the claim's index, and the two numbers of the last stream id."""


class Line(NamedTuple):
    """One line without its end.

    `id` is `<claim index>-<stream id>`, opaque to whoever gets it: what follows a line is asked
    for by its id. The nth line that comes from the bucket has the stream id `0-<n>`.
    """

    id: str
    text: str


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """The last lines of a log. `first` is the number of the first of them, counted from 1."""

    first: int
    lines: tuple[Line, ...]


def position(id_: str) -> Position:
    """Where the line with this id stands among those of its deployment."""
    index, _, rest = id_.partition("-")
    milliseconds, _, number = rest.partition("-")
    return int(index), int(milliseconds), int(number or 0)


async def lines(
    ledger: Ledger, bucket: Bucket, deployment: Deployment, *, after: str = ""
) -> AsyncIterator[Line]:
    """All lines of all claims so far, oldest first, or those after the line with the id `after`.

    An `after` that is no id of this log counts as none. Raises `Errored`.
    """
    async for page in Reader(ledger, bucket, after=after).pages(deployment):
        for line in page:
            yield line


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


class Reader:
    """Reads on, claim after claim, from where it came to the last time."""

    def __init__(self, ledger: Ledger, bucket: Bucket, *, after: str) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._index, self._after = 0, _START
        self.skip(after)

    @property
    def position(self) -> Position:
        """How far it has come."""
        return position(f"{self._index}-{self._after}")

    def skip(self, id_: str) -> None:
        """Goes on after the line with this id; what is no id is passed over."""
        if found := _ID.fullmatch(id_):
            self._index, self._after = int(found[1]), found[2]

    def begin(self, deployment: Deployment) -> None:
        """Begins anew where it claims to have come further than the log of this deployment goes."""
        if self._after != _START and self._index >= len(deployment.claims):
            self._index, self._after = 0, _START

    async def skip_all(self, deployment: Deployment) -> None:
        """Goes on after what is there now."""
        self._index, self._after = len(deployment.claims), _START
        if deployment.claims and deployment.claim == deployment.claims[-1]:
            self._index -= 1
            _, last = await self._ledger.logs.last(deployment.id, deployment.claim, limit=1)
            self._after = last[-1].id if last else _START

    async def pages(self, deployment: Deployment) -> AsyncGenerator[list[Line], None]:
        """What is there now and has not been read; `deployment` is the record as it is now.

        The log of the running claim is read from Redis alone: more of it may come.
        """
        self.begin(deployment)
        claims = deployment.claims
        while self._index < len(claims):
            claim = claims[self._index]
            closed = claim != deployment.claim
            whole, count, more = self._after == _START, 0, True
            async for page in self._from_redis(deployment.id, claim):
                count, more = count + len(page), len(page) == PAGE
                yield page
            if not closed:
                return
            if more and not await self._is_in_redis(deployment.id, claim):
                # Where it went while it was read, what follows lies there too.
                if whole:
                    self._after = f"0-{count}"
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
            self._after = f"0-{count}"
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
