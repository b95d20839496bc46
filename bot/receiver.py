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
from bot.core.deployment import Push, Removal
from bot.core.errors import Errored, PushlaneError, Rejected
from bot.core.ledger import Answer, Ledger
from bot.core.settings import Settings
from bot.problems import problem_of
from bot.webhook import Ignored, Ping

log = logging.getLogger(__name__)

PATH: Final = "/webhooks/github"


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a push: the deployments that it led to, the first of them by itself too."""

    deployment: str
    deployments: tuple[str, ...]


class Nothing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a delivery that builds nothing, and why."""

    ignored: str
    removed: str = ""
    """The branch whose alias is gone, after a deletion."""


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
        try:
            body = await _body(request)
            event = webhook.read(headers, body, secrets=self.settings.webhook_secrets)
            return await self._answer(event)
        except PushlaneError as error:
            if isinstance(error, Errored):
                self.missed()
            log.warning(
                "delivery refused",
                extra={
                    "code": error.code,
                    "guid": headers.get("x-github-delivery", "")[:64],
                    "peer": request.client.host if request.client else "",
                },
            )
            return problem_of(error)
        except ClientDisconnect:
            # Nobody is there to be answered; a body that was cut is no delivery.
            return Response(status_code=400)

    async def _answer(self, event: webhook.Event) -> Response:
        records = self.ledger.records
        match event:
            case Push() if not self.settings.allows(event.repository):
                return await self._nothing(event.guid, event.repository, event.ref, _NOT_ALLOWED)
            case Removal() if not self.settings.allows(event.repository):
                return await self._nothing(event.guid, event.repository, event.ref, _NOT_ALLOWED)
            case Push():
                answer = await records.record(event)
                _tell(event, answer)
                ids = (answer.deployment,)
                return _json(Received(deployment=answer.deployment, deployments=ids), status=202)
            case Removal():
                answer = await records.remove(event)
                _tell(event, answer)
                removed = event.ref.removeprefix("refs/heads/")
                if answer.outcome != "removed":
                    removed = ""
                return _json(Nothing(ignored=_REMOVALS[answer.outcome], removed=removed))
            case Ping():
                return await self._nothing(
                    event.guid, event.repository, "", "ping: the webhook works", event="ping"
                )
            case Ignored():
                return await self._nothing(
                    event.guid, event.repository, event.ref, event.reason, event=event.event
                )

    async def _nothing(
        self, guid: str, repository: str, ref: str, reason: str, *, event: str = "push"
    ) -> Response:
        await self.ledger.records.note(
            guid=guid, event=event, repository=repository, ref=ref, rule=reason
        )
        log.info("delivery ignored", extra={"guid": guid, "event": event, "reason": reason})
        return _json(Nothing(ignored=reason))


_NOT_ALLOWED: Final = "PUSHLANE_REPOS does not name this repository"
_REMOVALS: Final = {
    "removed": "the branch was deleted: its alias is gone, and what was being built for it stops",
    "late": "the branch was pushed again after this deletion",
    "unknown": "a branch was deleted of a repository that has no project here",
    "repeated": "this deletion was delivered before",
}


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


def _tell(event: Push | Removal, answer: Answer) -> None:
    log.info(
        "delivery recorded",
        extra={
            "guid": event.guid,
            "repository": event.repository,
            "ref": event.ref,
            "outcome": answer.outcome,
            "deployment": answer.deployment,
        },
    )


def _json(answer: msgspec.Struct, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")
