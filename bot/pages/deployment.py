"""A deployment's page: what it is, how it stands, where it is seen, and its log as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bot.core.deployment import (
    ENDED,
    ID,
    Deployment,
    Status,
    Timing,
    branch_label,
    deployment_label,
    timings,
)
from bot.core.ledger import Ledger
from bot.core.settings import Settings
from bot.logs import Line, Logs, Tail, sse
from bot.pages import ansi
from bot.pages.render import HEADERS, Renderer
from bot.pages.session import Sessions
from bot.pages.sign_in import to_sign_in

_LINES: Final = 2000
_CHARACTERS: Final = 500_000
"""The most of a log that one page holds; the whole of it is a link away."""
_BAR: Final = 1000
_SHORTEST: Final = 6


class Link(NamedTuple):
    """Where the deployment is seen. `note` says what that address shows, if not simply this."""

    name: str
    url: str
    note: str = ""
    live: bool = False


class Span(NamedTuple):
    """A stage with its place in the bar, which is a thousand wide."""

    status: Status
    seconds: float
    lasts: bool
    x: int
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class DeploymentPages:
    """The page of one deployment, its events and its log as text.

    Readable by anyone with the link, unless the repository is private: then a sign-in is needed,
    and an id that does not exist looks just the same from outside.
    """

    ledger: Ledger
    logs: Logs
    settings: Settings
    renderer: Renderer
    sessions: Sessions

    async def page(self, request: Request) -> Response:
        """The page. It can be read without scripts: then it reloads while things go on."""
        found = await self._readable(request)
        if found is None:
            return self._refusal(request)
        shown = {
            "signed_in": self.sessions.known(request),
            "github": self._on_github(found),
            **await self._now(found),
        }

        def page(tail: Tail | None) -> Response:
            after = tail.lines[-1].id if tail and tail.lines else ""
            return self.renderer.page("deployment.html", tail=tail, after=after, **shown)

        return await self.logs.with_tail(found, page, most=_LINES, characters=_CHARACTERS)

    async def events(self, request: Request) -> Response:
        """What the page's script listens to: lines in pieces, and the part that says how it stands.

        A line is JSON, `[[classes, text], …]`; `now` and `end` are HTML.
        """
        found = await self._readable(request)
        if found is None:
            return Response("sign in first\n", status_code=401, headers=HEADERS)
        return self.logs.events(
            found.id,
            after=request.headers.get("last-event-id") or request.query_params.get("after", ""),
            teller=self,
            stranger=not self.sessions.known(request),
            headers=HEADERS,
        )

    async def text(self, request: Request) -> Response:
        """The whole log as plain text, without colours."""
        found = await self._readable(request)
        if found is None:
            return self._refusal(request)
        stranger = not self.sessions.known(request)
        return await self.logs.text(found, stranger=stranger, headers=HEADERS, plain=ansi.plain)

    def lines(self, lines: Sequence[Line]) -> bytes:
        """As `Teller`: each line in pieces."""
        return b"".join(
            sse(msgspec.json.encode(ansi.pieces(line.text)).decode(), id_=line.id) for line in lines
        )

    async def now(self, deployment: Deployment, *, ended: bool) -> bytes:
        """As `Teller`: the part of the page that says how it stands."""
        html = self.renderer.fragment("now.html", **await self._now(deployment))
        return sse(html, event="end" if ended else "now")

    async def _readable(self, request: Request) -> Deployment | None:
        """The record, when it is there and whoever asks may read it."""
        id_ = request.path_params["id"]
        found = await self.ledger.view.deployment(id_) if ID.fullmatch(id_) else None
        if found is None or self.sessions.known(request):
            return found
        if found.private:
            return None
        # The repository may have become private since.
        project = await self.ledger.view.project(found.project)
        return None if project is None or project.private else found

    def _refusal(self, request: Request) -> Response:
        if not self.sessions.known(request):
            return to_sign_in(quote(request.scope["path"]))
        return self.renderer.page(
            "problem.html",
            status=404,
            signed_in=True,
            title="No such deployment",
            message="There is no deployment with this id, or no longer: one that led to no "
            "release is kept for 30 days.",
        )

    async def _now(self, deployment: Deployment) -> dict[str, Any]:
        """What `now.html` shows."""
        now = int(time.time() * 1000)
        return {
            "deployment": deployment,
            "ended": deployment.status in ENDED,
            "links": await self._links(deployment),
            "spans": spans(timings(deployment), now=now),
            "due_seconds": max(deployment.due_at - now, 0) / 1000,
        }

    async def _links(self, deployment: Deployment) -> list[Link]:
        if deployment.status is not Status.READY:
            return []
        project = deployment.project
        own = self.settings.site_url(deployment_label(deployment.id, project))
        gone = "no longer kept: redeploy it to see it again" if deployment.condemned_at else ""
        found = [Link("This deployment", own, gone)]
        if deployment.ref.startswith("refs/heads/"):
            label = branch_label(deployment.branch, project)
            newest = await self._shows(label, deployment)
            note = "" if newest else "shows another deployment of the branch, or nothing"
            found.append(Link(f"Branch {deployment.branch}", self.settings.site_url(label), note))
        live = await self._shows(project, deployment)
        if live or deployment.production:
            reason = deployment.reason or "built, not live: production shows another deployment"
            url = self.settings.site_url(project)
            found.append(Link("Production", url, "" if live else reason, live=live))
        return found

    async def _shows(self, label: str, deployment: Deployment) -> bool:
        alias = await self.ledger.aliases.get(label)
        return alias is not None and alias.deployment == deployment.id

    def _on_github(self, deployment: Deployment) -> dict[str, str]:
        repository = f"{self.settings.github_url}/{quote(deployment.repository)}"
        found = {"repository": repository}
        if deployment.ref.startswith("refs/heads/"):
            found["branch"] = f"{repository}/tree/{quote(deployment.branch)}"
        if deployment.commit:
            found["commit"] = f"{repository}/commit/{quote(deployment.commit)}"
        return found


def spans(found: tuple[Timing, ...], *, now: int) -> list[Span]:
    """The stages side by side, each as wide as it was long but never too narrow to be seen."""
    lengths = [max((timing.ended_at or now) - timing.began_at, 0) for timing in found]
    room = _BAR - _SHORTEST * len(found)
    total = sum(lengths) or 1
    placed: list[Span] = []
    x = before = 0
    for number, (timing, length) in enumerate(zip(found, lengths, strict=True), 1):
        before += length
        end = _SHORTEST * number + room * before // total
        placed.append(Span(timing.status, length / 1000, timing.ended_at == 0, x, end - x))
        x = end
    return placed
