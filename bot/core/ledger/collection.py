"""What the collector asks of the ledger: who collects, what is condemned, what may be trimmed.

Each verb that changes something carries the lease of the round, and does nothing once it is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from bot.core import keys
from bot.core.deployment import deployment_label
from bot.core.errors import Errored
from bot.core.ledger.census import Census, Trace, at_work_since, clock, labels_of, take_census
from bot.core.ledger.connection import Connection

LEASE_SECONDS: Final = 120.0
Taken: TypeAlias = Literal["all", "due", "busy", "later", "lost"]
GivenUp: TypeAlias = Literal["condemned", "named", "kept", "gone"]
_NAMES: Final = 500
"""So many at once: a script serves nobody else meanwhile."""


class Collection:
    """The collector's verbs and readings; workers and intake ask it what is condemned."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def condemned(self, names: Sequence[str]) -> dict[str, int]:
        """Of these objects the condemned ones, each with the ms from which it may be deleted.

        Whoever would name one writes it anew instead.
        """
        index = keys.named(self._connection.prefix, "condemned")
        found: dict[str, int] = {}
        for part in _parts(names):
            scores = await self._connection.guard(
                cast(Any, self._connection.redis).zmscore(index, part)
            )
            pairs = zip(part, scores, strict=True)
            found |= {name: int(score) for name, score in pairs if score is not None}
        return found

    async def due(self, *, limit: int) -> dict[str, int]:
        """The condemned objects that may be deleted now, longest due first, at most `limit`."""
        found = await self._connection.guard(
            cast(Any, self._connection.redis).zrange(
                keys.named(self._connection.prefix, "condemned"),
                "-inf",
                await clock(self._connection),
                byscore=True,
                offset=0,
                num=limit,
                withscores=True,
            )
        )
        return {name: int(score) for name, score in found}

    async def census(self, project: str) -> Census:
        """All deployments of a project, and what names their releases."""
        return await take_census(self._connection, project)

    async def at_work_since(self) -> int:
        """When the oldest running claim of all projects began, in ms; without any, now."""
        return await at_work_since(self._connection)

    async def missing(self, things: Sequence[str]) -> frozenset[str]:
        """Those of the things (`deployment:<id>`, `alias:<label>`) that are not in the ledger."""
        found: set[str] = set()
        for part in _parts(things):
            async with cast(Any, self._connection.redis).pipeline(transaction=False) as pipe:
                for what in part:
                    pipe.exists(keys.named(self._connection.prefix, what))
                there = await self._connection.guard(pipe.execute())
            found.update(what for what, yes in zip(part, there, strict=True) if not yes)
        return frozenset(found)

    async def take(self, lease: str, *, when: Literal["due", "now", "on"]) -> Taken:
        """Takes (`due`, `now`) or prolongs (`on`) the right to collect; see `collect.lua`."""
        milliseconds = str(int(LEASE_SECONDS * 1000))
        arguments = {"lease": lease, "ms": milliseconds, "when": when}
        return cast(Taken, (await self._connection.call("collect", arguments))[0])

    async def ended(self, lease: str, *, whole_seconds: float | None, pause_seconds: float) -> None:
        """Ends a round. `whole_seconds`: until the next over everything; None leaves that as is."""
        whole = "" if whole_seconds is None else str(int(whole_seconds * 1000))
        pause = str(int(pause_seconds * 1000))
        await self._connection.call("collected", {"lease": lease, "whole": whole, "pause": pause})

    async def condemn_release(
        self, lease: str, project: str, trace: Trace, *, keep: int
    ) -> GivenUp:
        """Gives up a release, unless an alias names it or it is of production's newest `keep`.

        Raises `Errored` (code `collector_lost`), as do those below.
        """
        arguments = {
            "lease": lease,
            "id": trace.id,
            "keep": str(keep),
            "labels": labels_of(project, trace.ref),
            "own_label": deployment_label(trace.id, project),
        }
        return cast(GivenUp, (await self._call("condemn_release", arguments))[0])

    async def condemn(self, lease: str, names: Sequence[str], *, delay_ms: int) -> None:
        """Condemns objects; what is condemned already keeps its time."""
        for part in _parts(names):
            arguments = {"lease": lease, "names": part, "delay": str(delay_ms)}
            await self._call("condemn", arguments)

    async def acquit(self, lease: str, names: Sequence[str]) -> None:
        """Takes objects off the condemned."""
        for part in _parts(names):
            await self._call("acquit", {"lease": lease, "names": part})

    async def trim(self, lease: str, project: str, ids: Sequence[str]) -> int:
        """Tidies the indexes of these deployments; answers how many were taken out of them."""
        out = 0
        for part in _parts(ids):
            arguments = {"lease": lease, "project": project, "ids": part}
            out += int((await self._call("trim", arguments))[1])
        return out

    async def _call(self, verb: str, arguments: Mapping[str, Any]) -> list[str]:
        answer = await self._connection.call(verb, arguments)
        if answer[0] == "lost":
            raise Errored("another process collects now", code="collector_lost")
        return answer


def _parts(names: Sequence[str]) -> list[list[str]]:
    return [list(names[at : at + _NAMES]) for at in range(0, len(names), _NAMES)]
