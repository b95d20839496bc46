"""Projects over the API: what there is, what a person sets of one, and moves of production."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.deployments import check_repository, moved
from bot.api.front import Front, answer, body_of, idempotency_key
from bot.api.shapes import ProjectShape, iso
from bot.core.errors import Rejected
from bot.core.ledger import Project
from bot.core.project import check_slug, settings_of
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
        Route("/projects/{slug}", room.put, methods=["PUT"]),
        Route("/projects/{slug}", room.change, methods=["PATCH"]),
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

    async def put(self, request: Request) -> Response:
        slug, given = request.path_params["slug"], await _given(request)
        check_slug(slug)
        repository = given.pop("repository", None)
        check_repository(repository, self._front.settings)
        made = await self._front.ledger.projects.put(
            slug, settings_of(given), repository=repository
        )
        found = await self._front.project(slug)
        return answer(await self._shape(found), status=201 if made == "made" else 200)

    async def change(self, request: Request) -> Response:
        project = await self._front.project(request.path_params["slug"])
        given = await _given(request)
        await self._front.ledger.projects.change(
            project.slug, lambda before: settings_of(given, before)
        )
        return answer(await self._shape(await self._front.project(project.slug)))

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
            settings=await self._front.ledger.projects.settings(project.slug),
        )


async def _given(request: Request) -> dict[str, Any]:
    """The body's fields, as they were given. Raises `Rejected` (400 `body_malformed`)."""
    try:
        found = msgspec.json.decode(await body_of(request) or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Rejected(f"the body is wrong: {error}", code="body_malformed") from None
    return found
