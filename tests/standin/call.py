"""One request to the REST API, as its handler sees it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import description
from .access import Access, Token, bearer
from .hooks import Courier, Delivery
from .payload import ping_payload
from .pushes import shape_in_push
from .shapes import user
from .state import Refused, Repository, World


@dataclass(frozen=True, slots=True)
class Call:
    """A request with the parts of its path, and all that may answer it."""

    request: Request
    method: str
    template: str
    path: Mapping[str, str]
    world: World
    access: Access
    courier: Courier

    @property
    def authorization(self) -> str | None:
        return self.request.headers.get("authorization")

    def token(self) -> Token | None:
        """The caller's token; Refused 401 for a bad one."""
        return self.access.token(self.authorization)

    def app(self) -> None:
        """Refuse with 401 unless the caller is the App itself, by its JWT."""
        value = bearer(self.authorization)
        if value is None:
            raise Refused(401, "A JSON web token could not be decoded")
        self.access.app.verify(value)

    def repository(self, permission: str = "metadata", level: str = "read") -> Repository:
        """The repository of the path, when the caller may do this to it.

        What the caller may not see is 404; what it sees and may not change is 403, or 401 when
        it did not say who it is.
        """
        token = self.token()
        if "repository_id" in self.path:
            found = self.world.by_id(int(self.path["repository_id"]))
        else:
            full_name = f"{self.path['owner']}/{self.path['repo']}"
            found = self.world.find(full_name)
            moved = self.world.former(full_name) if found is None else None
            if moved is not None:
                below = self.request.url.path.partition(f"/repos/{full_name}")[2]
                location = f"{self.world.api_url}/repositories/{moved.id}{below}"
                status = 301 if self.method == "GET" else 307
                raise Refused(status, "Moved Permanently", headers={"location": location})
        if found is None:
            raise Refused(404, "Not Found")
        if token is None:
            if found.private:
                raise Refused(404, "Not Found")
            if level != "read":
                raise Refused(401, "Requires authentication")
            return found
        if found.private and not token.may("metadata", "read", found):
            raise Refused(404, "Not Found")
        open_to_all = not found.private and level == "read" and permission != "repository_hooks"
        if open_to_all or token.may(permission, level, found):
            return found
        if token.installation:
            raise Refused(403, "Resource not accessible by integration")
        raise Refused(404 if found.private else 403, "Not Found" if found.private else _SCOPE)

    async def body(self, *, resource: str) -> dict[str, Any]:
        """The JSON body, checked against the description; Refused 400 or 422."""
        raw = await self.request.body()
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            raise Refused(400, "Problems parsing JSON") from None
        if not isinstance(body, dict):
            raise Refused(400, "Body should be a JSON object")
        errors = description.request_errors(self.method, self.template, body)
        if errors:
            errors = [{"resource": resource} | error for error in errors]
            raise Refused(422, "Validation Failed", errors=errors)
        return body

    def number(self, name: str, default: int) -> int:
        """A number from the query string."""
        value = self.request.query_params.get(name, "")
        return int(value) if value.isdecimal() else default

    def page(self, items: list[Any]) -> Response:
        """The asked page of `items`, with a Link header when there are more."""
        size = min(100, max(1, self.number("per_page", 30)))
        page = max(1, self.number("page", 1))
        headers = {}
        if len(items) > page * size:
            last = -(-len(items) // size)
            url = self.request.url.include_query_params(per_page=size)
            headers["link"] = (
                f'<{url.include_query_params(page=page + 1)}>; rel="next", '
                f'<{url.include_query_params(page=last)}>; rel="last"'
            )
        return JSONResponse(items[(page - 1) * size : page * size], headers=headers)


_SCOPE = "Resource not accessible by personal access token"

Handler = Callable[[Call], Awaitable[Response]]


async def ping(
    world: World, courier: Courier, repository: Repository | None = None
) -> Delivery | None:
    """Send the ping event."""
    payload = ping_payload(
        hook_id=courier.hook.id,
        hook_url=courier.hook.url or "",
        repository=None if repository is None else shape_in_push(repository, world),
        sender=user("octocat", world.html_url, world.api_url),
    )
    prepared = courier.prepare("ping", json.dumps(payload).encode())
    return await courier.deliver(prepared)
