"""Deliveries over the API: what each led to and why, what was refused, and taking one up again."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer, cursor_of, limit_of
from bot.api.shapes import iso
from bot.core.deployment import Deployment, Status
from bot.core.errors import Rejected
from bot.core.ledger import OUTCOMES, Delivery
from bot.delivery import Received, payload_text, take_again
from bot.why import why

_START: Final = re.compile(r"[A-Za-z0-9-]{8,63}")
"""So much of a GUID is enough, where no other begins with it."""


class DeliveryShape(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery, the rule that decided, and the deployment that it led to."""

    guid: str
    event: str
    repository: str
    project: str | None
    ref: str
    before: str
    after: str
    outcome: str
    rule: str
    deployment: str | None
    signature: str = "valid"
    """Of what is here; the others are among the refused, each with the code of what was wrong."""
    answer: int
    """The HTTP status that it got."""
    size: int
    """Bytes of its body."""
    at: str | None


class WholeDelivery(DeliveryShape, frozen=True, kw_only=True):
    """The same, with what has become of it."""

    deployments: tuple[str, ...]
    """It, and those of the repository's further projects."""
    status: Status | None
    """The deployment's, now."""
    why: str
    """In one sentence."""
    payload_kept: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, newest first."""

    deliveries: list[DeliveryShape]
    cursor: str | None
    """Of the next page; None at the end."""


class RefusalShape(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused. All but `at`, `peer` and `code` is what its sender claims."""

    at: str | None
    peer: str
    code: str
    event: str
    guid: str
    repository: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """How many were refused in the last 30 days, by code, and the newest of them first."""

    counts: dict[str, int]
    newest: list[RefusalShape]


def deliveries(front: Front) -> list[Route]:
    """The routes below /deliveries."""
    room = _Deliveries(front)
    return [
        Route("/deliveries", room.page, methods=["GET"]),
        Route("/deliveries/refused", room.refused, methods=["GET"]),
        Route("/deliveries/{guid}", room.show, methods=["GET"]),
        Route("/deliveries/{guid}/redeliver", room.redeliver, methods=["POST"]),
    ]


class _Deliveries:
    def __init__(self, front: Front) -> None:
        self._front = front

    async def page(self, request: Request) -> Response:
        asked = request.query_params
        outcome, project = asked.get("outcome", ""), asked.get("project", "")
        if outcome and outcome not in OUTCOMES:
            raise Rejected(
                f"outcome is {outcome[:40]!r}; it takes {', '.join(OUTCOMES)}",
                code="query_invalid",
            )
        found, following = await self._front.ledger.view.deliveries(
            project=(await self._front.project(project)).slug if project else "",
            repository=asked.get("repository", ""),
            outcome=outcome,
            cursor=cursor_of(request),
            limit=limit_of(request),
        )
        shapes = [DeliveryShape(**_fields(each)) for each in found]
        return answer(Page(deliveries=shapes, cursor=following or None))

    async def refused(self, _: Request) -> Response:
        counts, newest = await self._front.ledger.refusals.read()
        shapes = [
            RefusalShape(**{**msgspec.structs.asdict(each), "at": iso(each.at)}) for each in newest
        ]
        return answer(Refused(counts=counts, newest=shapes))

    async def show(self, request: Request) -> Response:
        found = await self._found(request)
        if request.query_params.get("payload", "") not in ("", "0", "false"):
            packed = await self._front.ledger.view.payload(found.guid)
            if packed is None:
                raise Rejected(
                    "the payload of this delivery is not kept: the webhook's recent deliveries "
                    "on GitHub show it",
                    code="payload_not_kept",
                    http_status=404,
                )
            return answer(msgspec.Raw((await payload_text(found, packed)).encode()))
        deployment, words = await self._why(found)
        return answer(
            WholeDelivery(
                **_fields(found),
                deployments=_led(found, deployment),
                status=deployment.status if deployment else None,
                why=words,
                payload_kept=await self._front.ledger.view.has_payload(found.guid),
            )
        )

    async def redeliver(self, request: Request) -> Response:
        before = await self._found(request)
        ledger, settings = self._front.ledger, self._front.settings
        taken = await take_again(before, ledger=ledger, settings=settings)
        _, words = await self._why(await self._found(request))
        if taken.outcome == "repeated" and isinstance(taken.answer, Received):
            words += f"; to build it anew: pushlane redeploy {taken.answer.deployment}"
        said = {**msgspec.to_builtins(taken.answer), "outcome": taken.outcome, "why": words}
        return answer(said, status=taken.status)

    async def _found(self, request: Request) -> Delivery:
        guid = request.path_params["guid"]
        found = await self._front.ledger.view.delivery(guid)
        if found is None and _START.fullmatch(guid):
            guids = await self._front.ledger.view.guids(guid)
            if len(guids) > 1:
                raise Rejected(
                    f"{len(guids)} deliveries begin with {guid!r}: give more of it",
                    code="delivery_ambiguous",
                )
            found = await self._front.ledger.view.delivery(guids[0]) if guids else None
        if found is None:
            raise Rejected(
                f"no delivery {guid[:64]!r} was seen in the last 30 days: compare with "
                "the webhook's recent deliveries on GitHub, and with what was refused "
                "(pushlane deliveries --refused)",
                code="delivery_not_found",
                http_status=404,
            )
        return found

    async def _why(self, found: Delivery) -> tuple[Deployment | None, str]:
        """The deployment that it led to, as it is now, and the answer in words."""
        deployment = None
        if found.deployment:
            deployment = await self._front.ledger.view.deployment(found.deployment)
        live = False
        if deployment is not None:
            alias = await self._front.ledger.aliases.get(deployment.project)
            live = alias is not None and alias.deployment == deployment.id
        return deployment, why(found, deployment, live=live)


def _led(found: Delivery, deployment: Deployment | None) -> tuple[str, ...]:
    """Every deployment that it led to, the main project's first."""
    if not found.deployment:
        return ()
    return (found.deployment, *(deployment.beside if deployment else ()))


def _fields(found: Delivery) -> dict[str, Any]:
    """What is told of each delivery."""
    fields = msgspec.structs.asdict(found)
    del fields["form"]
    return {
        **fields,
        "project": found.project or None,
        "deployment": found.deployment or None,
        "at": iso(found.at),
    }
