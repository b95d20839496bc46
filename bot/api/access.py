"""The one place where a call is let in: nothing below /api/v1 is reached without a token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.routing import BaseRoute, Router
from starlette.types import Receive, Scope, Send

from bot.core.errors import Rejected
from bot.problems import problem_of


class Guard:
    """Routes behind a bearer token; everything else is 401, also what does not exist."""

    def __init__(self, routes: Sequence[BaseRoute], *, token: str) -> None:
        self._router = Router(routes, redirect_slashes=False)
        self._digest = hashlib.sha256(token.encode()).digest() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = dict(scope["headers"])
        refused = self._refusal(headers.get(b"authorization", b""))
        if refused is not None:
            await problem_of(refused)(scope, receive, send)
            return
        await self._router(scope, receive, send)

    def _refusal(self, authorization: bytes) -> Rejected | None:
        if not self._digest:
            return Rejected(
                "no token opens this API: set PUSHLANE_API_TOKEN and start the bot again",
                code="token_not_set",
                http_status=401,
            )
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not given.strip():
            return Rejected(
                "a token is needed: Authorization: Bearer <token>",
                code="token_missing",
                http_status=401,
            )
        # Digests are compared, so that the time tells nothing of the token's length either.
        if not hmac.compare_digest(hashlib.sha256(given.strip()).digest(), self._digest):
            return Rejected(
                "this token is not known here: see `pushlane login`",
                code="token_invalid",
                http_status=401,
            )
        return None
