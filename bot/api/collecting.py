"""The collector over the API: a round on request, and what one would do."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer, flag


def collecting(front: Front) -> list[Route]:
    """The route /gc."""

    async def collect(request: Request) -> Response:
        # Asked again it goes on from there, so it needs no Idempotency-Key.
        return answer(await front.collector.collect(dry_run=flag(request, "dry_run")))

    return [Route("/gc", collect, methods=["POST"])]
