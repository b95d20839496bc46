"""What the collector reads of a project: its deployments, and what names their releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from bot.core import keys
from bot.core.deployment import ACTIVE, ENDED, Status, branch_label, repository_key
from bot.core.ledger.connection import Connection

_PAGE: Final = 100
_FIELDS: Final = 500


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the collector reads of a deployment; the fields are those of `Deployment`."""

    id: str
    status: Status
    repository: str
    repository_id: int = 0
    ref: str
    seq: int
    claim: str = ""
    source: str = ""
    release: str = ""
    fetching_at: int = 0
    building_at: int = 0
    ended_at: int = 0
    condemned_at: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ENDED

    @property
    def released(self) -> bool:
        """Whether it has a release that may be named."""
        return self.status is Status.READY and bool(self.release) and not self.condemned_at

    @property
    def repository_key(self) -> str:
        """The folder of its objects, below that of their kind."""
        return repository_key(self.repository_id, self.repository)

    @property
    def at_work_since(self) -> int | None:
        """When the running claim began, in ms; None when nobody holds one."""
        if self.status not in ACTIVE:
            return None
        return self.fetching_at if self.status is Status.FETCHING else self.building_at


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """One project's deployments, as they were when each was read."""

    project: str
    at: int
    """Redis's time in ms before the first was read."""
    traces: Mapping[str, Trace]
    """By id."""
    history: frozenset[str]
    """Deployments that were ready in production."""
    named: frozenset[str]
    """Releases that the alias of production or of a branch names."""
    deleted: frozenset[str]
    """Refs that were deleted."""
    missing: tuple[str, ...]
    """Ids in the indexes whose records are gone."""


async def take_census(connection: Connection, project: str) -> Census:
    """Reads a project's deployments, 100 at a time, then what names their releases."""
    at = await clock(connection)
    traces: dict[str, Trace] = {}
    missing: list[str] = []
    index, top = keys.named(connection.prefix, f"deployments:{project}"), "+inf"
    redis = cast(Any, connection.redis)
    while page := await connection.guard(
        redis.zrange(
            index, top, "-inf", desc=True, byscore=True, offset=0, num=_PAGE, withscores=True
        )
    ):
        top = f"({page[-1][1]:.3f}"
        ids = [id_ for id_, _ in page]
        for id_, trace in zip(ids, await _traces(connection, ids), strict=True):
            if trace is None:
                missing.append(id_)
            else:
                traces[id_] = trace
    # Of all, whatever became of them: an alias that was restored may name what its record does not.
    refs = sorted({trace.ref for trace in traces.values()})
    labels = sorted({project, *(label for ref in refs for label in labels_of(project, ref))})
    named = await _fields(connection, [f"alias:{label}" for label in labels], "release")
    deleted = await _fields(connection, [f"ref:{project}:{ref}" for ref in refs], "deleted")
    history = keys.named(connection.prefix, f"history:{project}")
    return Census(
        project=project,
        at=at,
        traces=traces,
        history=frozenset(await connection.guard(redis.zrange(history, 0, -1))),
        named=frozenset(filter(None, named)),
        deleted=frozenset(ref for ref, flag in zip(refs, deleted, strict=True) if flag == "1"),
        missing=tuple(missing),
    )


async def clock(connection: Connection) -> int:
    """Redis's time in ms since the epoch."""
    seconds, micros = await connection.guard(cast(Any, connection.redis).time())
    return int(seconds) * 1000 + int(micros) // 1000


async def at_work_since(connection: Connection) -> int:
    """When the oldest running claim of all projects began, in ms; without any, now."""
    oldest = await clock(connection)
    active = keys.named(connection.prefix, "active")
    ids = await connection.guard(cast(Any, connection.redis).zrange(active, 0, -1))
    for at in range(0, len(ids), _PAGE):
        traces = await _traces(connection, ids[at : at + _PAGE])
        oldest = min([oldest, *(t.at_work_since for t in traces if t and t.at_work_since)])
    return oldest


def labels_of(project: str, ref: str) -> list[str]:
    """The aliases that may name a release of the ref besides its own host's.

    Whoever makes another kind of alias adds it here: what is not looked at does not keep.
    """
    branch = ref.removeprefix("refs/heads/")
    return [project] if branch == ref else [project, branch_label(branch, project)]


async def _traces(connection: Connection, ids: Sequence[str]) -> list[Trace | None]:
    async with cast(Any, connection.redis).pipeline(transaction=False) as pipe:
        for id_ in ids:
            pipe.hmget(keys.deployment(connection.prefix, id_), Trace.__struct_fields__)
        rows = await connection.guard(pipe.execute())
    return [_trace(id_, row) for id_, row in zip(ids, rows, strict=True)]


def _trace(id_: str, row: Sequence[str | None]) -> Trace | None:
    named = zip(Trace.__struct_fields__, row, strict=True)
    found = {name: value for name, value in named if value is not None}
    if "status" not in found:
        return None
    return msgspec.convert({**found, "id": id_}, Trace, strict=False)


async def _fields(connection: Connection, names: Sequence[str], field: str) -> list[str | None]:
    """One field of each of these hashes."""
    found: list[str | None] = []
    for at in range(0, len(names), _FIELDS):
        async with cast(Any, connection.redis).pipeline(transaction=False) as pipe:
            for name in names[at : at + _FIELDS]:
                pipe.hget(keys.named(connection.prefix, name), field)
            found += await connection.guard(pipe.execute())
    return found
