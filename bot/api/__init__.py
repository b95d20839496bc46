"""The JSON API: its routes, behind one door that lets nobody in without a token."""

from __future__ import annotations

from starlette.routing import Mount

from bot.api.access import Guard
from bot.api.collecting import collecting
from bot.api.deliveries import deliveries
from bot.api.deployments import deployments
from bot.api.env import env
from bot.api.front import Front
from bot.api.projects import projects
from bot.api.queue import queue
from bot.api.restores import restores

__all__ = ["Front", "mount"]


def mount(front: Front) -> Mount:
    """Everything below /api/v1."""
    rooms = (deployments, projects, env, queue, deliveries, collecting, restores)
    routes = [route for room in rooms for route in room(front)]
    return Mount("/api/v1", app=Guard(routes, token=front.settings.api_token))
