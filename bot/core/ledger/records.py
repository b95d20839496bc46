"""How a deployment comes to be recorded, and how it is called off."""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

from bot.core.deployment import Push, Removal, Trigger, branch_slug, new_id, project_slugs
from bot.core.errors import Rejected
from bot.core.ledger.connection import Connection

REUSED = "this Idempotency-Key came before with another request; choose a new one for each request"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that a person asks for. Give `project` (a slug) or `repository`, and a `ref`.

    `ref` is whole (`refs/heads/main`), or 40 hex digits; `""` is the production branch.
    """

    repository: str = ""
    project: str = ""
    ref: str = ""
    commit: str = ""
    trigger: Literal[Trigger.MANUAL, Trigger.REDEPLOY] = Trigger.MANUAL
    redeploy_of: str = ""
    idempotency_key: str = ""
    """`<key>:<fingerprint of the request>`; `""` for none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What recording led to.

    `recorded`: new. `repeated`: seen before, `deployment` is the old id. `superseded`: recorded,
    but a newer push came first. `removed`: the branch's alias is gone. `late`: a deletion that a
    newer push has overtaken. `unknown`: no such project.
    """

    outcome: Literal["recorded", "repeated", "superseded", "removed", "late", "unknown", "reused"]
    deployment: str = ""


class Records:
    """Records pushes, deletions and requests; each answer is durable before it is given."""

    def __init__(self, connection: Connection, *, require_durable: bool = False) -> None:
        self._connection = connection
        self._require_durable = require_durable

    async def record(self, push: Push) -> Answer:
        """Records a push as safety.md §2 rule 1 says: repeats and late ones are told apart."""
        return await self._answer(
            "record",
            {
                **_words(push),
                "id": new_id(),
                "slugs": project_slugs(push.repository, push.repository_id),
            },
        )

    async def remove(self, removal: Removal) -> Answer:
        """Takes a deleted branch down: stops what is of its ref, leaves a tombstone."""
        return await self._answer(
            "remove",
            {
                **_words(removal),
                "branch_slugs": _branch_slugs(removal.ref),
            },
        )

    async def request(self, request: Request) -> Answer:
        """Records what a person asks for. A repeated `idempotency_key` gives the old id.

        Raises `Rejected` (422 `idempotency_key_reused`) for one that came with another request.
        """
        found = await self._answer(
            "request",
            {
                **_words(request),
                "id": new_id(),
                "slugs": project_slugs(request.repository) if request.repository else (),
            },
        )
        if found.outcome == "reused":
            raise Rejected(REUSED, code="idempotency_key_reused", http_status=422)
        return found

    async def cancel(self, id_: str, *, reason: str = "") -> str:
        """Calls a deployment off: `cancelled` (at once), `stopping`, `ended` or `unknown`."""
        return (await self._connection.call("cancel", {"id": id_, "reason": reason}))[0]

    async def note(self, *, guid: str, event: str, repository: str, ref: str, rule: str) -> None:
        """Notes a delivery that led to nothing, and why. What is noted already stays."""
        arguments = {"guid": guid, "event": event, "repository": repository, "ref": ref}
        await self._connection.call("note", {**arguments, "rule": rule})

    async def _answer(self, verb: str, arguments: dict[str, Any]) -> Answer:
        if self._require_durable:
            await self._connection.ensure_durable()
        outcome, deployment = await self._connection.call(verb, arguments)
        return Answer(outcome=cast(Any, outcome), deployment=deployment)


def _words(struct: msgspec.Struct) -> dict[str, str]:
    """Lua reads every number from text: its JSON would round large ones."""
    found = msgspec.structs.asdict(struct)
    return {k: str(int(v)) if isinstance(v, bool | int) else str(v) for k, v in found.items()}


def _branch_slugs(ref: str) -> dict[str, str]:
    """The branch's slug for each length of a project's slug, since the script learns it late."""
    branch = ref.removeprefix("refs/heads/")
    return {str(n): branch_slug(branch, length=61 - n) for n in range(1, 41)}
