"""Logs over HTTP, for the API and the pages alike: as text, and as events; to so many at a time."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from typing import Final, Protocol, TypeVar

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from bot.core.bucket import Bucket
from bot.core.deployment import Deployment
from bot.core.errors import Errored
from bot.core.ledger import Ledger
from bot.logs import reading
from bot.logs.following import Changed, Ended, Followers, Lines
from bot.logs.reading import Line, Tail

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY: Final = "too_many_readers"
"""The code of the error when there is no place left."""
BEAT: Final = b": still here\n\n"
"""What keeps a text/event-stream alive; clients do not see it."""
_LINES_SENT: Final = 500
_AT_ONCE: Final = 20_000
"""Characters; with more of them, a thread makes what is sent, so that others need not wait."""
_TAILS: Final = 4


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """How many may read in one process at a time. Strangers bear no token."""

    following: int = 400
    strangers: int = 300
    """Of those who follow."""
    strangers_of_one: int = 100
    """Of those, who follow the same deployment."""
    whole: int = 32
    """Strangers who read a whole log as text."""


class Teller(Protocol):
    """What a reader is told, as events of a text/event-stream."""

    def lines(self, lines: Sequence[Line]) -> bytes:
        """Some lines. Pure: it may be called in a thread."""

    async def now(self, deployment: Deployment, *, ended: bool) -> bytes:
        """How the deployment is."""


class Logs:
    """The logs, with places for those who read them."""

    def __init__(self, ledger: Ledger, bucket: Bucket, *, places: Places | None = None) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._places = places or Places()
        self._followers = Followers(ledger, bucket)
        self._following = _Taken()
        self._whole = _Taken()
        self._tails = asyncio.Semaphore(_TAILS)
        # One at a time: threads of Python share one processor, and the loop is one of them.
        self._making = asyncio.Lock()

    async def with_tail(
        self,
        deployment: Deployment,
        make: Callable[[Tail | None], T],
        *,
        most: int,
        characters: int,
    ) -> T:
        """What `make` makes, in a thread, of the log's end; of None when it cannot be read."""
        async with self._tails:
            try:
                tail = await reading.tail(
                    self._ledger, self._bucket, deployment, most=most, characters=characters
                )
            except Errored as error:
                told = {"deployment": deployment.id, "code": error.code}
                log.warning("a log cannot be read", extra=told)
                tail = None
            async with self._making:
                return await asyncio.to_thread(make, tail)

    async def text(
        self,
        deployment: Deployment,
        *,
        stranger: bool,
        headers: Mapping[str, str],
        plain: Callable[[str], str] = str,
    ) -> Response:
        """The whole log as text, each line as `plain` makes it.

        Raises `Errored`: what cannot be read at all; `BUSY`.
        """
        with ExitStack() as taken:
            if stranger:
                taken.enter_context(self._whole.by("", most=self._places.whole))
            chunks = self._text(deployment, plain)
            # What cannot be read at all is said by the status.
            first = await anext(chunks, b"")
            place = taken.pop_all()

        async def body() -> AsyncGenerator[bytes, None]:
            yield first
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

        return _Stream(body(), place, media_type="text/plain; charset=utf-8", headers=headers)

    def events(
        self,
        id_: str,
        *,
        after: str,
        teller: Teller,
        stranger: bool,
        headers: Mapping[str, str],
    ) -> Response:
        """What comes after the line `after`, to the deployment's end. Raises `Errored` (`BUSY`)."""
        places = self._places
        with ExitStack() as taken:
            taken.enter_context(self._following.by("all", most=places.following))
            if stranger:
                taken.enter_context(self._following.by("strangers", most=places.strangers))
                taken.enter_context(self._following.by(id_, most=places.strangers_of_one))
            place = taken.pop_all()
        return _Stream(
            self._events(id_, after, teller),
            place,
            media_type="text/event-stream",
            headers={**headers, "X-Accel-Buffering": "no"},
        )

    async def _text(
        self, deployment: Deployment, plain: Callable[[str], str]
    ) -> AsyncGenerator[bytes, None]:
        held: list[str] = []

        def made() -> bytes:
            return "".join(f"{plain(text)}\n" for text in held).encode("utf-8", "replace")

        async for _, text in reading.lines(self._ledger, self._bucket, deployment):
            held.append(text)
            if len(held) >= _LINES_SENT:
                yield await self._make(made, size=sum(map(len, held)))
                held.clear()
        if held:
            yield await self._make(made, size=sum(map(len, held)))

    async def _events(self, id_: str, after: str, teller: Teller) -> AsyncGenerator[bytes, None]:
        try:
            async for event in self._followers.follow(id_, after=after):
                yield BEAT if event is None else await self._told(event, teller)
        except Errored as error:
            # The stream ends, and whoever follows comes back with the last id that it got.
            log.warning("a reader was left", extra={"deployment": id_, "code": error.code})

    async def _told(self, event: Lines | Changed | Ended, teller: Teller) -> bytes:
        if teller not in event.told:
            match event:
                case Lines(lines=lines):
                    size = sum(len(line.text) for line in lines)
                    event.told[teller] = await self._make(
                        lambda: event.told.get(teller) or teller.lines(lines), size=size
                    )
                case Changed(deployment=now):
                    event.told[teller] = await teller.now(now, ended=False)
                case Ended(deployment=now):
                    event.told[teller] = await teller.now(now, ended=True)
        return event.told[teller]

    async def _make(self, make: Callable[[], bytes], *, size: int) -> bytes:
        if size <= _AT_ONCE:
            return make()
        async with self._making:
            return await asyncio.to_thread(make)


class _Taken:
    """How many places of each kind are taken."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    @contextmanager
    def by(self, kind: str, *, most: int) -> Iterator[None]:
        """A place, for as long as the body lasts. Raises `Errored` (`BUSY`)."""
        taken = self._taken.get(kind, 0)
        if taken >= most:
            raise Errored(
                f"{taken} read logs here already, and there is no room for more of them: try again "
                "in a moment",
                code=BUSY,
            )
        self._taken[kind] = taken + 1
        try:
            yield
        finally:
            self._taken[kind] -= 1
            if not self._taken[kind]:
                del self._taken[kind]


class _Stream(StreamingResponse):
    """A stream that gives its place back, whether or not it has begun."""

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        place: ExitStack,
        *,
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(content, media_type=media_type, headers=headers)
        self._content = content
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            async with aclosing(self._content):
                await super().__call__(scope, receive, send)


def sse(data: str, *, event: str = "", id_: str = "") -> bytes:
    """One event of a text/event-stream. `data` may have several lines, and be hostile."""
    rows = [f"event: {event}"] if event else []
    rows += [f"data: {row}" for row in re.split(r"\r\n|\r|\n", data)]
    rows += [f"id: {id_}"] if id_ else []
    return "\n".join((*rows, "", "")).encode("utf-8", "replace")
