"""What every route of the API works with, and the small readings that several of them share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bot.api.shapes import DeploymentShape, shape_of
from bot.collector import Collector
from bot.core.deployment import Deployment
from bot.core.errors import Rejected
from bot.core.ledger import Alias, Ledger, Project
from bot.core.settings import Settings
from bot.keeper import Keeper
from bot.logs import Logs

BODY_LIMIT = 65_536
_CURSOR: Final = re.compile(r"[0-9]{1,16}\.[0-9]{3}")


@dataclass(frozen=True, slots=True)
class Front:
    """The ledger, the logs, the settings, and what is at work on them, as the routes see them."""

    ledger: Ledger
    logs: Logs
    settings: Settings
    collector: Collector
    keeper: Keeper

    async def deployment(self, id_: str) -> Deployment:
        """The record. Raises `Rejected` (404 `not_found`)."""
        found = await self.ledger.view.deployment(id_)
        if found is None:
            raise Rejected(
                f"there is no deployment {id_[:40]!r}; see `pushlane list`",
                code="not_found",
                http_status=404,
            )
        return found

    async def project(self, name: str) -> Project:
        """A project by its slug or `owner/name`. Raises `Rejected` (404 `project_not_found`)."""
        found = await self.ledger.view.project(name)
        if found is None:
            raise Rejected(
                f"there is no project {name[:140]!r}; see `pushlane projects`",
                code="project_not_found",
                http_status=404,
            )
        return found

    async def shape(
        self, deployment: Deployment, aliases: dict[str, Alias | None] | None = None
    ) -> DeploymentShape:
        """The record as the API tells it. `aliases` remembers what production shows."""
        known = {} if aliases is None else aliases
        if deployment.project not in known:
            known[deployment.project] = await self.ledger.aliases.get(deployment.project)
        alias = known[deployment.project]
        live = alias is not None and alias.deployment == deployment.id
        return shape_of(deployment, self.settings, live=live)


async def body_of(request: Request, *, limit: int = BODY_LIMIT) -> bytes:
    """The request's body of at most `limit` bytes. Raises `Rejected` (413 `body_too_large`)."""
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > limit:
            raise Rejected(
                f"the body is larger than {limit // 1024} KB",
                code="body_too_large",
                http_status=413,
            )
    return found


def flag(request: Request, name: str) -> bool:
    """A parameter of the query that is on or off; off without it. Raises `Rejected`."""
    text = request.query_params.get(name, "0").lower()
    if text not in ("1", "true", "0", "false"):
        raise Rejected(f"{name} is {text[:40]!r}; it takes 1 or 0", code=f"{name}_invalid")
    return text in ("1", "true")


def idempotency_key(request: Request, body: bytes = b"") -> str:
    """What the `Idempotency-Key` header stands for on this route, with this body; `""` without."""
    key = request.headers.get("idempotency-key", "")
    if not key:
        return ""
    if len(key) > 255:
        raise Rejected(
            "Idempotency-Key is longer than 255 characters", code="idempotency_key_invalid"
        )
    named = hashlib.sha256(f"{request.scope['path']}\n{key}".encode()).hexdigest()
    return f"{named}:{hashlib.sha256(body).hexdigest()}"


def cursor_of(request: Request) -> str:
    """Where a page begins; `""` is at the newest. Raises `Rejected` (400 `query_invalid`)."""
    cursor = request.query_params.get("cursor", "")
    if cursor and not _CURSOR.fullmatch(cursor):
        raise Rejected("cursor takes what the page before gave as `cursor`", code="query_invalid")
    return cursor


def limit_of(request: Request) -> int:
    """How many a page holds at most, 20 unless told. Raises `Rejected` (400 `query_invalid`)."""
    text = request.query_params.get("limit", "20")
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        raise Rejected(
            f"limit is {text[:20]!r}; it takes a number from 1 to 100", code="query_invalid"
        )
    return int(text)


def answer(
    found: msgspec.Struct | msgspec.Raw | Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A JSON answer, not to be stored by anyone between."""
    return Response(
        msgspec.json.encode(found),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
