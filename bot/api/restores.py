"""Restorations over the API: asking for one, and how far it is."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer, body_of
from bot.api.shapes import iso
from bot.core.ledger.restores import Progress, State
from bot.keeper import Keeper
from bot.problems import read_json


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`force` brings what the bucket holds into a ledger that is not empty, too."""

    force: bool = False


class RestoreShape(msgspec.Struct, frozen=True, kw_only=True):
    """A restoration: the one that goes on, else the last one."""

    state: Literal["restoring", "restored", "whole"]
    """`whole`: this ledger was never restored."""
    detail: str
    """What is in its way."""
    begun_at: str | None
    ended_at: str | None
    done: int
    """Of the `of` things that the bucket holds and the ledger lacked."""
    of: int
    projects: int
    aliases: int
    deployments: int


def restores(front: Front) -> list[Route]:
    """The route /restore."""
    keeper = front.keeper

    async def begin(request: Request) -> Response:
        asked = read_json(await body_of(request), Wanted)
        assert isinstance(asked, Wanted)
        found = _shape(keeper, await keeper.restore(force=asked.force))
        return answer(found, status=202 if found.state == "restoring" else 200)

    async def show(_: Request) -> Response:
        return answer(_shape(keeper, await keeper.progress()))

    return [
        Route("/restore", begin, methods=["POST"]),
        Route("/restore", show, methods=["GET"]),
    ]


def _shape(keeper: Keeper, state: State) -> RestoreShape:
    goes_on = state.going_on is not None or not state.epoch
    found = state.going_on or (Progress() if goes_on else state.last or Progress())
    return RestoreShape(
        state="restoring" if goes_on else "restored" if state.last else "whole",
        detail=keeper.trouble,
        begun_at=iso(found.begun_at),
        ended_at=iso(found.ended_at),
        done=found.done,
        of=found.of,
        projects=found.projects,
        aliases=found.aliases,
        deployments=found.deployments,
    )
