"""What a delivery leads to: one decision for those that come and those that are taken up again."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import Final

import msgspec
import zstandard

from bot import webhook
from bot.core.deployment import ZERO, Ignored, Push, Removal
from bot.core.errors import Rejected
from bot.core.ledger import Delivery, Ledger, Payload
from bot.core.settings import Settings
from bot.webhook import Event, Ping
from bot.why import NOT_ALLOWED, PING, REMOVALS

log = logging.getLogger(__name__)

PACKED_MOST: Final = 262_144
"""Bytes of a payload, compressed, that the ledger keeps at most."""
_AT_ONCE: Final = 65_536
"""What is larger is compressed in a thread, so that others need not wait for it."""


class _Compressor(threading.local):
    """One for each thread: to make one takes longer than to use it."""

    def __init__(self) -> None:
        self.zstd = zstandard.ZstdCompressor(level=1)


_compressor: Final = _Compressor()


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a push: the deployments that it led to, the first of them by itself too."""

    deployment: str
    deployments: tuple[str, ...]


class Nothing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a delivery that builds nothing, and why."""

    ignored: str
    removed: str = ""
    """The branch whose alias is gone, after a deletion."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery, and how it is answered."""

    outcome: str
    """One of the ledger's `OUTCOMES`."""
    answer: Received | Nothing

    @property
    def status(self) -> int:
        """HTTP's: 202 with a deployment, 200 without."""
        return 202 if isinstance(self.answer, Received) else 200


async def take(event: Event, payload: Payload, *, ledger: Ledger, settings: Settings) -> Taken:
    """Decides on a delivery and records it with its payload, in one call to Redis."""
    event = _sifted(event, settings)
    told = {"guid": event.guid, "repository": event.repository, "ref": event.ref}
    match event:
        case Push():
            recorded = await ledger.records.record(event, payload)
            id_ = recorded.deployment
            taken = Taken(
                recorded.outcome, Received(deployment=id_, deployments=(id_, *recorded.beside))
            )
            told["deployment"] = id_
        case Removal():
            outcome = (await ledger.records.remove(event, payload)).outcome
            removed = event.ref.removeprefix("refs/heads/") if outcome == "removed" else ""
            nothing = Nothing(ignored=REMOVALS[outcome], removed=removed)
            taken = Taken("ignored" if outcome == "unknown" else outcome, nothing)
        case Ignored():
            await ledger.records.note(event, payload)
            log.info("delivery ignored", extra={**told, "reason": event.reason})
            return Taken("ignored", Nothing(ignored=event.reason))
    log.info("delivery recorded", extra={**told, "outcome": taken.outcome})
    return taken


def _sifted(event: Event, settings: Settings) -> Push | Removal | Ignored:
    """The event, or why it leads to nothing."""
    if isinstance(event, Ignored):
        return event
    if isinstance(event, Ping):
        return Ignored(
            guid=event.guid,
            event="ping",
            repository=event.repository,
            repository_id=event.repository_id,
            reason=PING,
        )
    if settings.allows(event.repository):
        return event
    return Ignored(
        guid=event.guid,
        event="push",
        repository=event.repository,
        repository_id=event.repository_id,
        ref=event.ref,
        before=event.before,
        after=event.after if isinstance(event, Push) else ZERO,
        reason=NOT_ALLOWED,
    )


async def take_again(found: Delivery, *, ledger: Ledger, settings: Settings) -> Taken:
    """Decides anew on a delivery of which the ledger keeps the payload, by the settings of now.

    Raises `Rejected`: 409 `payload_not_kept`.
    """
    packed = await ledger.view.payload(found.guid)
    if packed is None:
        raise Rejected(
            "the payload of this delivery is not kept: redeliver it from the webhook's settings "
            "on GitHub",
            code="payload_not_kept",
            http_status=409,
        )
    event = webhook.meaning(
        await unpack(packed),
        event=found.event,
        guid=found.guid,
        content_type=_content_type(found),
    )
    payload = Payload(size=found.size, form=found.form, packed=packed)
    return await take(event, payload, ledger=ledger, settings=settings)


async def payload_text(found: Delivery, packed: bytes) -> str:
    """The JSON that a delivery brought."""
    return webhook.payload_of(await unpack(packed), content_type=_content_type(found))


async def pack(body: bytes, *, content_type: str) -> Payload:
    """A body as the ledger keeps it; of one that stays too large only what is to be said of it."""
    if len(body) <= _AT_ONCE:
        packed = _compress(body)
    else:
        packed = await asyncio.to_thread(_compress, body)
    return Payload(
        size=len(body),
        form=webhook.is_form(content_type),
        packed=packed if len(packed) <= PACKED_MOST else b"",
    )


def _compress(body: bytes) -> bytes:
    return _compressor.zstd.compress(body)


async def unpack(packed: bytes) -> bytes:
    """The body that was packed."""
    return await asyncio.to_thread(zstandard.ZstdDecompressor().decompress, packed)


def _content_type(found: Delivery) -> str:
    return webhook.FORM if found.form else webhook.JSON
