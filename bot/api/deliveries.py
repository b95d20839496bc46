"""What a delivery led to, over the API."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer
from bot.api.shapes import iso
from bot.core.errors import Rejected


class DeliveryShape(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery, the rule that decided, and the deployment that it led to."""

    guid: str
    event: str
    repository: str
    ref: str
    outcome: str
    rule: str
    deployment: str | None
    at: str | None


def deliveries(front: Front) -> list[Route]:
    """The route /deliveries/{guid}."""

    async def show(request: Request) -> Response:
        guid = request.path_params["guid"]
        found = await front.ledger.view.delivery(guid)
        if found is None:
            raise Rejected(
                f"no delivery {guid[:64]!r} was seen in the last 30 days: compare with "
                "the webhook's recent deliveries on GitHub",
                code="delivery_not_found",
                http_status=404,
            )
        return answer(
            DeliveryShape(
                guid=found.guid,
                event=found.event,
                repository=found.repository,
                ref=found.ref,
                outcome=found.outcome,
                rule=found.rule,
                deployment=found.deployment or None,
                at=iso(found.at),
            )
        )

    return [Route("/deliveries/{guid}", show, methods=["GET"])]
