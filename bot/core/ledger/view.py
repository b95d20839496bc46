"""What the ledger holds, for those who only read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from redis.client import NEVER_DECODE

from bot.core import keys
from bot.core.deployment import Deployment
from bot.core.ledger.connection import Connection

T = TypeVar("T")

OUTCOMES: Final = ("recorded", "repeated", "superseded", "removed", "late", "ignored")
"""What a delivery may have led to."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A repository, or a part of one, with its settings."""

    slug: str
    repository: str
    repository_id: int = 0
    private: bool = True
    """So long as no delivery has said otherwise."""
    default_branch: str = ""
    main: str = ""
    """The slug of its repository's main project, for a further one; else empty."""
    entry: str = ""
    """What the repository's file calls a further project; else empty."""
    production_branch: str = ""
    """The branch that goes live; the default branch unless a person says otherwise."""
    seq: int = 0
    created_at: int = 0
    pushed_at: int = 0
    """The latest push that is known of, in seconds of GitHub's clock."""
    delivered_at: int = 0
    """When a push was last delivered to us, in milliseconds; 0: never."""
    settings: str = ""
    """What a person has set of it, as JSON: `Projects.settings` reads it."""
    looked_at: int = 0
    """When its branches were last looked at, in milliseconds; 0: never."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one delivery led to, and the rule that decided."""

    guid: str
    event: str = ""
    repository: str = ""
    """`owner/name`, as the delivery called it."""
    project: str = ""
    """The slug of the repository's project; empty when it had none."""
    ref: str = ""
    before: str = ""
    after: str = ""
    outcome: str = ""
    """One of `OUTCOMES`."""
    rule: str = ""
    deployment: str = ""
    answer: int = 0
    """The HTTP status that it got."""
    size: int = 0
    """Bytes of its body."""
    form: bool = False
    """Whether its body was a form, and not JSON."""
    at: int = 0


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """The queue at one moment. Lists hold ids in order, the next first."""

    fetch: list[str]
    high: list[str]
    normal: list[str]
    waiting: int
    active: list[str]
    delayed: int
    dead: int
    oldest_seconds: float
    """Age of the deployment that has waited longest; 0 when none waits."""
    built: int
    """Builds that ended in this minute and the four before it."""

    @property
    def verdict(self) -> str:
        """The queue's health in words, by how many deployments wait."""
        if self.waiting == 0:
            return "idle"
        if self.waiting < 10:
            return "normal"
        return "backing up" if self.waiting < 100 else "overloaded"


def to_deployment(flat: Sequence[str]) -> Deployment:
    """A record from what HGETALL answers inside a script: name, value, name, value …"""
    fields: dict[str, Any] = dict(zip(flat[::2], flat[1::2], strict=True))
    return from_fields(fields)


def from_fields(fields: dict[str, Any]) -> Deployment:
    """A record from what HGETALL answers a client."""
    lists = {
        name: tuple(filter(None, str(fields.pop(name, "")).split(",")))
        for name in ("claims", "beside")
    }
    return msgspec.convert({**fields, **lists}, Deployment, strict=False)


def _delivery(guid: str, fields: dict[str, str]) -> Delivery:
    return msgspec.convert({**fields, "guid": guid}, Delivery, strict=False)


class View:
    """Reads records, lists and indexes. Never writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._redis = cast(Any, connection.redis)

    async def ping(self) -> None:
        """Raises `Errored` when Redis does not answer."""
        await self._connection.reach(cast(Awaitable[Any], self._redis.ping()))

    async def deployment(self, id_: str) -> Deployment | None:
        """One record, or None."""
        found = await self._connection.guard(
            self._redis.hgetall(keys.deployment(self._connection.prefix, id_))
        )
        return from_fields(found) if found else None

    async def deployments(
        self,
        *,
        project: str = "",
        branch: str = "",
        status: str = "",
        cursor: str = "",
        limit: int = 20,
    ) -> tuple[list[Deployment], str]:
        """Records, newest first, and the cursor of the next page (`""` at the end).

        `branch` and `status` filter; a page looks at no more than 1,000 records, so it may be
        short, or even empty, while its cursor goes on.
        """

        def read(_: str, fields: dict[str, str]) -> Deployment | None:
            record = from_fields(fields)
            wrong_branch = branch and record.branch != branch
            return None if wrong_branch or (status and record.status != status) else record

        index = f"deployments:{project}" if project else "deployments"
        return await _newest_first(
            self._connection, index, key=keys.deployment, read=read, cursor=cursor, limit=limit
        )

    async def newest(self, project: str) -> Deployment | None:
        """The project's newest deployment, or None."""
        found, _ = await self.deployments(project=project, limit=1)
        return found[0] if found else None

    async def commit(self, project: str, digits: str) -> str:
        """The commit of a project's deployment that begins with these digits; `""`: none, or two.

        Looks at the newest thousand.
        """
        index = keys.named(self._connection.prefix, f"deployments:{project}")
        ids = await self._connection.guard(self._redis.zrange(index, 0, 999, desc=True))
        records = await _hashes(self._connection, keys.deployment, ids)
        found = {each["commit"] for each in records if each.get("commit", "").startswith(digits)}
        return found.pop() if len(found) == 1 else ""

    async def project(self, name: str) -> Project | None:
        """A project by its slug or by `owner/name`, or None."""
        slug = name
        if "/" in name:
            mapped = keys.named(self._connection.prefix, f"name:{name.lower()}")
            slug = await self._connection.guard(self._redis.get(mapped)) or ""
        found = await self._connection.guard(
            self._redis.hgetall(keys.project(self._connection.prefix, slug))
        )
        if not found:
            return None
        found["production_branch"] = found.get("production_branch") or found["default_branch"]
        return msgspec.convert(found, Project, strict=False)

    async def projects(self) -> list[Project]:
        """All projects, oldest first."""
        slugs = await self._connection.guard(
            self._redis.zrange(keys.named(self._connection.prefix, "projects"), 0, -1)
        )
        found = [await self.project(slug) for slug in slugs]
        return [project for project in found if project]

    async def delivery(self, guid: str) -> Delivery | None:
        """What a delivery led to, or None."""
        found = await self._connection.guard(
            self._redis.hgetall(keys.delivery(self._connection.prefix, guid))
        )
        return _delivery(guid, found) if found else None

    async def guids(self, start: str) -> list[str]:
        """The GUIDs that begin so, of the newest 10,000 deliveries."""
        name = keys.named(self._connection.prefix, "deliveries")
        newest = await self._connection.guard(self._redis.zrange(name, 0, 9_999, desc=True))
        return [guid for guid in newest if guid.startswith(start)]

    async def deliveries(
        self,
        *,
        project: str = "",
        repository: str = "",
        outcome: str = "",
        cursor: str = "",
        limit: int = 20,
    ) -> tuple[list[Delivery], str]:
        """Deliveries of the last 30 days, newest first; filters and cursor as of `deployments`."""

        def read(guid: str, fields: dict[str, str]) -> Delivery | None:
            found = _delivery(guid, fields)
            asked = (project, repository.lower(), outcome)
            has = (found.project, found.repository.lower(), found.outcome)
            return found if all(a in ("", h) for a, h in zip(asked, has, strict=True)) else None

        return await _newest_first(
            self._connection,
            "deliveries",
            key=keys.delivery,
            read=read,
            cursor=cursor,
            limit=limit,
        )

    async def payload(self, guid: str) -> bytes | None:
        """What a delivery brought, compressed as it was given; None when it is not kept."""
        name = keys.payload(self._connection.prefix, guid)
        found = self._redis.execute_command("GET", name, **{NEVER_DECODE: []})
        return cast("bytes | None", await self._connection.guard(found))

    async def has_payload(self, guid: str) -> bool:
        """Whether what a delivery brought is kept."""
        name = keys.payload(self._connection.prefix, guid)
        return bool(await self._connection.guard(self._redis.exists(name)))

    async def queue(self) -> QueueView:
        """The lists and indexes, read one right after the other."""
        prefix = self._connection.prefix
        # No transaction: a Redis that is full refuses one, even of reads.
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in (keys.fetch(prefix), keys.high(prefix), keys.queue(prefix)):
                pipe.lrange(name, 0, -1)
            pipe.zcard(keys.named(prefix, "waiting"))
            pipe.zrange(keys.named(prefix, "active"), 0, -1)
            pipe.zcard(keys.named(prefix, "delayed"))
            pipe.llen(keys.named(prefix, "dead"))
            pipe.zrange(keys.named(prefix, "waiting"), 0, 0, withscores=True)
            pipe.time()
            found = await self._connection.guard(pipe.execute())
        fetch, high, normal, waiting, active, delayed, dead, oldest, (seconds, micros) = found
        age = seconds + micros / 1e6 - oldest[0][1] / 1000 if oldest else 0.0
        minutes = [keys.named(prefix, f"built:{seconds // 60 - back}") for back in range(5)]
        built = await self._connection.guard(self._redis.mget(minutes))
        return QueueView(
            fetch=fetch,
            high=high,
            normal=normal,
            waiting=waiting,
            active=active,
            delayed=delayed,
            dead=dead,
            oldest_seconds=max(age, 0.0),
            built=sum(int(count or 0) for count in built),
        )


async def _hashes(
    connection: Connection, key: Callable[[str, str], str], members: Sequence[str]
) -> list[dict[str, str]]:
    """The fields of each; none of what is not there."""
    async with connection.redis.pipeline(transaction=False) as pipe:
        for member in members:
            pipe.hgetall(key(connection.prefix, member))
        return cast(list[dict[str, str]], await connection.guard(pipe.execute()))


async def _newest_first(
    connection: Connection,
    index: str,
    *,
    key: Callable[[str, str], str],
    read: Callable[[str, dict[str, str]], T | None],
    cursor: str,
    limit: int,
) -> tuple[list[T], str]:
    """A page of what an index names. `read` makes a record, or None of one that is not asked for.

    Looks at no more than 1,000.
    """
    redis = cast(Any, connection.redis)
    name = keys.named(connection.prefix, index)
    top = f"({cursor}" if cursor else "+inf"
    found: list[T] = []
    for _ in range(10):
        page = await connection.guard(
            redis.zrange(
                name, top, "-inf", desc=True, byscore=True, offset=0, num=100, withscores=True
            )
        )
        if not page:
            return found, ""
        hashes = await _hashes(connection, key, [member for member, _ in page])
        for (member, score), fields in zip(page, hashes, strict=True):
            top = f"({score:.3f}"
            record = read(member, fields) if fields else None
            if record is not None:
                found.append(record)
                if len(found) == limit:
                    return found, top[1:]
    return found, top[1:]
