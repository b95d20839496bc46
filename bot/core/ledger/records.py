"""How a deployment comes to be recorded, what is kept of deliveries, and how one is called off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import msgspec

from bot.core.deployment import (
    ZERO,
    Deployment,
    Ignored,
    Push,
    Removal,
    Trigger,
    branch_slug,
    further_slugs,
    new_id,
    project_slugs,
)
from bot.core.errors import Rejected, Stopped
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


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a delivery, as the ledger keeps it."""

    size: int = 0
    """Bytes, as it came."""
    form: bool = False
    """Whether it came as a form; else as JSON."""
    packed: bytes = b""
    """Compressed; empty when it is too large to be kept."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What the catch-up compared GitHub's head with, before it asked GitHub."""

    project: str
    """The project's slug."""
    known: str
    """The `entry` of the head that the ledger knew of the ref; empty when it knew none."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What recording led to.

    `recorded`: new. `repeated`: seen before, `deployment` is the old id. `superseded`: recorded,
    but a newer push came first. `removed`: the branch's alias is gone. `late`: a deletion that a
    newer push has overtaken. `unknown`: no such project. `overtaken`: something came of the ref
    since the catch-up compared it; nothing was recorded.
    """

    outcome: Literal[
        "recorded",
        "repeated",
        "superseded",
        "removed",
        "late",
        "unknown",
        "reused",
        "overtaken",
    ]
    deployment: str = ""
    beside: tuple[str, ...] = ()
    """Those of the repository's further projects, where a push leads to them too."""


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What the entry of a further project has led to."""

    entry: str
    project: str
    """Its slug."""
    deployment: str
    """Empty where nothing was asked of this project."""
    is_new: bool
    """Whether the project was made by this."""


NO_PAYLOAD: Final = Payload()


class Records:
    """Records pushes, deletions and requests; each answer is durable before it is given.

    What a delivery brought, and what it led to, is kept in the same call.
    """

    def __init__(self, connection: Connection, *, require_durable: bool = False) -> None:
        self._connection = connection
        self._require_durable = require_durable

    async def record(
        self, push: Push, payload: Payload = NO_PAYLOAD, *, compared: Compared | None = None
    ) -> Answer:
        """Records a push as docs/protocol.md says, rule 1: repeats and late ones are told apart.

        With `compared` it is one that no delivery has told, and is the newest of its ref unless
        something has come meanwhile; `pushed_at` is then a time at which it was there already.
        """
        arguments = {
            **_words(push),
            **(_words(compared) if compared else {}),
            "id": new_id(),
            "slugs": project_slugs(push.repository),
        }
        return _answer(await self._deliver("record", arguments, payload))

    async def remove(
        self, removal: Removal, payload: Payload = NO_PAYLOAD, *, compared: Compared | None = None
    ) -> Answer:
        """Takes a deleted branch down: stops what is of its ref, leaves a tombstone.

        With `compared` it is a deletion that no delivery has told, as in `record`.
        """
        arguments = {
            **_words(removal),
            **(_words(compared) if compared else {}),
            "after": ZERO,
            "branch_slugs": _branch_slugs(removal.ref),
        }
        return _answer(await self._deliver("remove", arguments, payload))

    async def note(self, ignored: Ignored, payload: Payload = NO_PAYLOAD) -> None:
        """Notes a delivery that led to nothing, and why. One that led to something stays so."""
        await self._deliver("note", _words(ignored), payload)

    async def request(self, request: Request) -> Answer:
        """Records what a person asks for. A repeated `idempotency_key` gives the old id.

        Raises `Rejected` (422 `idempotency_key_reused`) for one that came with another request.
        """
        arguments = {
            **_words(request),
            "id": new_id(),
            "slugs": project_slugs(request.repository) if request.repository else (),
        }
        found = _answer(await self._record("request", arguments))
        if found.outcome == "reused":
            raise Rejected(REUSED, code="idempotency_key_reused", http_status=422)
        return found

    async def spread(
        self,
        deployment: Deployment,
        entries: Sequence[str],
        *,
        ref: str,
        commit: str,
        default_branch: str = "",
    ) -> tuple[Beside, ...]:
        """Records a main project's deployment, which is claimed, in the further projects too.

        `entries` name those in the file of `commit`; what is new among them is made. Repeated it
        leads to the same deployments. Raises `Stopped` when the claim is over.
        """
        arguments = {
            "id": deployment.id,
            "claim": deployment.claim,
            "ref": ref,
            "commit": commit,
            "default_branch": default_branch,
            "projects": [
                {"entry": entry, "slugs": further_slugs(deployment.project, entry)}
                for entry in entries
            ],
        }
        word, *found = await self._record("spread", arguments)
        if word != "spread":
            raise Stopped(word)
        return tuple(
            Beside(entry=entry, project=slug, deployment=id_, is_new=new == "1")
            for entry, slug, id_, new in zip(*[iter(found)] * 4, strict=True)
        )

    async def cancel(self, id_: str, *, reason: str = "") -> str:
        """Calls a deployment off: `cancelled` (at once), `stopping`, `ended` or `unknown`."""
        return (await self._connection.call("cancel", {"id": id_, "reason": reason}))[0]

    async def _deliver(self, verb: str, arguments: dict[str, Any], payload: Payload) -> list[str]:
        told = {"size": str(payload.size), "form": "1" if payload.form else "0"}
        return await self._record(verb, {**arguments, **told}, payload=payload.packed)

    async def _record(
        self, verb: str, arguments: dict[str, Any], *, payload: bytes = b""
    ) -> list[str]:
        if self._require_durable:
            await self._connection.ensure_durable()
        return await self._connection.call(verb, arguments, payload=payload)


def _answer(words: list[str]) -> Answer:
    outcome, deployment, *beside = words
    return Answer(outcome=cast(Any, outcome), deployment=deployment, beside=tuple(beside))


def _words(struct: msgspec.Struct) -> dict[str, str]:
    """Lua reads every number from text: its JSON would round large ones."""
    found = msgspec.structs.asdict(struct)
    return {k: str(int(v)) if isinstance(v, bool | int) else str(v) for k, v in found.items()}


def _branch_slugs(ref: str) -> dict[str, str]:
    """The branch's slug for each length of a project's slug, since the script learns it late."""
    branch = ref.removeprefix("refs/heads/")
    return {str(n): branch_slug(branch, length=61 - n) for n in range(1, 41)}
