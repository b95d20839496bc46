"""What the bucket holds of the ledger: an object for each thing in each of its versions. Pure.

A version is never written twice with another content, so whoever saves late overwrites nothing.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from bot.core.errors import Errored

SCHEMA: Final = 1
TYPE: Final = "application/json"
FOLDERS: Final = {
    "project": "projects",
    "secrets": "secrets",
    "alias": "aliases",
    "deployment": "records",
}
"""Kind of a thing -> where it lies. A project comes before what is of it."""

_KINDS: Final = {folder: kind for kind, folder in FOLDERS.items()}
_NAME: Final = re.compile(r"([a-z]+)/([^/]+)/([0-9]{1,18})\.json")


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One thing as the ledger held it."""

    schema: int = SCHEMA
    what: str
    """`project:<slug>`, `secrets:<slug>` (sealed), `alias:<label>` or `deployment:<id>`."""
    version: int
    """Rises with every change of it."""
    fields: dict[str, str]
    """All of its hash; times are milliseconds since the epoch."""

    @property
    def name(self) -> str:
        """The name of its object."""
        kind, _, name = self.what.partition(":")
        return f"{FOLDERS[kind]}/{name}/{self.version}.json"


class _Schema(msgspec.Struct, frozen=True):
    schema: int


def of_name(name: str) -> tuple[str, int] | None:
    """What an object of this name holds, and in which version; None when it is none of ours."""
    found = _NAME.fullmatch(name)
    if not found or found[1] not in _KINDS:
        return None
    return f"{_KINDS[found[1]]}:{found[2]}", int(found[3])


def folder(what: str) -> str:
    """Where all versions of a thing lie; whoever removes it from the ledger removes these first."""
    kind, _, name = what.partition(":")
    return f"{FOLDERS[kind]}/{name}/"


def encode(thing: Saved) -> bytes:
    """The thing as JSON."""
    return msgspec.json.encode(thing)


def decode(body: bytes) -> Saved:
    """Reads `encode`'s JSON. Raises `Errored` for a newer schema or a broken object."""
    try:
        schema = msgspec.json.decode(body, type=_Schema).schema
        if schema > SCHEMA:
            raise Errored(
                f"the bucket holds a ledger of schema {schema}, newer than {SCHEMA}: "
                "upgrade Pushlane",
                code="saved_too_new",
                retryable=False,
            )
        return msgspec.json.decode(body, type=Saved)
    except msgspec.MsgspecError as error:
        raise Errored(f"what was saved is broken: {error}", code="saved_broken") from error
