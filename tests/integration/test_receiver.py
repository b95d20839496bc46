"""POST /webhooks/github: who is let in, what is recorded, what is answered and noted."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from bot.core.deployment import Status, branch_label
from bot.core.ledger import Answer
from tests.builders import START, ZERO, built, commit
from tests.conftest import S3
from tests.front import SECRET, FrontDoor, a_front_door, a_payload
from tests.standin import push_payload, sign

JSON = "application/json"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_a_signed_push_is_recorded_before_it_is_answered(door: FrontDoor) -> None:
    answer = await door.send(a_payload("A", at=3, message="Fix it"), guid="guid-1")
    assert answer.status_code == 202
    assert answer.headers["content-type"] == JSON
    id_ = answer.json()["deployment"]
    assert answer.json() == {"deployment": id_, "deployments": [id_]}
    found = await door.record(id_)
    assert found.status is Status.RECEIVED
    assert (found.project, found.repository, found.repository_id) == ("site", "acme/site", 7)
    assert (found.ref, found.commit, found.before) == ("refs/heads/main", commit("A"), ZERO)
    assert (found.message, found.author, found.delivery) == ("Fix it", "octocat", "guid-1")
    assert (found.pushed_at, found.production, found.private) == (START + 3, True, False)
    assert (await door.ledger.view.queue()).fetch == [id_]
    noted = await door.delivery("guid-1")
    assert (noted.event, noted.repository, noted.ref) == ("push", "acme/site", "refs/heads/main")
    assert (noted.outcome, noted.rule) == ("recorded", "a new push of a branch")
    assert noted.deployment == id_
    assert noted.at > 0


async def test_githubs_own_vector_is_let_in_and_its_body_found_malformed(door: FrontDoor) -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    headers = {"X-Hub-Signature-256": signature}
    assert (await door.send(b"Hello, World!", headers=headers)).status_code == 400
    assert (await door.send(b"Hello, World?", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha256=" + "0" * 64,
        "sha256=é" + "0" * 63,
        "upper",
        "sha1",
        "other",
        "other body",
    ],
)
async def test_whoever_does_not_know_the_secret_is_401_and_leaves_no_trace(
    door: FrontDoor, signature: str | None
) -> None:
    body = json.dumps(a_payload("A")).encode()
    right = sign(body, SECRET)
    given = {
        "upper": "sha256=" + right.removeprefix("sha256=").upper(),
        "sha1": sign(body, SECRET, algorithm="sha1"),
        "other": sign(body, "another secret"),
        "other body": sign(body + b" ", SECRET),
    }.get(signature or "", signature)
    headers = {
        "X-Hub-Signature-256": None if given is None else given.encode(),
        "X-Hub-Signature": sign(body, SECRET, algorithm="sha1"),
    }
    answer = await door.send(body, guid="g", headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("signature_missing", "signature_invalid")
    assert await door.count() == 0
    assert await door.ledger.view.delivery("g") is None
    assert await door.ledger.view.projects() == []


async def test_while_secrets_are_changed_both_are_good(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_front_door(
        valkey, seaweedfs, prefix, tmp_path, webhook_secrets=(b"new", b"old")
    ) as door:
        for number, secret in enumerate(("old", "new")):
            payload = a_payload(secret, at=number)
            assert (await door.send(payload, secret=secret)).status_code == 202
        assert (await door.send(a_payload("A", at=9), secret=SECRET)).status_code == 401


async def test_a_form_is_read_too_and_is_signed_as_it_came(door: FrontDoor) -> None:
    body = urlencode({"payload": json.dumps(a_payload("A", message="é & 😀"))}).encode()
    headers: dict[str, str | None] = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await door.send(body, headers=headers)
    assert answer.status_code == 202
    assert (await door.record(answer.json()["deployment"])).message == "é & 😀"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"x":' * 200_000, id="deep objects"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(push_payload(message="\ud800"), id="a lone surrogate"),
        pytest.param(push_payload() | {"ref": ["refs/heads/main"]}, id="a list as ref"),
        pytest.param(push_payload() | {"after": None}, id="no commit"),
        pytest.param(push_payload() | {"repository": "acme/site"}, id="a text as repository"),
        pytest.param({}, id="an empty object"),
        pytest.param(b"0" * 1_000_000, id="a long number"),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, "application/x-www-form-urlencoded"])
async def test_what_is_malformed_is_400_whatever_it_is(
    door: FrontDoor, body: bytes | dict[str, Any], content_type: str
) -> None:
    answer = await door.send(body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (400, "payload_malformed")
    assert answer.json()["status"] == 400
    assert await door.count() == 0


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-GitHub-Event": None}, "event_missing"),
        ({"X-GitHub-Event": "Push!"}, "event_missing"),
        ({"X-GitHub-Delivery": "a b"}, "delivery_invalid"),
        ({"X-GitHub-Delivery": "x" * 65}, "delivery_invalid"),
        ({"Content-Type": "text/plain"}, "content_type_unknown"),
        ({"Content-Type": None}, "content_type_unknown"),
    ],
)
async def test_headers_that_say_nothing_are_400(
    door: FrontDoor, headers: dict[str, str | None], code: str
) -> None:
    answer = await door.send(a_payload("A"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_a_post_is_a_delivery(door: FrontDoor, method: str) -> None:
    answer = await door.client.request(method, "/webhooks/github")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("payload", "event", "reason"),
    [
        (push_payload(ref="refs/tags/v1"), "push", "a tag was pushed: only branches are deployed"),
        (push_payload(ref="refs/x"), "push", "refs/x is no branch: only branches are deployed"),
        ({"zen": "…"}, "ping", "ping: the webhook works"),
        ({"action": "created"}, "star", "star events lead to nothing: only pushes are deployed"),
    ],
)
async def test_what_leads_to_nothing_is_200_with_the_reason_and_noted(
    door: FrontDoor, payload: dict[str, Any], event: str, reason: str
) -> None:
    answer = await door.send(payload, event=event, guid="g")
    assert (answer.status_code, answer.json()) == (200, {"ignored": reason})
    noted = await door.delivery("g")
    assert (noted.event, noted.outcome, noted.rule) == (event, "ignored", reason)
    assert (noted.ref, noted.deployment) == (payload.get("ref", ""), "")
    assert await door.count() == 0


@pytest.mark.parametrize(
    "branch",
    ["a/b", "with a space", "--output=x", "😀/é", "x" * 255, "$(reboot)`x`", "a'b\"c", "\\", "%2F"],
)
async def test_a_branch_of_any_name_is_recorded_and_goes_live_under_its_label(
    door: FrontDoor, branch: str
) -> None:
    answer = await door.send(a_payload("A", branch=branch))
    assert answer.status_code == 202
    found = await door.record(answer.json()["deployment"])
    assert found.branch == branch
    assert not found.production
    ready = await built(door.ledger, Answer(outcome="recorded", deployment=found.id))
    alias = await door.ledger.aliases.get(branch_label(branch, "site"))
    assert alias is not None
    assert alias.deployment == ready.id


async def test_the_same_delivery_again_gives_the_same_answer_and_builds_nothing_more(
    door: FrontDoor,
) -> None:
    payload = a_payload("A", at=1)
    first = await door.send(payload, guid="g1")
    assert first.status_code == 202
    again = await door.send(payload, guid="g1")
    other_guid = await door.send(payload, guid="g2")
    other_body = await door.send(payload | {"compare": "x"}, guid="g1")
    other_form = await door.send(
        urlencode({"payload": json.dumps(payload)}).encode(),
        guid="g3",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    for each in (again, other_guid, other_body, other_form):
        assert (each.status_code, each.json()) == (202, first.json())
    assert await door.count() == 1
    assert (await door.delivery("g1")).outcome == "recorded"
    for guid in ("g2", "g3"):
        noted = await door.delivery(guid)
        assert noted.outcome == "repeated"
        assert noted.deployment == first.json()["deployment"]


async def test_a_hundred_of_the_same_at_once_are_one(door: FrontDoor) -> None:
    payload = a_payload("A")
    answers = await asyncio.gather(
        *(door.send(payload, guid=secrets.token_hex(8)) for _ in range(100))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["deployment"] for answer in answers}) == 1
    assert await door.count() == 1


class TestRepositories:
    """Which repositories may deploy, and which project is whose."""

    async def test_only_those_that_the_settings_name(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        reason = "PUSHLANE_REPOS does not name this repository"
        async with a_front_door(
            valkey, seaweedfs, prefix, tmp_path, repos=("acme/*", "other/site")
        ) as door:
            for number, (name, status) in enumerate((
                ("acme/site", 202), ("ACME/Blog", 202), ("other/site", 202),
                ("other/blog", 200), ("acmeco/site", 200),
            )):  # fmt: skip
                payload = a_payload("A", repository=name, repository_id=number)
                answer = await door.send(payload, guid=name.replace("/", "-"))
                assert answer.status_code == status, name
            assert answer.json() == {"ignored": reason}
            noted = await door.delivery("other-blog")
            assert (noted.outcome, noted.rule) == ("ignored", reason)
            removal = a_payload(ZERO, before="A", repository="other/blog", branch="t")
            assert (await door.send(removal)).json() == {"ignored": reason}
            assert {p.repository for p in await door.ledger.view.projects()} == {
                "acme/site", "ACME/Blog", "other/site",
            }  # fmt: skip

    async def test_redelivered_once_it_is_allowed_it_is_deployed_and_noted_so(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        payload = a_payload("A")
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path, repos=("x/*",)) as door:
            assert (await door.send(payload, guid="g")).status_code == 200
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as door:
            answer = await door.send(payload, guid="g")
            assert answer.status_code == 202
            noted = await door.delivery("g")
            assert (noted.outcome, noted.deployment) == ("recorded", answer.json()["deployment"])

    async def test_a_rename_keeps_the_project_and_the_old_name_gets_one_of_its_own(
        self, door: FrontDoor
    ) -> None:
        await door.push("A", at=1)
        renamed = await door.push("B", before="A", repository="acme/new", at=2)
        assert (await door.record(renamed)).project == "site"
        late = await door.push("A", branch="t", at=1)
        assert (await door.record(late)).repository == "acme/new"
        other = await door.push("C", repository_id=8, at=3)
        assert (await door.record(other)).project == "acme-site"
        projects = {p.slug: p.repository for p in await door.ledger.view.projects()}
        assert projects == {"site": "acme/new", "acme-site": "acme/site"}

    async def test_one_name_in_two_owners_is_two_projects(self, door: FrontDoor) -> None:
        first = await door.push("A")
        second = await door.push("A", repository="other/site", repository_id=8)
        assert first != second
        assert (await door.record(first)).project == "site"
        assert (await door.record(second)).project == "other-site"

    async def test_a_repository_that_is_made_again_and_again_always_finds_a_slug(
        self, door: FrontDoor
    ) -> None:
        slugs = [
            (await door.record(await door.push("A", repository_id=number))).project
            for number in range(1, 7)
        ]
        assert slugs[:2] == ["site", "acme-site"]
        assert len(set(slugs)) == 6
