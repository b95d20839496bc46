"""What a browser sees: a deployment's page with its live log, an overview, signing in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bot.core.errors import Errored
from bot.core.ledger import Ledger
from bot.core.settings import Settings
from bot.logs import BUSY, Logs
from bot.pages.deployment import DeploymentPages
from bot.pages.overview import Overview
from bot.pages.render import Renderer
from bot.pages.session import Sessions
from bot.pages.sign_in import SignIn

__all__ = ["routes"]

RETRY_SECONDS = 5


def routes(*, ledger: Ledger, logs: Logs, settings: Settings) -> list[BaseRoute]:
    """The routes of all pages and of the static files that they use."""
    renderer = Renderer()
    sessions = Sessions(token=settings.api_token, public_url=settings.public_url)
    overview = Overview(ledger, settings, renderer, sessions)
    deployment = DeploymentPages(ledger, logs, settings, renderer, sessions)
    sign_in = SignIn(renderer, sessions)

    def route(
        path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET"
    ) -> Route:
        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except Errored as error:
                # The message may name hosts inside, and anyone may be reading.
                words = (
                    "Too many read logs here at once. Try again shortly, or sign in."
                    if error.code == BUSY
                    else "Pushlane does not reach a server that it needs. Try again shortly; when "
                    f"it lasts, its own log says more ({error.code})."
                )
                return renderer.page(
                    "problem.html",
                    status=503,
                    headers={"Retry-After": str(RETRY_SECONDS)},
                    signed_in=sessions.known(request),
                    title="Not to be had at the moment",
                    message=words,
                )

        return Route(path, answered, methods=[method])

    return [
        route("/", overview.page),
        route("/deployments/{id}", deployment.page),
        route("/deployments/{id}/events", deployment.events),
        route("/deployments/{id}/log.txt", deployment.text),
        route("/sign-in", sign_in.form),
        route("/sign-in", sign_in.sign_in, "POST"),
        route("/sign-out", sign_in.sign_out, "POST"),
        route("/static/{name}", renderer.static),
    ]
