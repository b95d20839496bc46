"""Deployments over the API: list, look, ask for one, and what may be done to one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer, body_of, cursor_of, idempotency_key, limit_of
from bot.api.shapes import DeploymentShape
from bot.core.deployment import COMMIT, Deployment, Status, Trigger
from bot.core.errors import Rejected
from bot.core.ledger import Alias, Move
from bot.core.ledger import Request as Asked
from bot.core.settings import Settings
from bot.logs import Line, sse
from bot.problems import read_json

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_REF: Final = re.compile(
    r"(?!.*(\.\.|@\{|//|\.lock(/|$)|/\.|\.$|/$))[^\x00-\x20\x7f~^:?*\[\\]{1,900}"
)
_DIGITS: Final = re.compile(r"[0-9a-f]{7,39}")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Deployments, newest first."""

    deployments: list[DeploymentShape]
    cursor: str | None
    """Of the next page; None at the end."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be deployed: a ref of a repository, or of a project that is known already."""

    repository: str = ""
    project: str = ""
    ref: str = ""
    """A branch, a tag, a whole ref or 40 hex digits; empty is the production branch."""


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What calling off led to: `cancelled` at once, or `stopping` by the next extension."""

    outcome: str
    deployment: DeploymentShape


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """Where production points now. `previous` is the deployment that it showed before."""

    alias: str
    url: str
    deployment: str
    previous: str
    pinned: bool


def deployments(front: Front) -> list[Route]:
    """The routes below /deployments."""
    room = _Deployments(front)
    return [
        Route("/deployments", room.page, methods=["GET"]),
        Route("/deployments", room.create, methods=["POST"]),
        Route("/deployments/{id}", room.show, methods=["GET"]),
        Route("/deployments/{id}/log", room.log, methods=["GET"]),
        Route("/deployments/{id}/redeploy", room.redeploy, methods=["POST"]),
        Route("/deployments/{id}/cancel", room.cancel, methods=["POST"]),
        Route("/deployments/{id}/promote", room.promote, methods=["POST"]),
    ]


def moved(front: Front, move: Move) -> Response:
    """The answer to a move of production."""
    return answer(
        Moved(
            alias=move.label,
            url=front.settings.site_url(move.label),
            deployment=move.deployment,
            previous=move.previous,
            pinned=move.pinned,
        )
    )


class _Deployments:
    def __init__(self, front: Front) -> None:
        self._front = front

    async def page(self, request: Request) -> Response:
        asked = request.query_params
        status = asked.get("status", "")
        if status and status not in {each.value for each in Status}:
            known = ", ".join(each.value for each in Status)
            raise Rejected(f"status is {status[:40]!r}; it takes {known}", code="query_invalid")
        project = asked.get("project", "")
        found, following = await self._front.ledger.view.deployments(
            project=(await self._front.project(project)).slug if project else "",
            branch=asked.get("branch", ""),
            status=status,
            cursor=cursor_of(request),
            limit=limit_of(request),
        )
        aliases: dict[str, Alias | None] = {}
        shapes = [await self._front.shape(each, aliases) for each in found]
        return answer(Page(deployments=shapes, cursor=following or None))

    async def create(self, request: Request) -> Response:
        body = await body_of(request)
        wanted = read_json(body, Wanted)
        assert isinstance(wanted, Wanted)
        if bool(wanted.repository) == bool(wanted.project):
            raise Rejected(
                'name either a "repository" (owner/name) or a "project"', code="body_malformed"
            )
        repository, slug = wanted.repository, ""
        if wanted.project:
            known = await self._front.project(wanted.project)
            repository, slug = known.repository, known.slug
        check_repository(repository, self._front.settings)
        ref = await self._commit_of(slug or repository, wanted.ref) or _whole(wanted.ref)
        asked = Asked(
            repository=wanted.repository,
            project=slug,
            ref=ref,
            commit=ref if COMMIT.fullmatch(ref) else "",
            idempotency_key=idempotency_key(request, body),
        )
        return await self._recorded(asked)

    async def _commit_of(self, project: str, ref: str) -> str:
        """The commit that a few digits of it name, as every screen shows them; `""` for others."""
        if not _DIGITS.fullmatch(ref):
            return ""
        known = await self._front.ledger.view.project(project)
        return await self._front.ledger.view.commit(known.slug, ref) if known else ""

    async def show(self, request: Request) -> Response:
        found = await self._front.deployment(request.path_params["id"])
        return answer(await self._front.shape(found))

    async def redeploy(self, request: Request) -> Response:
        old = await self._front.deployment(request.path_params["id"])
        if not self._front.settings.allows(old.repository):
            raise Rejected(
                f"PUSHLANE_REPOS does not name {old.repository}",
                code="repository_not_allowed",
                http_status=403,
            )
        asked = Asked(
            project=old.project,
            ref=old.ref,
            commit=old.commit,
            trigger=Trigger.REDEPLOY,
            redeploy_of=old.id,
            idempotency_key=idempotency_key(request),
        )
        return await self._recorded(asked)

    async def cancel(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        await self._front.deployment(id_)
        outcome = await self._front.ledger.records.cancel(id_, reason="on request")
        now = await self._front.deployment(id_)
        if outcome == "ended" and now.status is Status.CANCELLED:
            outcome = "cancelled"
        if outcome == "ended":
            raise Rejected(
                f"{id_} has ended already as {now.status}", code="already_ended", http_status=409
            )
        return answer(
            Cancelled(outcome=outcome, deployment=await self._front.shape(now)), status=202
        )

    async def promote(self, request: Request) -> Response:
        id_ = request.path_params["id"]
        move = await self._front.ledger.aliases.promote(
            id_, idempotency_key=idempotency_key(request)
        )
        return moved(self._front, move)

    async def log(self, request: Request) -> Response:
        found = await self._front.deployment(request.path_params["id"])
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if request.query_params.get("follow", "") in ("", "0", "false"):
            return await self._front.logs.text(found, stranger=False, headers=headers)
        return self._front.logs.events(
            found.id,
            after=request.headers.get("last-event-id", ""),
            teller=self,
            stranger=False,
            headers=headers,
        )

    def lines(self, lines: Sequence[Line]) -> bytes:
        """As `Teller`: each line as it is."""
        return b"".join(sse(line.text, id_=line.id) for line in lines)

    async def now(self, deployment: Deployment, *, ended: bool) -> bytes:
        """As `Teller`: the record."""
        record = msgspec.json.encode(await self._front.shape(deployment)).decode()
        return sse(record, event="end" if ended else "status")

    async def _recorded(self, asked: Asked) -> Response:
        recorded = await self._front.ledger.records.request(asked)
        if recorded.outcome == "unknown":
            raise Rejected(
                "there is no such project; see `pushlane projects`",
                code="project_not_found",
                http_status=404,
            )
        found = await self._front.deployment(recorded.deployment)
        headers = {"Location": f"/api/v1/deployments/{found.id}"}
        return answer(await self._front.shape(found), status=202, headers=headers)


def check_repository(repository: object, settings: Settings) -> None:
    """Raises `Rejected`: `repository_invalid`, or 403 `repository_not_allowed`."""
    if not isinstance(repository, str) or not _REPOSITORY.fullmatch(repository):
        raise Rejected(
            f"repository is {str(repository or '')[:100]!r}; it takes owner/name",
            code="repository_invalid",
        )
    if not settings.allows(repository):
        raise Rejected(
            f"PUSHLANE_REPOS does not name {repository}",
            code="repository_not_allowed",
            http_status=403,
        )


def _whole(ref: str) -> str:
    """The whole ref that a person's short name means; intake tries a tag after a branch."""
    if not ref or COMMIT.fullmatch(ref):
        return ref
    if not _REF.fullmatch(ref):
        raise Rejected(
            f"ref is {ref[:100]!r}; it takes a branch, a tag or 40 hex digits", code="ref_invalid"
        )
    return ref if ref.startswith("refs/") else f"refs/heads/{ref}"
