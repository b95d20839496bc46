"""What we ask of GitHub: to show a commit's status, and to let git fetch."""

from __future__ import annotations

import math
import os
import time
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

import msgspec

from bot.core.deployment import State
from bot.core.github.answers import Refused, Untellable, status_error
from bot.core.github.app import App
from bot.core.github.calls import TIMEOUT_SECONDS, Calls
from bot.core.github.hooks import Hooks

LONGEST_DESCRIPTION = 140


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What GitHub says of a repository now."""

    id: int
    full_name: str
    """`owner/name`, as it is after a rename."""
    private: bool
    default_branch: str = ""
    pushed_at: datetime | None = None
    """The time of its latest push, by GitHub's clock."""


class GitHub:
    """GitHub's API, as the bearer of a token, as an App, or as nobody.

    With both, the App speaks where it is installed, and the token elsewhere.
    """

    def __init__(
        self,
        *,
        api_url: str,
        token: str = "",
        app_id: str = "",
        app_private_key: str = "",
        environment: Mapping[str, str] = os.environ,
        timeout_seconds: int = TIMEOUT_SECONDS,
    ) -> None:
        """`api_url` is `https://api.github.com`, or `https://<host>/api/v3` of an Enterprise.

        `environment` may name a CA bundle. Raises `SettingInvalid` for a key of no use. Connects
        at the first call.
        """
        self._calls = Calls(api_url, environment=environment, timeout_seconds=timeout_seconds)
        self._token = token
        self._app = App(app_id, app_private_key, self._calls) if app_id else None
        self.hooks = Hooks(self._calls, token=token, app=self._app)

    @property
    def configured(self) -> bool:
        """Whether there are any credentials."""
        return bool(self._token or self._app)

    async def aclose(self) -> None:
        """Closes the connections; calls under way are awaited."""
        await self._calls.aclose()

    async def token_for(self, repository: str) -> str | None:
        """What git sends to fetch `owner/name`; None, when we have nothing for it.

        An App's token reads that repository and nothing else, for some minutes at least. Raises
        `Limited`, `Refused` or `Errored` when GitHub gives the App none.
        """
        if self._app is not None and (token := await self._app.token(repository, "fetch")):
            return token
        return self._token or None

    async def describe(self, repository: str) -> Described | None:
        """What GitHub says of `owner/name`; None where it tells us nothing. Costs one request.

        Without credentials it is asked as by anybody. Raises `Limited`, `Refused` or `Errored`.
        """
        answer = await self._calls.send(
            "GET", f"/repos/{quote(repository)}", token=await self.token_for(repository) or ""
        )
        if answer.status != 200:
            return None
        try:
            return msgspec.json.decode(answer.body, type=Described)
        except msgspec.MsgspecError:
            return None

    async def post_status(
        self,
        repository: str,
        commit: str,
        *,
        state: State,
        context: str,
        description: str,
        target_url: str,
        begin_by: float = math.inf,
    ) -> None:
        """Shows `state` on a commit of `owner/name`. `description` is made to fit GitHub's rules.

        The request is not begun after `begin_by`, by the monotonic clock. Raises `Untellable` where
        trying again is of no use, `Refused` where a person must act first, `Limited` until when to
        wait, and `Errored` for all that may pass by itself: the status may have been taken then.
        """
        app_token = await self._app.token(repository, "status") if self._app else None
        token = app_token or self._token
        if not token:
            raise Untellable(
                f"the GitHub App is not installed on {repository}, so its commits get no status",
                code="github_app_not_installed",
            )
        begun_at = time.monotonic()
        answer = await self._calls.send(
            "POST",
            f"/repos/{quote(repository)}/statuses/{quote(commit)}",
            token=token,
            body={
                "state": state.value,
                "context": context,
                "description": fitting(description),
                "target_url": target_url,
            },
            begin_by=begin_by,
        )
        if 200 <= answer.status < 300:
            return
        error = status_error(answer, repository)
        if answer.status == 401 and app_token and self._app:
            self._app.forget(repository, "status")
        elif answer.status == 401 and isinstance(error, Refused):
            self._calls.pace.refused(error, begun_at=begun_at, now=time.monotonic())
        raise error


def fitting(description: str) -> str:
    """One line of at most 140 characters, each of which GitHub takes.

    It answers 422 "description doesn't accept 4-byte Unicode", and to half a surrogate pair 400.
    """
    seen = "".join(_plain(character) for character in description)
    words = " ".join(seen.split())
    if len(words) <= LONGEST_DESCRIPTION:
        return words
    return words[: LONGEST_DESCRIPTION - 1].rstrip() + "…"


def _plain(character: str) -> str:
    if character > "\uffff" or "\ud800" <= character <= "\udfff":
        return "\N{REPLACEMENT CHARACTER}"
    return " " if unicodedata.category(character).startswith("C") else character
