"""Send signed webhooks as GitHub does, keep every delivery, and redeliver, hold or double them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from .payload import sign
from .shapes import Json, iso

if TYPE_CHECKING:
    import httpx2

Order = Literal["sent", "reversed"] | Sequence[int]
LARGEST_PAYLOAD = 25 * 1024 * 1024


@dataclass(slots=True)
class Hook:
    """Where events go and how. May be changed at any time; the next delivery obeys.

    `hold` parks deliveries until `StandIn.release`; `delay_seconds` puts each off; `duplicates` is
    how many times more each is sent, under the same GUID.
    """

    url: str | None = None
    secret: str = ""
    form: bool = False
    enabled: bool = True
    hold: bool = False
    delay_seconds: float = 0.0
    duplicates: int = 0
    timeout_seconds: float = 10.0
    id: int = 1001


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST to the hook, and its answer; `status_code` is 0 until (or unless) one came."""

    id: int
    guid: str
    event: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    payload: Any
    redelivery: bool = False
    delivered_at: float = 0.0
    duration: float = 0.0
    status: str = "held"
    status_code: int = 0
    response_headers: Mapping[str, str] = field(default_factory=dict)
    response_body: str = ""

    @property
    def answer(self) -> Any:
        """The answer's JSON body; ValueError when it is none."""
        return json.loads(self.response_body)

    def _in_payload(self, key: str) -> Any:
        part = self.payload.get(key) if isinstance(self.payload, dict) else None
        return part.get("id") if isinstance(part, dict) else None

    def summary(self) -> Json:
        """The delivery as GitHub lists it."""
        action = self.payload.get("action") if isinstance(self.payload, dict) else None
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": iso(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": round(self.duration, 3),
            "status": self.status,
            "status_code": self.status_code,
            "event": self.event,
            "action": action,
            "installation_id": self._in_payload("installation"),
            "repository_id": self._in_payload("repository"),
            "throttled_at": None,
        }

    def whole(self) -> Json:
        """The delivery as GitHub shows one, with request and response."""
        return self.summary() | {
            "url": self.url,
            "request": {
                "headers": dict(self.headers),
                "payload": self.payload if isinstance(self.payload, dict) else None,
            },
            "response": {"headers": dict(self.response_headers), "payload": self.response_body},
        }


class Courier:
    """Delivers events in the order they were given, each repository's pushes one by one."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.deliveries: list[Delivery] = []
        self._parked: list[Delivery] = []
        self._ids = itertools.count(int(time.time() * 1000))
        self._client: httpx2.AsyncClient | None = None

    def prepare(
        self,
        event: str,
        body: bytes,
        *,
        guid: str | None = None,
        secret: str | None = None,
        form: bool | None = None,
        headers: Mapping[str, str | None] | None = None,
        url: str | None = None,
        target: tuple[str, int] | None = None,
    ) -> Delivery:
        """A signed delivery, not sent yet. A header given as None is left out."""
        secret = self.hook.secret if secret is None else secret
        form = self.hook.form if form is None else form
        try:
            payload: Any = json.loads(body)
        except ValueError:
            payload = None
        if form:
            body = urlencode({"payload": body.decode()}).encode()
        guid = guid or str(uuid.uuid4())
        kind, number = target or ("repository", 0)
        sent: dict[str, str | None] = {
            "Accept": "*/*",
            "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
            "User-Agent": "GitHub-Hookshot/5ca1ab1e",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-ID": str(self.hook.id),
            "X-GitHub-Hook-Installation-Target-ID": str(number),
            "X-GitHub-Hook-Installation-Target-Type": kind,
        }
        if secret:
            sent["X-Hub-Signature"] = sign(body, secret, algorithm="sha1")
            sent["X-Hub-Signature-256"] = sign(body, secret)
        for name, value in (headers or {}).items():
            known = next((each for each in sent if each.lower() == name.lower()), name)
            sent[known] = value
        return Delivery(
            id=next(self._ids),
            guid=guid,
            event=event,
            url=url or self.hook.url or "",
            headers={name: value for name, value in sent.items() if value is not None},
            body=body,
            payload=payload,
        )

    async def deliver(self, delivery: Delivery) -> Delivery | None:
        """Send as the hook says: parked, late, doubled, or (switched off, too large) not at all."""
        if not self.hook.enabled or not delivery.url or len(delivery.body) > LARGEST_PAYLOAD:
            return None
        if self.hook.delay_seconds:
            await asyncio.sleep(self.hook.delay_seconds)
        if self.hook.hold:
            self._parked.append(delivery)
            return delivery
        sent = await self.send(delivery)
        for _ in range(self.hook.duplicates):
            await self.send(replace(delivery, id=next(self._ids), redelivery=True))
        return sent

    async def release(self, order: Order = "sent") -> list[Delivery]:
        """Send what was parked, in this order (positions may repeat or be left out)."""
        parked, self._parked = self._parked, []
        match order:
            case "sent":
                chosen = parked
            case "reversed":
                chosen = parked[::-1]
            case _:
                chosen = [parked[int(position)] for position in order]
        return [await self.send(delivery) for delivery in chosen]

    async def redeliver(self, delivery: Delivery) -> Delivery:
        """The same bytes, signature and GUID once more, to where the hook points now."""
        again = replace(delivery, id=next(self._ids), redelivery=True)
        return await self.send(replace(again, url=self.hook.url or again.url))

    async def send(self, delivery: Delivery) -> Delivery:
        """POST it, whatever the hook says, and keep it with its answer; never raises."""
        import httpx2

        if self._client is None:
            # A connection of its own for each delivery: a receiver that restarted is reached anew.
            limits = httpx2.Limits(max_keepalive_connections=0)
            self._client = httpx2.AsyncClient(trust_env=False, verify=False, limits=limits)
        began = time.monotonic()
        delivered_at = time.time()
        status, code, answered, text = "OK", 0, {}, ""
        try:
            response = await self._client.post(
                delivery.url,
                content=delivery.body,
                headers=dict(delivery.headers),
                timeout=self.hook.timeout_seconds,
                follow_redirects=False,
            )
        except httpx2.TimeoutException:
            status, code = "timed out", 504
        except httpx2.HTTPError:
            status, code = "failed to connect to host", 502
        else:
            code, text = response.status_code, response.text
            answered = dict(response.headers)
            status = "OK" if response.is_success else f"Invalid HTTP Response: {code}"
        done = replace(
            delivery,
            delivered_at=delivered_at,
            duration=time.monotonic() - began,
            status=status,
            status_code=code,
            response_headers=answered,
            response_body=text,
        )
        self.deliveries.append(done)
        return done

    def find(self, *, guid: str | None = None, number: int | None = None) -> Delivery | None:
        """The newest kept delivery with this GUID or this number."""
        for delivery in reversed(self.deliveries):
            if delivery.guid == guid or delivery.id == number:
                return delivery
        return None

    async def close(self) -> None:
        """Close the connections to the receiver."""
        if self._client is not None:
            await self._client.aclose()
