"""GitHub's own list of the deliveries to a webhook, and asking it to deliver one once more.

https://docs.github.com/rest/repos/webhooks, https://docs.github.com/rest/apps/webhooks
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from bot.core.errors import Errored
from bot.core.github.answers import Answer, Refused
from bot.core.github.app import App
from bot.core.github.calls import Calls

T = TypeVar("T")

_NEXT: Final = re.compile(r'[?&]cursor=([^&>]+)[^>]*>;\s*rel="next"')
_PAGES_MOST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook: the App's own, or one of a repository."""

    path: str
    """Below the API's URL."""
    url: str = ""
    """Where it delivers to; empty for the App's."""
    app: App | None = field(default=None, repr=False)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery as GitHub lists it. Each redelivery is one more, under the same GUID."""

    id: int
    guid: str
    event: str
    delivered_at: datetime
    status_code: int
    """What was answered; 0, 502 and the like when nothing was."""
    repository_id: int | None = None

    @property
    def failed(self) -> bool:
        """Whether GitHub counts it as failed."""
        return not 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Failed deliveries, newest first."""

    found: tuple[Attempt, ...]
    left: float
    """Requests that the rate limit leaves us in this hour; infinite when GitHub does not say."""


class _Config(msgspec.Struct, frozen=True):
    url: str = ""


class _Hook(msgspec.Struct, frozen=True):
    id: int
    active: bool = True
    config: _Config = _Config()


class Hooks:
    """Webhooks that our credentials may read: the App's, and those of repositories by the token.

    Each call raises `Refused` where the credentials may not, `Limited` and `Errored`.
    """

    def __init__(self, calls: Calls, *, token: str, app: App | None) -> None:
        self._calls = calls
        self._token = token
        self._app = app

    @property
    def of_app(self) -> Hook | None:
        """The App's webhook, when we are one."""
        return Hook(path="/app/hook", app=self._app) if self._app else None

    async def of_repository(self, repository: str) -> tuple[Hook, ...]:
        """The active webhooks of `owner/name`; none without a token. Costs one request."""
        if not self._token:
            return ()
        path = f"/repos/{quote(repository)}/hooks"
        answer = await self._get(f"{path}?per_page=100", self._token)
        return tuple(
            Hook(path=f"{path}/{hook.id}", url=hook.config.url)
            for hook in _read(answer, list[_Hook])
            if hook.active
        )

    async def failed(self, hook: Hook, *, since: datetime) -> Attempts:
        """The deliveries since then that failed. Costs one request for each hundred."""
        found: list[Attempt] = []
        cursor, left = "", math.inf
        for _ in range(_PAGES_MOST):
            path = f"{hook.path}/deliveries?per_page=100&status=failure{cursor}"
            answer = await self._get(path, self._speaker(hook))
            left = _left(answer)
            page = _read(answer, list[Attempt])
            # An older GitHub Enterprise does not know `status`, and lists them all.
            found += [each for each in page if each.failed and each.delivered_at >= since]
            onward = _NEXT.search(answer.headers.get("link", ""))
            if onward is None or not page or page[-1].delivered_at < since:
                break
            cursor = f"&cursor={onward[1]}"
        return Attempts(found=tuple(found), left=left)

    async def redeliver(self, hook: Hook, attempt: Attempt) -> float:
        """Asks GitHub to deliver it once more; answers the requests that the limit leaves us."""
        path = f"{hook.path}/deliveries/{attempt.id}/attempts"
        answer = await self._calls.send("POST", path, token=self._speaker(hook))
        # One that is too old, or gone, is no reason to leave the others.
        return _left(answer if answer.status in (400, 410, 422) else _accepted(answer))

    def _speaker(self, hook: Hook) -> str:
        return hook.app.own_token if hook.app else self._token

    async def _get(self, path: str, token: str) -> Answer:
        return _accepted(await self._calls.send("GET", path, token=token))


def _accepted(answer: Answer) -> Answer:
    if 200 <= answer.status < 300:
        return answer
    said = f"{answer.status} {answer.words}".strip()
    if answer.status in (401, 403, 404):
        raise Refused(
            f"GitHub does not let us see to its deliveries ({said}): a token needs the scope "
            "admin:repo_hook, a fine-grained one the permission Webhooks, read and write",
            code="github_hooks_forbidden",
        )
    raise Errored(f"GitHub failed ({said})", code="github_failed")


def _left(answer: Answer) -> float:
    left = answer.headers.get("x-ratelimit-remaining", "")
    return float(left) if left.isdecimal() else math.inf


def _read(answer: Answer, type_: type[list[T]]) -> list[T]:
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except msgspec.MsgspecError as error:
        raise Errored(f"GitHub answers what is no list: {error}", code="github_failed") from error
