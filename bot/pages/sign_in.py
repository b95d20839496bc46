"""Signing in with the API token, and out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from bot.pages.render import HEADERS, Renderer
from bot.pages.session import Sessions, local

_BODY_LIMIT: Final = 16_384


def to_sign_in(path: str) -> Response:
    """Sends somebody to sign in, and from there back to `path`."""
    return _see(f"/sign-in?{urlencode({'next': path})}")


@dataclass(frozen=True, slots=True)
class SignIn:
    """The form, and what it sends."""

    renderer: Renderer
    sessions: Sessions

    async def form(self, request: Request) -> Response:
        """The form; whoever is signed in goes on at once."""
        following = local(request.query_params.get("next", "/"))
        if self.sessions.known(request):
            return _see(following)
        # A strict cookie is kept back when the link that was followed stands elsewhere, on GitHub
        # for example: then the page calls itself once more, from here.
        elsewhere = request.headers.get("sec-fetch-site") == "cross-site"
        return self._page(following, call_again=elsewhere)

    async def sign_in(self, request: Request) -> Response:
        """Begins a session for the right token."""
        if not self.sessions.wrote(request):
            return self._foreign()
        fields = await _fields(request)
        following = local(fields.get("next", "/"))
        if not self.sessions.opens(fields.get("token", "").strip()):
            return self._page(following, status=401, wrong=True)
        response = _see(following)
        self.sessions.begin(response)
        return response

    async def sign_out(self, request: Request) -> Response:
        """Ends the session."""
        if not self.sessions.wrote(request):
            return self._foreign()
        response = _see("/sign-in")
        self.sessions.end(response)
        return response

    def _page(
        self, following: str, *, status: int = 200, wrong: bool = False, call_again: bool = False
    ) -> Response:
        return self.renderer.page(
            "sign_in.html",
            status=status,
            signed_in=False,
            following=following,
            wrong=wrong,
            call_again=call_again,
            possible=self.sessions.possible,
        )

    def _foreign(self) -> Response:
        return self.renderer.page(
            "problem.html",
            status=403,
            signed_in=False,
            title="Not from here",
            message="This was sent from a page that is not Pushlane's, so nothing was done. "
            "If it was one of these pages, PUSHLANE_PUBLIC_URL is not the address that you use.",
        )


async def _fields(request: Request) -> dict[str, str]:
    """The form's fields; none when there is more than a token and a path could be."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_LIMIT:
                return {}
    except ClientDisconnect:
        return {}
    try:
        found = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def _see(path: str) -> Response:
    return RedirectResponse(path, status_code=303, headers=HEADERS)
