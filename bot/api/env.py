"""Build secrets over the API: set, listed by name, unset. No answer holds a value."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.api.front import Front, answer, body_of
from bot.api.shapes import iso
from bot.core.errors import Rejected
from bot.core.secrets import LONGEST, Context, Keyring, by_name, check_name, check_value
from bot.problems import read_json

_BODY_LIMIT = 7 * LONGEST
"""JSON may spell one byte out as six."""


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret to be kept."""

    value: str
    contexts: tuple[str, ...] = tuple(context.value for context in Context)
    """For which deployments: `production`, `preview`."""


class SecretShape(msgspec.Struct, frozen=True, kw_only=True):
    """A secret without its value."""

    name: str
    contexts: list[Context]
    """Those that it is set for; in each it may have another value."""
    updated_at: str | None
    """When a value of it was set last."""


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """All secrets of a project, by name."""

    secrets: list[SecretShape]


class Unset(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    name: str
    contexts: list[Context]


def env(front: Front) -> list[Route]:
    """The routes below /projects/{slug}/env."""
    room = _Env(front)
    return [
        Route("/projects/{slug}/env", room.all, methods=["GET"]),
        Route("/projects/{slug}/env/{name}", room.set, methods=["PUT"]),
        Route("/projects/{slug}/env/{name}", room.unset, methods=["DELETE"]),
    ]


class _Env:
    def __init__(self, front: Front) -> None:
        self._front = front
        self._keyring = Keyring(front.settings.secret_key)

    async def all(self, request: Request) -> Response:
        project = await self._front.project(request.path_params["slug"])
        _, held = await self._front.ledger.projects.read(project.slug)
        return answer(
            Secrets(
                secrets=[
                    SecretShape(
                        name=name,
                        contexts=[each.context for each in sealed],
                        updated_at=iso(max(each.updated_at for each in sealed)),
                    )
                    for name, sealed in by_name(held.sealed).items()
                ]
            )
        )

    async def set(self, request: Request) -> Response:
        name = request.path_params["name"]
        check_name(name)
        given = _read(await body_of(request, limit=_BODY_LIMIT))
        check_value(given.value)
        contexts = _contexts(given.contexts)
        project = await self._front.project(request.path_params["slug"])
        owner = await self._front.ledger.projects.owner(project.slug)

        def sealed() -> dict[Context, str]:
            return {
                context: self._keyring.seal(given.value, owner=owner, context=context, name=name)
                for context in contexts
            }

        tokens = await asyncio.to_thread(sealed)
        at = await self._front.ledger.projects.set_secret(project.slug, name, tokens, owner=owner)
        return answer(SecretShape(name=name, contexts=contexts, updated_at=iso(at)))

    async def unset(self, request: Request) -> Response:
        name, context = request.path_params["name"], request.query_params.get("context", "")
        asked = _contexts([context])[0] if context else None
        project = await self._front.project(request.path_params["slug"])
        gone = await self._front.ledger.projects.unset_secret(project.slug, name, context=asked)
        if not gone:
            where = f" for {asked}" if asked else ""
            raise Rejected(
                f"{project.slug} has no secret {name[:140]!r}{where}; see: "
                f"pushlane env list {project.slug}",
                code="secret_not_found",
                http_status=404,
            )
        return answer(Unset(name=name, contexts=gone))


def _read(body: bytes) -> Given:
    try:
        found = read_json(body, Given)
    except Rejected:
        # What is wrong with a body may quote from it.
        raise Rejected(
            'the body is wrong: it takes {"value": "…", "contexts": ["production", "preview"]}',
            code="body_malformed",
        ) from None
    assert isinstance(found, Given)
    return found


def _contexts(given: Iterable[str]) -> list[Context]:
    """The contexts that are named, each once, in order. Raises `Rejected`."""
    known = {context.value: context for context in Context}
    names = set(given)
    if not names or not names <= known.keys():
        raise Rejected(
            f"contexts are {', '.join(known)}; one of them, or both", code="context_invalid"
        )
    return sorted(known[name] for name in names)
