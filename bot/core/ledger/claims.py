"""The right to work on a deployment, from waiting for its doorbell to its end."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable
from enum import StrEnum
from typing import Any, cast

import msgspec

from bot.core import keys
from bot.core.deployment import (
    TRANSITIONS,
    Deployment,
    Stage,
    Status,
    branch_label,
    deployment_label,
    new_claim,
)
from bot.core.errors import Errored, Full, PushlaneError, Stopped
from bot.core.ledger.connection import WAIT_SECONDS, Connection
from bot.core.ledger.view import to_deployment

BACKOFF_SECONDS = 1.0
BACKOFF_FACTOR = 3.0
"""With five attempts what is away may be so for some 40 seconds."""
BACKOFF_CAP_SECONDS = 300.0
ROOM_SECONDS = 5.0
"""So long a deployment that met no room waits at first, then a quarter of its age: a build that is
done again and again in vain costs too."""


class Verdict(StrEnum):
    """What an extension of the lease says."""

    GO = "go"
    LOST = "lost"
    """Another claim holds it, or it has ended: write nothing more."""
    CANCELLED = "cancelled"
    """Asked to stop; finish it so."""
    SUPERSEDED = "superseded"
    """Asked to stop; finish it so."""


class Claimed(msgspec.Struct, frozen=True):
    """The answer of a claim: a record with its claim id, or why there is none (`busy`, `stale`)."""

    deployment: Deployment | None
    why: str = ""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a claim wants its deployment to end."""

    status: Status
    release: str = ""
    packs: tuple[str, ...] = ()
    """The objects that the release's manifest names."""
    files: int = 0
    bytes: int = 0
    framework: str = ""
    error_code: str = ""
    error_message: str = ""
    reason: str = ""


class Claims:
    """The verbs of whoever works on a deployment. Each is one script; times are Redis's."""

    def __init__(
        self, connection: Connection, *, lease_seconds: float = 60, max_attempts: int = 5
    ) -> None:
        self._connection = connection
        self.lease_seconds = lease_seconds
        self.max_attempts = max_attempts

    async def wait(self, stage: Stage) -> str | None:
        """Waits up to 2 s for a doorbell of the stage; answers its deployment id or None.

        Must be left to time out: a BLPOP that is cancelled loses what the server pops for it. The
        popped id is returned even when this is cancelled meanwhile.
        """
        prefix = self._connection.prefix
        lists = (
            [keys.fetch(prefix)]
            if stage is Stage.FETCH
            else [keys.high(prefix), keys.queue(prefix)]
        )
        found = await self._connection.guard_wait(
            cast(Awaitable[Any], self._connection.waiting.blpop(lists, timeout=WAIT_SECONDS))
        )
        return str(found[1]) if found else None

    async def claim(self, id_: str, stage: Stage) -> Claimed:
        """Takes a waiting deployment. In the fetch stage it may be a newer one of the same ref."""
        answer = await self._connection.call(
            "claim",
            {
                "id": id_,
                "stage": stage.value,
                "claim": new_claim(),
                "lease": str(int(self.lease_seconds * 1000)),
            },
        )
        if answer[0] != "claimed":
            return Claimed(None, answer[0])
        return Claimed(to_deployment(answer[1:]))

    async def extend(self, deployment: Deployment) -> Verdict:
        """Prolongs the lease from now."""
        answer = await self._connection.call("extend", self._held(deployment))
        return Verdict(answer[0])

    async def advance(self, deployment: Deployment, to: Status, **fields: str | int) -> Deployment:
        """Moves on: `queued` (gives the claim up, rings the builders) or `publishing` (keeps it).

        `fields` are written with it; `ref` and `default_branch` tell what git said of a request
        for HEAD, or of a repository that no delivery has described. Raises `Stopped` (`lost`,
        `cancelled`, `superseded`).
        """
        answer = await self._connection.call(
            "advance",
            {
                **self._held(deployment),
                "to": to.value,
                "from": sorted(TRANSITIONS[to]),
                "default_branch": fields.pop("default_branch", ""),
                "fields": {name: str(value) for name, value in fields.items()},
            },
        )
        if answer[0] != "advanced":
            raise Stopped(answer[0])
        return to_deployment(answer[1:])

    async def finish(self, deployment: Deployment, ending: Ending) -> Deployment:
        """Ends it. A stop request wins over `ending`. Repeated by the same claim it succeeds.

        A ready one moves its aliases, only forward. Raises `Stopped("lost")` for a fenced claim,
        and `Errored` (code `pack_condemned`) for a release that is to be published anew.
        """
        fields = msgspec.structs.asdict(ending)
        status, packs = fields.pop("status"), fields.pop("packs")
        answer = await self._connection.call(
            "finish",
            {
                **self._held(deployment),
                "status": status.value,
                "from": sorted(TRANSITIONS[status]),
                "fields": {name: str(v) for name, v in fields.items() if v},
                "packs": packs,
                "own_label": deployment_label(deployment.id, deployment.project),
                "branch_label": branch_label(deployment.branch, deployment.project)
                if deployment.ref.startswith("refs/heads/")
                else "",
            },
        )
        if answer[0] == "lost":
            raise Stopped("lost")
        if answer[0] == "condemned":
            raise Errored("a pack that it names was given up meanwhile", code="pack_condemned")
        return to_deployment(answer[1:])

    async def retry(self, deployment: Deployment, error: PushlaneError) -> Deployment:
        """Puts it back for a later attempt, or ends it `errored` after the last one.

        Where there is only no room (`Full`), it waits for as long as that lasts.
        Raises `Stopped("lost")` for a fenced claim.
        """
        attempts = max(deployment.fetch_attempts, deployment.build_attempts)
        delay = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * BACKOFF_FACTOR ** (attempts - 1))
        if isinstance(error, Full):
            age = time.time() - deployment.received_at / 1000
            delay = min(BACKOFF_CAP_SECONDS, max(ROOM_SECONDS, age / 4))
        if error.code == "project_busy":
            # Others of its project go on, and end soon.
            delay = ROOM_SECONDS
        answer = await self._connection.call(
            "retry",
            {
                **self._held(deployment),
                "code": error.code,
                "message": error.message[:500],
                "delay": str(int(delay * 1000 * random.uniform(0.5, 1.5))),  # noqa: S311 - jitter
                "max": str(self.max_attempts),
                "counted": "" if isinstance(error, Full) else "1",
            },
        )
        if answer[0] == "lost":
            raise Stopped("lost")
        return to_deployment(answer[1:])

    async def give_back(self, deployment: Deployment) -> bool:
        """Puts it back at once, the attempt not counted: the process is asked to end.

        False for a claim that is lost: others have put it back before.
        """
        return (await self._connection.call("give_back", self._held(deployment)))[0] == "given"

    async def sweep(self) -> dict[str, int]:
        """Puts back what passed its deadline and rings what lost its doorbell; bounded.

        Answers counts by `expired`, `due`, `rung`. Any process may call it, each few seconds.
        """
        answer = await self._connection.call(
            "sweep", {"max": str(self.max_attempts), "limit": "100"}
        )
        return dict(zip(("expired", "due", "rung"), map(int, answer), strict=True))

    def _held(self, deployment: Deployment) -> dict[str, Any]:
        lease = str(int(self.lease_seconds * 1000))
        return {"id": deployment.id, "claim": deployment.claim, "lease": lease}
