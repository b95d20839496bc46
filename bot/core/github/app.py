"""The GitHub App as whom we may speak: a token for each repository and purpose, kept in memory."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote

from github.Auth import AppAuth

from bot.core.errors import Errored, SettingInvalid
from bot.core.github.answers import Answer, Refused
from bot.core.github.calls import Calls

Purpose = Literal["fetch", "status"]

_PERMISSIONS: Final[dict[Purpose, dict[str, str]]] = {
    "fetch": {"contents": "read"},
    "status": {"statuses": "write"},
}
_MARGIN_SECONDS = 600.0
"""A token is renewed so long before it expires: a fetch that begins with it must end with it."""


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    fresh_until: float
    """By the monotonic clock."""


class App:
    """One App. Its tokens reach one repository each, and may do one thing there."""

    def __init__(self, app_id: str, private_key: str, calls: Calls) -> None:
        """Raises `SettingInvalid` for a key that cannot sign."""
        _check_key(private_key)
        self._auth = AppAuth(app_id, private_key)
        self._calls = calls
        self._tokens: dict[tuple[str, Purpose], _Token] = {}
        self._locks: defaultdict[tuple[str, Purpose], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def token(self, repository: str, purpose: Purpose) -> str | None:
        """A token that is good for some minutes more, or None: the App is not installed there."""
        key = (repository.lower(), purpose)
        async with self._locks[key]:
            known = self._tokens.get(key)
            if known is None or known.fresh_until <= time.monotonic():
                self._tokens.pop(key, None)
                known = await self._made(repository, purpose)
                if known is None:
                    return None
                self._tokens[key] = known
            return known.value

    @property
    def own_token(self) -> str:
        """What the App says of itself, not of an installation; good for some minutes."""
        return self._auth.token

    def forget(self, repository: str, purpose: Purpose) -> None:
        """GitHub does not take this token any more: the next is made anew."""
        self._tokens.pop((repository.lower(), purpose), None)

    async def _made(self, repository: str, purpose: Purpose) -> _Token | None:
        found = await self._ask("GET", f"/repos/{quote(repository)}/installation")
        if found is None:
            return None
        permissions = _PERMISSIONS[purpose]
        made = await self._ask(
            "POST",
            f"/app/installations/{int(found.found['id'])}/access_tokens",
            {"repositories": [repository.partition("/")[2]], "permissions": permissions},
        )
        if made is None:
            return None
        expires_at = datetime.fromisoformat(made.found["expires_at"]).timestamp()
        lasts = expires_at - time.time() - _MARGIN_SECONDS
        return _Token(made.found["token"], time.monotonic() + lasts)

    async def _ask(
        self, method: Literal["GET", "POST"], path: str, body: dict[str, object] | None = None
    ) -> Answer | None:
        """The answer of a success; None when the App is not installed there."""
        begun_at = time.monotonic()
        answer = await self._calls.send(method, path, token=self._auth.token, body=body)
        said = f"{answer.status} {answer.words}".strip()
        match answer.status:
            case 200 | 201:
                return answer
            case 401:
                error = Refused(
                    f"GitHub does not know the App ({said}): check PUSHLANE_GITHUB_APP_ID, "
                    "PUSHLANE_GITHUB_APP_PRIVATE_KEY and this machine's clock",
                    code="github_credentials_unknown",
                )
                self._calls.pace.refused(error, begun_at=begun_at, now=time.monotonic())
                raise error
            case 422 if "permission" in answer.words:
                raise Refused(
                    f"the GitHub App lacks a permission ({said}): give it Contents, read-only, and "
                    "Commit statuses, read and write, and accept them where it is installed",
                    code="github_forbidden",
                )
            case 403:
                raise Refused(
                    f"GitHub gives the App no token ({said}): its installation may be suspended",
                    code="github_forbidden",
                )
            case 404 | 422:
                return None
            case _:
                raise Errored(f"GitHub failed ({said})", code="github_failed")


def _check_key(pem: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        right = isinstance(load_pem_private_key(pem.encode(), password=None), RSAPrivateKey)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        right = False
    if not right:
        raise SettingInvalid(
            "PUSHLANE_GITHUB_APP_PRIVATE_KEY",
            "is no RSA key that can be read; it takes the PEM that GitHub lets you download, or a "
            "path to it",
        )
