"""The overview: projects with what is live, the newest deployments, the queue's health in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bot.core.deployment import Deployment, Status
from bot.core.ledger import Ledger, Project
from bot.core.settings import Settings
from bot.pages.render import Renderer
from bot.pages.session import Sessions
from bot.pages.sign_in import to_sign_in

_NEWEST: Final = 20
_WRECKED: Final = frozenset({Status.FAILED, Status.ERRORED})


class Production(msgspec.Struct, frozen=True, kw_only=True):
    """A project and what its production shows; `live` is None when that is nothing.

    `wreck` is the newest deployment of its production branch, when that failed or errored.
    """

    project: Project
    url: str
    live: Deployment | None
    wreck: Deployment | None
    moved_at: int = 0
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page, for whoever is signed in."""

    ledger: Ledger
    settings: Settings
    renderer: Renderer
    sessions: Sessions

    async def page(self, request: Request) -> Response:
        """The page, or the way to the sign-in."""
        if not self.sessions.known(request):
            return to_sign_in("/")
        view = self.ledger.view
        newest, _ = await view.deployments(limit=_NEWEST)
        return self.renderer.page(
            "overview.html",
            signed_in=True,
            queue=await view.queue(),
            productions=[await self._production(each) for each in await view.projects()],
            deployments=newest,
        )

    async def _production(self, project: Project) -> Production:
        view = self.ledger.view
        newest, _ = await view.deployments(
            project=project.slug, branch=project.production_branch, limit=1
        )
        wreck = next((each for each in newest if each.status in _WRECKED), None)
        url = self.settings.site_url(project.slug)
        alias = await self.ledger.aliases.get(project.slug)
        if alias is None or not alias.deployment:
            return Production(project=project, url=url, live=None, wreck=wreck)
        return Production(
            project=project,
            url=url,
            live=await view.deployment(alias.deployment),
            wreck=wreck,
            moved_at=alias.moved_at,
            pinned=alias.pinned,
        )
