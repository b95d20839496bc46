"""POST /webhooks/github: bytes in, one durable record, an answer within milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Receiver:
    """Takes deliveries for the repositories that the settings allow."""

    ledger: Ledger
    settings: Settings
    missed: Callable[[], None] = lambda: None
    """Called when a delivery is refused by our own fault: GitHub will not come again by itself."""

    @property
    def route(self) -> Route:
        """Where GitHub posts to."""
        return Route(PATH, self.receive, methods=["POST"])

    async def receive(self, request: Request) -> Response:
        """202 with the deployment's id, 200 with why there is none, or a problem.

        503 says that nothing was recorded: GitHub shows the delivery as failed, and redelivers it
        when a person or the catch-up asks.
        """
        headers = dict(request.headers)
        body = b""
        try:
            body = await _body(request)
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


async def _body(request: Request) -> bytes:
    """The raw bytes, at most `BODY_LIMIT`, which is watched while they come."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > webhook.BODY_LIMIT:
        raise _too_large()
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > webhook.BODY_LIMIT:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> Rejected:
    return Rejected(
        f"the body is larger than {webhook.BODY_LIMIT // 1_000_000} MB, which GitHub never sends",
        code="body_too_large",
        http_status=413,
    )
