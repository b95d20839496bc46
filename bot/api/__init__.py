"""The JSON API: its routes, behind one door that lets nobody in without a token."""

from __future__ import annotations

from starlette.routing import Mount

from bot.api.access import Guard
from bot.api.deliveries import deliveries
from bot.api.deployments import deployments
from bot.api.front import Front
from bot.api.projects import projects
from bot.api.queue import queue
from bot.api.restores import restores
from bot.keeper import Keeper

__all__ = ["Front", "mount"]


def mount(front: Front, *, keeper: Keeper | None = None) -> Mount:
    """Everything below /api/v1; restorations only with the keeper that makes them."""
    rooms = (deployments, projects, queue, deliveries)
    routes = [route for room in rooms for route in room(front)]
    if keeper is not None:
        routes += restores(keeper)
    return Mount("/api/v1", app=Guard(routes, token=front.settings.api_token))
