"""What strangers send is refused, seen, and leaves next to nothing behind."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.types import Message, Scope

from bot.receiver import PATH
from tests.builders import commit
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, a_payload, is_problem
from tests.ledgers import redis_of
from tests.standin import sign

REFUSED = "/api/v1/deliveries/refused"
WRONG = "sha256=" + "0" * 64
HOSTILE = b"\x1b]0;x\x07<script>\xff\x00\r\n\xc3\xa9" + b"A" * 5000


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def refused(door: FrontDoor) -> Any:
    """What the API tells of them, once all is written."""
    await door.ledger.refusals.aclose()
    return (await door.client.get(REFUSED)).json()


async def keys_of(door: FrontDoor) -> list[str]:
    return [
        name async for name in redis_of(door.ledger).scan_iter(f"{door.settings.redis_prefix}*")
    ]


async def posted(door: FrontDoor, headers: dict[bytes, bytes], body: bytes) -> int:
    """The status that a request gets whose headers no client would send."""
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "headers": list(headers.items()),
        "client": ("192.0.2.7", 4711),
        "server": ("pushlane.test", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await door.app(scope, receive, send)
    return int(sent[0]["status"])


async def test_each_is_counted_by_what_was_wrong_and_shown_with_what_it_claims(
    door: FrontDoor,
) -> None:
    payload = a_payload("A")
    form = urlencode({"payload": json.dumps(payload)}).encode()
    await door.send(payload, guid="g1", headers={"X-Hub-Signature-256": None})
    await door.send(payload, guid="g2", headers={"X-Hub-Signature-256": WRONG})
    await door.send(
        form,
        guid="g3",
        secret="another",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    await door.send(b"{", guid="g4")
    await door.send(b"x", guid="g5", headers={"Content-Length": "26000000"})
    found = await refused(door)
    assert found["counts"] == {
        "signature_invalid": 2,
        "signature_missing": 1,
        "payload_malformed": 1,
        "body_too_large": 1,
    }
    assert [
        (each["guid"], each["code"], each["event"], each["repository"]) for each in found["newest"]
    ] == [
        ("g5", "body_too_large", "push", ""),
        ("g4", "payload_malformed", "push", ""),
        ("g3", "signature_invalid", "push", "acme/site"),
        ("g2", "signature_invalid", "push", "acme/site"),
        ("g1", "signature_missing", "push", ""),
    ]
    assert all(each["at"].endswith("Z") and each["peer"] for each in found["newest"])
    assert (await door.client.get("/api/v1/deliveries")).json()["deliveries"] == []
    assert is_problem(await door.client.get("/api/v1/deliveries/g2"), 404, "delivery_not_found")


async def test_before_anything_was_refused_there_is_nothing(door: FrontDoor) -> None:
    await door.push("A")
    assert await refused(door) == {"counts": {}, "newest": []}


async def test_ten_thousand_unsigned_ones_leave_two_keys_and_take_nobody_s_time(
    door: FrontDoor,
) -> None:
    body = json.dumps(a_payload("A")).encode()
    answered: Counter[int] = Counter()
    slowest = 0.0
    for number in range(10_000):
        headers = {
            b"content-type": b"application/json",
            b"x-github-event": b"push",
            b"x-github-delivery": f"guid-{number}".encode(),
            b"x-hub-signature-256": WRONG.encode(),
        }
        began = time.perf_counter()
        answered[await posted(door, headers, body)] += 1
        slowest = max(slowest, time.perf_counter() - began)
    assert answered == {401: 10_000}
    assert slowest < 1
    found = await refused(door)
    assert found["counts"] == {"signature_invalid": 10_000}
    assert 20 <= len(found["newest"]) <= 200
    names = await keys_of(door)
    assert len(names) <= 3  # of two days, when it is midnight
    assert all("refused" in name for name in names)


async def test_a_signed_one_among_them_is_recorded_as_ever(door: FrontDoor) -> None:
    body = json.dumps(a_payload("A")).encode()
    for _ in range(300):
        await posted(door, {b"x-hub-signature-256": WRONG.encode()}, body)
    answer = await door.send(body)
    assert answer.status_code == 202
    assert (await door.record(answer.json()["deployment"])).commit == commit("A")


@pytest.mark.parametrize("signed", [False, True])
async def test_hostile_bytes_in_headers_are_shown_cut_short_and_harmless(
    door: FrontDoor, signed: bool
) -> None:
    body = b'{"full_name": "\x1b[2J/\xff"}'
    signature = sign(body, "It's a Secret to Everybody") if signed else WRONG
    names = (b"x-github-event", b"x-github-delivery", b"content-type", b"x-forwarded-for")
    headers = dict.fromkeys(names, HOSTILE) | {b"x-hub-signature-256": signature.encode()}
    assert await posted(door, headers, body) == (400 if signed else 401)
    found = await refused(door)
    (shown,) = found["newest"]
    assert shown["code"] == ("event_missing" if signed else "signature_invalid")
    assert shown["event"] == shown["guid"] == "?]0;x?<script>??????" + "A" * 44
    assert (shown["peer"], shown["repository"]) == ("192.0.2.7", "")
    assert await door.count() == 0


async def test_the_fault_is_not_theirs_when_redis_is_away(
    seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_front_door("redis://127.0.0.1:1/0", seaweedfs, prefix, tmp_path) as door:
        assert (await door.send(a_payload("A"))).status_code == 503
        answer = await door.send(a_payload("A"), headers={"X-Hub-Signature-256": WRONG})
        assert answer.status_code == 401
        assert door.ledger.refusals._counts == {"signature_invalid": 1}
