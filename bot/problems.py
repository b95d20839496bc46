"""How an error of the tree is told over HTTP: RFC 9457's problem+json, with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.core.errors import Errored, PushlaneError, Rejected

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body. `detail` is for a person, `code` for a program."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str


def problem(
    status: int, *, code: str, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that says what is wrong and what to do."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code)
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def problem_of(error: PushlaneError) -> Response:
    """The caller's fault as its own status; ours as 503, to be tried again."""
    match error:
        case Rejected():
            headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else None
            return problem(
                error.http_status, code=error.code, detail=error.message, headers=headers
            )
        case Errored():
            headers = {"Retry-After": str(RETRY_SECONDS)}
            return problem(503, code=error.code, detail=error.message, headers=headers)
        case _:
            return problem(500, code=error.code, detail=error.message)


def read_json(body: bytes, type_: type[msgspec.Struct]) -> msgspec.Struct:
    """A request's body as a record; empty stands for one without fields. Raises `Rejected`."""
    try:
        return msgspec.json.decode(body or b"{}", type=type_)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Rejected(f"the body is wrong: {error}", code="body_malformed") from None


async def _as_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, PushlaneError)
    return problem_of(error)


async def _as_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"there is nothing at {request.scope['path'][:200]}",
        405: f"{request.method} is not answered here",
    }.get(error.status_code, error.detail)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return problem(error.status_code, code=code, detail=detail, headers=error.headers)


async def _as_internal(_: Request, _error: Exception) -> Response:
    return problem(500, code="internal", detail="an error inside Pushlane; its log says more")


HANDLERS: Final = {
    PushlaneError: _as_problem,
    HTTPException: _as_http,
    # The server logs it, since it is raised on after this answer.
    Exception: _as_internal,
}
"""How an application answers what its routes raise."""
