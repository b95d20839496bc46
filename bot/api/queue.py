"""The queue's health over the API."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer
from bot.core.deployment import Deployment, Status


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that somebody works on."""

    id: str
    project: str
    status: Status
    seconds: float
    """In this status."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The queue at one moment."""

    verdict: str
    lists: dict[str, list[str]]
    """Ids in order, the next first, by the list's name."""
    waiting: int
    active: list[Active]
    delayed: int
    dead: int
    oldest_seconds: float
    """Age of what has waited longest."""
    builds_per_minute: float
    """Over the last five minutes."""


def queue(front: Front) -> list[Route]:
    """The route /queue."""

    async def show(_: Request) -> Response:
        view = front.ledger.view
        found = await view.queue()
        active = [await view.deployment(id_) for id_ in found.active]
        return answer(
            Queue(
                verdict=found.verdict,
                lists={"fetch": found.fetch, "high": found.high, "build-queue": found.normal},
                waiting=found.waiting,
                active=[_active(each) for each in active if each],
                delayed=found.delayed,
                dead=found.dead,
                oldest_seconds=round(found.oldest_seconds, 3),
                builds_per_minute=found.built / 5,
            )
        )

    return [Route("/queue", show, methods=["GET"])]


def _active(deployment: Deployment) -> Active:
    since = int(getattr(deployment, f"{deployment.status.value}_at", 0))
    return Active(
        id=deployment.id,
        project=deployment.project,
        status=deployment.status,
        seconds=round(max(time.time() - since / 1000, 0), 3) if since else 0.0,
    )
