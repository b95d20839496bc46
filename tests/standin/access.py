"""Who may do what: tokens with their permissions, the App's JWT, and rate limits."""

from __future__ import annotations

import base64
import functools
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .state import Refused, Repository

_LEVELS = {"read": 1, "write": 2, "admin": 3}
_SCOPES: dict[str, dict[str, str]] = {
    "repo": {"contents": "write", "statuses": "write", "repository_hooks": "read"},
    "public_repo": {"contents": "write", "statuses": "write"},
    "repo:status": {"statuses": "write"},
    "admin:repo_hook": {"repository_hooks": "write"},
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is let in. `repositories` is None for all, else their full names."""

    value: str
    login: str
    permissions: Mapping[str, str]
    scopes: tuple[str, ...] = ()
    repositories: frozenset[str] | None = None
    expires_at: float | None = None
    installation: bool = False

    def may(self, permission: str, level: str, repository: Repository) -> bool:
        """Whether the token reaches `repository` with at least this level."""
        if self.repositories is not None and repository.full_name not in self.repositories:
            return False
        return _LEVELS.get(self.permissions.get(permission, ""), 0) >= _LEVELS[level]


@dataclass(slots=True)
class Allowance:
    """One caller's rate limit; `reset` is in Unix seconds."""

    limit: int
    used: int = 0
    reset: float = field(default_factory=lambda: time.time() + 3600)

    def headers(self) -> dict[str, str]:
        """The five headers that every answer of the API carries."""
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(0, self.limit - self.used)),
            "x-ratelimit-reset": str(int(self.reset)),
            "x-ratelimit-used": str(self.used),
            "x-ratelimit-resource": "core",
        }


class App:
    """The GitHub App that may be installed on the stand-in; its key is made on first use."""

    def __init__(self, app_id: int = 4242, *, private_key: str | None = None) -> None:
        self.id = app_id
        self.installation_id = 40_000 + app_id
        self.slug = "pushlane-test"
        self.permissions = {
            "contents": "read",
            "metadata": "read",
            "statuses": "write",
            "deployments": "write",
            "pull_requests": "write",
        }
        self.repositories: frozenset[str] | None = None
        self._given_key = private_key

    @functools.cached_property
    def private_key(self) -> str:
        """The App's RSA key, as the PEM that GitHub lets one download."""
        if self._given_key is not None:
            return self._given_key
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ).decode()

    @functools.cached_property
    def _public_key(self) -> bytes:
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(self.private_key.encode(), password=None)
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def verify(self, token: str) -> None:
        """Refuse with 401 unless `token` is an RS256 JWT of this App, good for ≤ 10 minutes."""
        import jwt

        try:
            claims = jwt.decode(
                token,
                self._public_key,
                algorithms=["RS256"],
                leeway=60,
                options={"require": ["iat", "exp", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise Refused(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future "
                "time at which the assertion expires",
            ) from None
        except jwt.PyJWTError:
            raise Refused(401, "A JSON web token could not be decoded") from None
        if claims["exp"] > time.time() + 660:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
        if str(claims["iss"]) != str(self.id):
            raise Refused(401, "Integration not found")


class Access:
    """The tokens that are let in, and what is left of each one's rate limit."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.limit = 5000
        self._tokens: dict[str, Token] = {}
        self._allowances: dict[str, Allowance] = {}

    def allow(
        self,
        value: str | None = None,
        *,
        scopes: Collection[str] = ("repo",),
        login: str = "pushlane-bot",
        repositories: Collection[str] | None = None,
    ) -> str:
        """Let a personal token in, with classic scopes; gives its value."""
        permissions = {"metadata": "read"}
        for scope in scopes:
            permissions |= _SCOPES.get(scope, {})
        token = Token(
            value=value or f"ghp_{secrets.token_hex(18)}",
            login=login,
            permissions=permissions,
            scopes=tuple(scopes),
            repositories=None if repositories is None else frozenset(repositories),
        )
        self._tokens[token.value] = token
        return token.value

    def allow_installation(
        self, permissions: Mapping[str, str], repositories: frozenset[str] | None
    ) -> Token:
        """Let an installation's token in, for one hour."""
        token = Token(
            value=f"ghs_{secrets.token_hex(18)}",
            login=f"{self.app.slug}[bot]",
            permissions=dict(permissions),
            repositories=repositories,
            expires_at=time.time() + 3600,
            installation=True,
        )
        self._tokens[token.value] = token
        return token

    def revoke(self, value: str) -> None:
        """From now on this token is a bad one."""
        self._tokens.pop(value, None)

    def token(self, authorization: str | None) -> Token | None:
        """The token of an Authorization header, None without one; Refused 401 for a bad one."""
        value = bearer(authorization)
        if value is None:
            return None
        token = self._tokens.get(value)
        if token is None or (token.expires_at is not None and token.expires_at < time.time()):
            raise Refused(401, "Bad credentials")
        return token

    def allowance(self, authorization: str | None) -> Allowance:
        """The rate limit of this caller; without a token it is 60 an hour."""
        value = bearer(authorization) or ""
        known = self._allowances.get(value)
        if known is None or known.reset < time.time():
            known = self._allowances[value] = Allowance(self.limit if value else 60)
        return known


def bearer(authorization: str | None) -> str | None:
    """The secret of `Bearer x`, `token x` or `Basic base64(any:x)`; None without one."""
    if not authorization:
        return None
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return rest.strip()
    try:
        login, _, password = base64.b64decode(rest.strip()).decode().partition(":")
    except ValueError:
        return rest.strip()
    return login if password in ("", "x-oauth-basic") else password
