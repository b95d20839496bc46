"""Projects over the API: what there is, and the moves of production that a person makes."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.deployments import moved
from bot.api.front import Front, answer, body_of, idempotency_key
from bot.api.shapes import ProjectShape, iso
from bot.core.ledger import Project
from bot.problems import read_json


class Projects(msgspec.Struct, frozen=True, kw_only=True):
    """All projects, oldest first."""

    projects: list[ProjectShape]


class Rollback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to: a deployment's id, or nothing for the one before the one that is live."""

    to: str = ""


def projects(front: Front) -> list[Route]:
    """The routes below /projects."""
    room = _Projects(front)
    return [
        Route("/projects", room.all, methods=["GET"]),
        Route("/projects/{slug}", room.show, methods=["GET"]),
        Route("/projects/{slug}/rollback", room.rollback, methods=["POST"]),
        Route("/projects/{slug}/unpin", room.unpin, methods=["POST"]),
    ]


class _Projects:
    def __init__(self, front: Front) -> None:
        self._front = front

    async def all(self, request: Request) -> Response:
        repository = request.query_params.get("repository", "")
        if repository:
            main = await self._front.ledger.view.project(repository)
            every = await self._front.ledger.view.projects() if main else []
            found = [each for each in every if main and main.slug in (each.slug, each.main)]
        else:
            found = await self._front.ledger.view.projects()
        return answer(Projects(projects=[await self._shape(each) for each in found]))

    async def show(self, request: Request) -> Response:
        found = await self._front.project(request.path_params["slug"])
        return answer(await self._shape(found))

    async def rollback(self, request: Request) -> Response:
        body = await body_of(request)
        asked = read_json(body, Rollback)
        assert isinstance(asked, Rollback)
        project = await self._front.project(request.path_params["slug"])
        move = await self._front.ledger.aliases.rollback(
            project.slug, to=asked.to, idempotency_key=idempotency_key(request, body)
        )
        return moved(self._front, move)

    async def unpin(self, request: Request) -> Response:
        project = await self._front.project(request.path_params["slug"])
        move = await self._front.ledger.aliases.unpin(
            project.slug, idempotency_key=idempotency_key(request)
        )
        return moved(self._front, move)

    async def _shape(self, project: Project) -> ProjectShape:
        alias = await self._front.ledger.aliases.get(project.slug)
        return ProjectShape(
            slug=project.slug,
            repository=project.repository,
            repository_id=project.repository_id,
            private=project.private,
            main=project.main or None,
            entry=project.entry or None,
            default_branch=project.default_branch,
            production_branch=project.production_branch,
            created_at=iso(project.created_at),
            url=self._front.settings.site_url(project.slug),
            live=(alias.deployment or None) if alias else None,
            pinned=alias.pinned if alias else False,
        )
