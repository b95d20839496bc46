"""What a person has set of a project, and its build secrets as the ledger holds them: sealed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from bot.core import keys
from bot.core.errors import Errored, Rejected
from bot.core.ledger.connection import Connection
from bot.core.project import ProjectSettings
from bot.core.secrets import Context, Held, Sealed

Changed: TypeAlias = Callable[[ProjectSettings], ProjectSettings]

MOST_NAMES: Final = 100
MOST_BYTES: Final = 524_288
"""Of all sealed values of one project: a build gets them in its environment, which has a limit."""


class Projects:
    """Projects' settings and secrets."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def settings(self, slug: str) -> ProjectSettings:
        """What is set of a project; the defaults where nothing is, or there is no such project."""
        found, _ = await self._settings(slug)
        return found

    async def read(self, slug: str) -> tuple[ProjectSettings, Held]:
        """The settings and the secrets at one moment."""
        prefix = self._connection.prefix
        names = ("settings", "production_branch", "created_at", "repository_id")
        async with self._connection.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.project(prefix, slug), names)
            pipe.hgetall(keys.secrets(prefix, slug))
            reading = cast(Awaitable[list[Any]], pipe.execute())
            (settings, branch, created_at, id_), fields = await self._connection.guard(reading)
        held = Held(
            owner=_owner(slug, created_at or ""),
            repository_id=int(id_ or 0),
            # Of a project that bore the slug before they would not open.
            sealed=_sealed(fields) if fields.get("created_at") == created_at else (),
        )
        return _decoded(settings or "", branch or ""), held

    async def put(
        self, slug: str, settings: ProjectSettings, *, repository: str
    ) -> Literal["made", "set"]:
        """Sets all settings of a project, and makes it where it is not.

        Raises `Rejected` (409): `slug_taken` by another repository, `repository_has_project` under
        another slug.
        """
        word, other = await self._set(slug, settings, repository=repository)
        if word == "taken":
            raise Rejected(
                f"{slug} is the project of {other} already: choose another slug",
                code="slug_taken",
                http_status=409,
            )
        if word == "named":
            raise Rejected(
                f"{repository} has the project {other} already: change that one",
                code="repository_has_project",
                http_status=409,
            )
        return cast(Literal["made", "set"], word)

    async def change(self, slug: str, changed: Changed) -> ProjectSettings:
        """Sets what `changed` makes of the settings as they are. Raises `Rejected` (404)."""
        while True:
            before, raw = await self._settings(slug)
            settings = changed(before)
            word, _ = await self._set(slug, settings, before=raw)
            if word == "unknown":
                raise _unknown(slug)
            if word != "changed":
                return settings

    async def owner(self, slug: str) -> str:
        """To what the secrets of a project are sealed. Raises `Rejected` (404)."""
        name = keys.project(self._connection.prefix, slug)
        asked = cast(Awaitable[Any], self._connection.redis.hget(name, "created_at"))
        found = await self._connection.guard(asked)
        if not found:
            raise _unknown(slug)
        return _owner(slug, found)

    async def set_secret(
        self, slug: str, name: str, tokens: Mapping[Context, str], *, owner: str
    ) -> int:
        """Keeps what was sealed for `owner`; answers when, in milliseconds.

        Raises `Rejected`: 404 for a project that is gone, 409 `secrets_full`.
        """
        answer = await self._connection.call(
            "set_secret",
            {
                "project": slug,
                "created_at": owner.partition(":")[2],
                "name": name,
                "tokens": {context.value: token for context, token in tokens.items()},
                "most_names": str(MOST_NAMES),
                "most_bytes": str(MOST_BYTES),
            },
        )
        if answer[0] == "unknown":
            raise _unknown(slug)
        if answer[0] == "full":
            raise Rejected(
                f"a project keeps at most {MOST_NAMES} secrets of together {MOST_BYTES // 1024} KB "
                "(encrypted): unset one that is not needed",
                code="secrets_full",
                http_status=409,
            )
        return int(answer[1])

    async def unset_secret(self, slug: str, name: str, *, context: Context | None) -> list[Context]:
        """Removes a secret, of one context or of all; answers of which, none when it was not."""
        answer = await self._connection.call(
            "unset_secret", {"project": slug, "name": name, "context": context or ""}
        )
        return [Context(each) for each in answer[1:]]

    async def _settings(self, slug: str) -> tuple[ProjectSettings, str]:
        name = keys.project(self._connection.prefix, slug)
        asked = self._connection.redis.hmget(name, ["settings", "production_branch"])
        raw, branch = await self._connection.guard(cast(Awaitable[Any], asked))
        return _decoded(raw or "", branch or ""), raw or ""

    async def _set(
        self,
        slug: str,
        settings: ProjectSettings,
        *,
        repository: str = "",
        before: str | None = None,
    ) -> list[str]:
        # The branch has a field of its own, which the scripts read.
        words = msgspec.structs.replace(settings, production_branch="")
        arguments: dict[str, Any] = {
            "project": slug,
            "repository": repository,
            "production_branch": settings.production_branch,
            "settings": msgspec.json.encode(words).decode(),
        }
        if before is not None:
            arguments["before"] = before
        return await self._connection.call("set_project", arguments)


def _decoded(raw: str, branch: str) -> ProjectSettings:
    try:
        # A newer Pushlane may have set more.
        known = msgspec.json.decode(raw or "{}")
        kept = {name: known[name] for name in ProjectSettings.__struct_fields__ if name in known}
        return msgspec.convert({**kept, "production_branch": branch}, ProjectSettings)
    except (msgspec.MsgspecError, TypeError) as error:
        raise Errored(
            f"a project's settings are broken: {error}; set them anew",
            code="project_settings_broken",
            retryable=False,
        ) from error


def _sealed(fields: Mapping[str, str]) -> tuple[Sealed, ...]:
    found = []
    for field, value in fields.items():
        kind, _, rest = field.partition(":")
        if kind == "secret":
            context, _, name = rest.partition(":")
            at, _, token = value.partition(":")
            found.append(
                Sealed(name=name, context=Context(context), token=token, updated_at=int(at))
            )
    return tuple(found)


def _owner(slug: str, created_at: str) -> str:
    return f"{slug}:{created_at}"


def _unknown(slug: str) -> Rejected:
    return Rejected(
        f"there is no project {slug[:140]!r}; see `pushlane projects`",
        code="project_not_found",
        http_status=404,
    )
