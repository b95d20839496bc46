"""A project's build secrets: their names, what they may hold, who gets them, and their encryption.

A value is sealed by AES-256-GCM under a key that scrypt makes of `PUSHLANE_SECRET_KEY`, so that
the setting may be of any length, and one that a person has thought up is slow to guess from what
lies in Redis or in the bucket. It is bound to project, context and name: moved elsewhere it does
not open.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bot.core.deployment import Deployment
from bot.core.errors import Errored, Rejected
from bot.core.sitefile import VARIABLE

SHORTEST: Final = 6
"""Characters. What is shorter cannot be masked: it stands in every other line by chance."""
LONGEST: Final = 65_536
"""Bytes of a value."""

_TAKEN: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|TMPDIR|LANG|LC_ALL|CI|BRANCH|HEAD|CONTEXT|URL|COMMIT_REF"
    r"|DEPLOY_(ID|URL|PRIME_URL)|REPOSITORY_URL|PUSHLANE(_.*)?|LD_.*|(HTTPS?|ALL|NO)_PROXY"
    r"|BASH_ENV|ENV|IFS",
    re.IGNORECASE,
)
"""What the sandbox and the build say themselves, and what would change who executes what."""
_NONCE: Final = 12
_SALT: Final = b"pushlane build secrets"
"""One for all: the keys of two houses differ by their settings, and these are random mostly."""


class Context(StrEnum):
    """For which deployments a secret is meant."""

    PRODUCTION = "production"
    PREVIEW = "preview"


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """One secret as the ledger holds it."""

    name: str
    context: Context
    token: str
    """The value, encrypted."""
    updated_at: int
    """Milliseconds since the epoch."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """All secrets of one project."""

    owner: str = ""
    """To which they are bound: the slug, and when the project was made. Whoever bears the slug
    after a project that is gone is another one."""
    repository_id: int = 0
    sealed: tuple[Sealed, ...] = ()


def context_of(deployment: Deployment) -> Context | None:
    """The context whose secrets a deployment gets; None: it gets none.

    Denied unless it is built from a branch or a tag of the repository itself. A pull request's ref
    may be a fork's, and so may a bare commit: GitHub serves those of all forks by the same name.
    """
    if not deployment.ref.startswith(("refs/heads/", "refs/tags/")):
        return None
    return Context.PRODUCTION if deployment.production else Context.PREVIEW


def secrets_for(deployment: Deployment, held: Held, keyring: Keyring) -> dict[str, str]:
    """Names and values of the secrets that the deployment's build is given.

    Raises `Errored`, as `Keyring.open` does.
    """
    context = context_of(deployment)
    if context is None or deployment.repository_id not in (0, held.repository_id):
        return {}
    return {
        each.name: keyring.open(each.token, owner=held.owner, context=context, name=each.name)
        for each in held.sealed
        if each.context is context
    }


def check_name(name: str) -> None:
    """Raises `Rejected` (400 `secret_name_invalid`) for what can be no secret's name."""
    if not VARIABLE.fullmatch(name):
        raise Rejected(
            f"{name[:140]!r} is no variable's name; it takes letters, digits and _, "
            "not a digit first",
            code="secret_name_invalid",
        )
    if _TAKEN.fullmatch(name):
        raise Rejected(
            f"{name} is a variable that each build is given already: choose another name",
            code="secret_name_invalid",
        )


def check_value(value: str) -> None:
    """Raises `Rejected` (400 `secret_value_invalid`) for what no build could be given, or hide."""
    if "\0" in value:
        words = "holds a NUL character, which no variable can"
    elif len(value.encode("utf-8", "surrogatepass")) > LONGEST:
        words = f"is longer than {LONGEST // 1024} KB"
    elif any("\ud800" <= letter <= "\udfff" for letter in value):
        words = "holds half of a surrogate pair, which is no text"
    elif len(value.strip()) < SHORTEST:
        words = (
            f"is shorter than {SHORTEST} characters, so it could not be hidden in a log; what is "
            "no secret belongs into the project's `environment`"
        )
    else:
        return
    raise Rejected(f"the value {words}", code="secret_value_invalid")


class Keyring:
    """The keys that `PUSHLANE_SECRET_KEY` names: the first seals, each of them opens."""

    def __init__(self, setting: str) -> None:
        """`setting` is one key or several, comma-separated. Nothing is computed yet."""
        self._setting = setting

    def __bool__(self) -> bool:
        """Whether there is a key at all."""
        return any(part.strip() for part in self._setting.split(","))

    def seal(self, value: str, *, owner: str, context: Context, name: str) -> str:
        """The value, encrypted. Blocks for some 50 ms the first time.

        Raises `Rejected` (409 `secret_key_missing`).
        """
        if not self:
            raise Rejected(
                "secrets cannot be encrypted: set PUSHLANE_SECRET_KEY to a long random text, the "
                "same for bots and workers, and start them again",
                code="secret_key_missing",
                http_status=409,
            )
        nonce = os.urandom(_NONCE)
        sealed = self._keys[0].encrypt(nonce, value.encode(), _bound(owner, context, name))
        return base64.b64encode(nonce + sealed).decode()

    def open(self, token: str, *, owner: str, context: Context, name: str) -> str:
        """The value. Blocks as `seal` does.

        Raises `Errored` (`secret_key_missing`, `secret_key_wrong`), which a retry does not mend.
        """
        if not self:
            raise Errored(
                "this project has build secrets, and the worker has no PUSHLANE_SECRET_KEY: set it "
                "to the bot's, and redeploy",
                code="secret_key_missing",
                retryable=False,
            )
        try:
            raw = base64.b64decode(token, validate=True)
        except ValueError:
            raw = b""
        for key in self._keys if len(raw) > _NONCE else ():
            try:
                return key.decrypt(
                    raw[:_NONCE], raw[_NONCE:], _bound(owner, context, name)
                ).decode()
            except InvalidTag:
                continue
        raise Errored(
            f"no key in PUSHLANE_SECRET_KEY opens the secret {name}: give the worker the key that "
            "the bot has, or set the secret anew",
            code="secret_key_wrong",
            retryable=False,
        )

    @cached_property
    def _keys(self) -> tuple[AESGCM, ...]:
        parts = (part.strip() for part in self._setting.split(","))
        return tuple(
            AESGCM(
                Scrypt(salt=_SALT, length=32, n=2**14, r=8, p=1).derive(
                    part.encode("utf-8", "surrogateescape")
                )
            )
            for part in parts
            if part
        )


def by_name(sealed: tuple[Sealed, ...]) -> Mapping[str, tuple[Sealed, ...]]:
    """Each name with its secrets, one for each context; names in order."""
    found: dict[str, tuple[Sealed, ...]] = {}
    for each in sorted(sealed, key=lambda one: (one.name, one.context)):
        found[each.name] = (*found.get(each.name, ()), each)
    return found


def _bound(owner: str, context: Context, name: str) -> bytes:
    """What a value is bound to. None of the parts holds a line's end."""
    return f"{owner}\n{context}\n{name}".encode()
