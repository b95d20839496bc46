"""POST /webhooks/github: bytes in, one durable record, an answer within milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from bot import webhook
from bot.core.errors import Errored, Rejected
from bot.core.ledger import Ledger, Refusal
from bot.core.settings import Settings
from bot.delivery import pack, take
from bot.problems import problem_of

log = logging.getLogger(__name__)

PATH: Final = "/webhooks/github"
SMALL: Final = 262_144
"""Bytes of a body that are always taken; nearly every push is smaller."""
_ROOM: Final = 100_000_000
_FULL: Final = "receiver_full"


class Room:
    """What is left for the bodies that are larger, of all that come at the same time.

    Whether a body is signed is known only when all of it is here, so strangers may fill this room
    for as long as a body may take to come; small deliveries are taken meanwhile.
    """

    def __init__(self, size: int = _ROOM) -> None:
        """`size` is in bytes."""
        self._left = size

    @contextmanager
    def body(self) -> Iterator[Body]:
        """A body that comes; its place is free again at the end."""
        made = Body(self)
        try:
            yield made
        finally:
            self._left += made.beyond

    def take(self, count: int) -> None:
        """Raises `Errored` (`receiver_full`) when there is no room for so many bytes more."""
        if count > self._left:
            raise Errored("too many large deliveries come at once", code=_FULL)
        self._left -= count


class Body:
    """The raw bytes of one request, at most `BODY_LIMIT`, watched while they come."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.beyond = 0
        """Bytes that are held beyond `SMALL`."""

    async def read(self, request: Request) -> bytes:
        """All of it. Raises `Rejected` (413), `Errored` (`receiver_full`), `ClientDisconnect`."""
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > webhook.BODY_LIMIT:
            raise _too_large()
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > webhook.BODY_LIMIT:
                raise _too_large()
            more = max(size - SMALL, 0) - self.beyond
            self._room.take(more)
            self.beyond += more
            chunks.append(chunk)
        return b"".join(chunks)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes deliveries for the repositories that the settings allow."""

    ledger: Ledger
    settings: Settings
    missed: Callable[[], None] = lambda: None
    """Called when a delivery is refused by our own fault: GitHub will not come again by itself."""
    room: Room = field(default_factory=Room)

    @property
    def route(self) -> Route:
        """Where GitHub posts to."""
        return Route(PATH, self.receive, methods=["POST"])

    async def receive(self, request: Request) -> Response:
        """202 with the deployment's id, 200 with why there is none, or a problem.

        503 says that nothing was recorded: GitHub shows the delivery as failed, and redelivers it
        when a person or the catch-up asks.
        """
        with self.room.body() as body:
            return await self._receive(request, body)

    async def _receive(self, request: Request, coming: Body) -> Response:
        headers = dict(request.headers)
        body = b""
        try:
            webhook.ensure_signed(headers.get(webhook.SIGNATURE, ""))
            body = await coming.read(request)
            event = webhook.read(headers, body, secrets=self.settings.webhook_secrets)
            payload = await pack(body, content_type=headers.get("content-type", ""))
            taken = await take(event, payload, ledger=self.ledger, settings=self.settings)
        except Rejected as error:
            self.ledger.refusals.note(_refusal(error.code, request, body))
            return problem_of(error)
        except ClientDisconnect:
            # Nobody is there to be answered; a body that was cut is no delivery.
            self.ledger.refusals.note(_refusal("body_cut_short", request, body))
            return Response(status_code=400)
        except Errored as error:
            if error.code != _FULL:  # strangers too can bring that about
                self.missed()
            log.warning("a delivery could not be recorded", extra={"code": error.code})
            return problem_of(error)
        return Response(
            msgspec.json.encode(taken.answer),
            status_code=taken.status,
            media_type="application/json",
        )


def _refusal(code: str, request: Request, body: bytes) -> Refusal:
    headers = request.headers
    refusal = Refusal(
        code=code,
        peer=request.client.host if request.client else "",
        event=headers.get("x-github-event", ""),
        guid=headers.get("x-github-delivery", ""),
        repository=webhook.claimed_repository(body, content_type=headers.get("content-type", "")),
    )
    told = {"code": code, "guid": refusal.guid, "peer": refusal.peer}
    log.warning("delivery refused", extra=told)
    return refusal


def _too_large() -> Rejected:
    return Rejected(
        f"the body is larger than {webhook.BODY_LIMIT // 1_000_000} MB, which GitHub never sends",
        code="body_too_large",
        http_status=413,
    )
