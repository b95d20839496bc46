"""From a delivery's headers and bytes to what it means."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from bot.core.deployment import Ignored, Push, Removal
from bot.core.errors import Rejected
from bot.webhook import Event, Ping, claimed_repository, read, verify
from tests.standin import ZERO, push_payload, sign

SECRET = "It's a Secret to Everybody"
NAME, FORM = "x-hub-signature-256", "application/x-www-form-urlencoded"
A, B = "a" * 40, "b" * 40


def delivered(
    body: bytes | dict[str, Any],
    *,
    event: str = "push",
    content_type: str = "application/json",
    **changes: str | None,
) -> Event:
    """What a signed delivery of `body` means; a header that is changed to None is left out."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers: dict[str, str | None] = {
        NAME: sign(raw, SECRET),
        "x-github-event": event,
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "content-type": content_type,
        **{name.replace("_", "-"): text for name, text in changes.items()},
    }
    sent = {name: text for name, text in headers.items() if text is not None}
    return read(sent, raw, secrets=[SECRET.encode()])


def refused(body: bytes | dict[str, Any], **more: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        delivered(body, **more)
    return caught.value


class TestSignature:
    """https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries"""

    BODY = b"Hello, World!"
    RIGHT = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    def test_githubs_own_vector_is_right(self) -> None:
        verify(self.RIGHT, self.BODY, secrets=[SECRET.encode()])

    @pytest.mark.parametrize("secrets", [[b"old", SECRET.encode()], [SECRET.encode(), b"new"]])
    def test_each_of_several_secrets_fits(self, secrets: list[bytes]) -> None:
        verify(self.RIGHT, self.BODY, secrets=secrets)

    @pytest.mark.parametrize(
        "signature",
        [
            "sha256=" + "0" * 64,
            RIGHT[:-1],
            RIGHT + "0",
            RIGHT.removeprefix("sha256="),
            RIGHT.upper(),
            "sha256=" + RIGHT.removeprefix("sha256=").upper(),
            "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59",
            "sha256=",
            " " + RIGHT,
            f"{RIGHT},{RIGHT}",
            "sha256=ÿé" + "0" * 62,
            "sha256=😀" + "0" * 63,
        ],
    )
    def test_every_other_one_is_401(self, signature: str) -> None:
        with pytest.raises(Rejected) as caught:
            verify(signature, self.BODY, secrets=[SECRET.encode(), b"other"])
        assert (caught.value.code, caught.value.http_status) == ("signature_invalid", 401)

    def test_it_is_over_the_raw_bytes(self) -> None:
        with pytest.raises(Rejected, match="does not fit"):
            verify(self.RIGHT, self.BODY + b"\n", secrets=[SECRET.encode()])

    def test_without_a_secret_nothing_is_let_in(self) -> None:
        with pytest.raises(Rejected, match="does not fit"):
            verify(self.RIGHT, self.BODY, secrets=[])

    def test_sha_1_alone_is_missing(self) -> None:
        body = json.dumps(push_payload()).encode()
        error = refused(
            body, x_hub_signature_256=None, x_hub_signature=sign(body, SECRET, algorithm="sha1")
        )
        assert (error.code, error.http_status) == ("signature_missing", 401)

    def test_it_is_looked_at_before_anything_else(self) -> None:
        error = refused(b"{", x_hub_signature_256="sha256=0", x_github_event="?", event="??")
        assert error.code == "signature_invalid"


def test_a_push_of_githubs_whole_shape_is_read() -> None:
    found = delivered(
        push_payload(
            repository="acme/site",
            repository_id=7,
            ref="refs/heads/a/b",
            before=A,
            after=B,
            pushed_at=1_790_000_000,
            private=True,
            default_branch="trunk",
            message="x" * 600,
            sender="ada",
        )
    )
    assert isinstance(found, Push)
    assert len(found.body_sha256) == 64
    assert found == Push(
        guid="72d3162e-cc78-11e3-81ab-4c9367dc0958",
        body_sha256=found.body_sha256,
        repository="acme/site",
        repository_id=7,
        private=True,
        default_branch="trunk",
        ref="refs/heads/a/b",
        before=A,
        after=B,
        pushed_at=1_790_000_000,
        message="x" * 500,
        author="octocat",
    )


def test_a_form_means_the_same_as_json() -> None:
    payload = push_payload(message="é & = + 😀", pushed_at=1)
    body = urlencode({"payload": json.dumps(payload)}).encode()
    form = delivered(body, content_type=f"{FORM}; charset=utf-8")
    plain = delivered(payload)
    assert isinstance(form, Push)
    assert isinstance(plain, Push)
    assert form.message == "é & = + 😀"
    assert form.body_sha256 != plain.body_sha256
    assert (form.after, form.message, form.pushed_at) == (plain.after, plain.message, 1)


def test_a_payload_may_leave_out_all_but_what_we_need() -> None:
    found = delivered(
        {
            "ref": "refs/heads/main",
            "before": ZERO,
            "after": A,
            "repository": {"full_name": "acme/site"},
            "head_commit": None,
        }
    )
    assert isinstance(found, Push)
    assert (found.repository_id, found.default_branch, found.pushed_at) == (0, "", 0)
    assert found.private, "what is not known to be public is private"


@pytest.mark.parametrize("pushed_at", ["2026-11-24T12:00:00Z", "2026-11-24T13:00:00+01:00"])
def test_a_time_in_iso_8601_is_read_too(pushed_at: str) -> None:
    payload = push_payload()
    payload["repository"]["pushed_at"] = pushed_at
    found = delivered(payload)
    assert isinstance(found, Push)
    assert found.pushed_at == 1_795_521_600


@pytest.mark.parametrize(
    "branch",
    [
        "a/b/c",
        "with a space",
        "--output=x",
        "-x",
        "😀/日本",
        "x" * 255,
        "é" * 127,
        "$(reboot)",
        "a'b\"c`d;e|f",
        "refs/heads/main",
        "tags/v1",
    ],
)
def test_a_branch_of_any_name_is_a_branch(branch: str) -> None:
    found = delivered(push_payload(ref=f"refs/heads/{branch}", after=A))
    assert isinstance(found, Push)
    assert found.ref == f"refs/heads/{branch}"


@pytest.mark.parametrize("after", [ZERO, A])
def test_a_zero_commit_is_a_deletion_and_deleted_alone_is_none(after: str) -> None:
    payload = push_payload(ref="refs/heads/t", before=B, after=after, pushed_at=5)
    found = delivered(payload | {"deleted": True})
    if after == A:
        assert isinstance(found, Push)
        return
    assert isinstance(found, Removal)
    assert (found.ref, found.before, found.pushed_at) == ("refs/heads/t", B, 5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ref": "refs/tags/v1"}, "a tag was pushed: only branches are deployed"),
        ({"ref": "refs/tags/v1", "after": ZERO}, "a tag was pushed: only branches are deployed"),
        ({"ref": "refs/notes/x"}, "refs/notes/x is no branch: only branches are deployed"),
        ({"after": "a" * 64}, "repositories with SHA-256 object names are not supported"),
    ],
)
def test_a_push_of_anything_else_is_ignored_and_says_why(
    changes: dict[str, str], reason: str
) -> None:
    found = delivered(push_payload(**changes))  # type: ignore[arg-type]
    assert isinstance(found, Ignored)
    assert (found.event, found.reason) == ("push", reason)
    assert found.ref == changes.get("ref", "refs/heads/main")


def test_a_ping_is_a_ping_and_other_events_are_ignored_by_name() -> None:
    ping = delivered({"zen": "…", "repository": {"full_name": "acme/site"}}, event="ping")
    assert isinstance(ping, Ping)
    assert ping.repository == "acme/site"
    assert isinstance(delivered({"zen": "…"}, event="ping"), Ping)
    other = delivered({"action": "created", "repository": None}, event="star")
    assert isinstance(other, Ignored)
    assert (other.event, other.repository) == ("star", "")
    assert "star" in other.reason


def test_without_a_guid_the_body_names_the_delivery() -> None:
    first = delivered(push_payload(pushed_at=1), x_github_delivery=None)
    again = delivered(push_payload(pushed_at=1), x_github_delivery=None)
    other = delivered(push_payload(pushed_at=2), x_github_delivery=None)
    assert first.guid == again.guid != other.guid
    assert first.guid.startswith("body-")


@pytest.mark.parametrize("guid", ["a b", "a:b", "../x", "x" * 65, "é", "a\n"])
def test_a_guid_of_another_form_is_refused(guid: str) -> None:
    assert refused(push_payload(), x_github_delivery=guid).code == "delivery_invalid"


@pytest.mark.parametrize("event", [None, "", "Push", "push push", "x" * 65, "push\n"])
def test_an_event_without_a_name_is_refused(event: str | None) -> None:
    assert refused(push_payload(), x_github_event=event).code == "event_missing"


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/jsonx", "multipart/x"])
def test_another_content_type_is_refused(content_type: str) -> None:
    error = refused(push_payload(), content_type=content_type)
    assert error.code == "content_type_unknown"


def with_repository(**changes: Any) -> dict[str, Any]:
    payload = push_payload(repository="acme/site")
    return payload | {"repository": payload["repository"] | changes}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="nothing in it"),
        pytest.param(b"\xff\xfe{}", id="no UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte-order mark"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(
            json.dumps(push_payload()).encode()[:-1]
            + b',"x":'
            + b"[" * 100_000
            + b"]" * 100_000
            + b"}",
            id="deep where nobody looks",
        ),
        pytest.param(
            json.dumps(push_payload() | {"x": "?"}).encode().replace(b'"?"', b'"\xff"'),
            id="no UTF-8 where nobody looks",
        ),
        pytest.param(push_payload() | {"ref": 5}, id="a number as ref"),
        pytest.param(push_payload() | {"ref": "main"}, id="a ref that is not whole"),
        pytest.param(push_payload(ref="refs/heads/a\0b"), id="NUL in a ref"),
        pytest.param(push_payload(ref="refs/heads/a\nb"), id="a line end in a ref"),
        pytest.param(push_payload(ref="refs/heads/\ud800"), id="a lone surrogate in a ref"),
        pytest.param(push_payload(message="\udfff"), id="a lone surrogate in a message"),
        pytest.param(push_payload(ref="refs/heads/" + "x" * 1000), id="a long ref"),
        pytest.param(push_payload() | {"after": A.upper()}, id="an upper-case commit"),
        pytest.param(push_payload() | {"after": "a" * 39}, id="a short commit"),
        pytest.param(push_payload() | {"after": A + "\n"}, id="a line end after a commit"),
        pytest.param(push_payload() | {"before": None}, id="no commit before"),
        pytest.param(push_payload() | {"repository": None}, id="no repository"),
        pytest.param(push_payload() | {"head_commit": []}, id="a list as head commit"),
        pytest.param(with_repository(full_name="acme"), id="no owner"),
        pytest.param(with_repository(full_name="acme/.."), id="a way up"),
        pytest.param(with_repository(full_name="a/b/c"), id="too many parts"),
        pytest.param(with_repository(full_name="acme/si te"), id="a space in the name"),
        pytest.param(with_repository(full_name="acme/site\n"), id="a line end in the name"),
        pytest.param(with_repository(id="7"), id="a text as id"),
        pytest.param(with_repository(id=-1), id="an id below 0"),
        pytest.param(with_repository(id=10**30), id="an id out of range"),
        pytest.param(with_repository(id=True), id="a truth as id"),
        pytest.param(with_repository(pushed_at=1e9), id="a fraction as time"),
        pytest.param(with_repository(pushed_at=10**30), id="a time out of range"),
        pytest.param(with_repository(pushed_at="yesterday"), id="words as time"),
    ],
)
def test_what_is_no_push_is_malformed(body: bytes | dict[str, Any]) -> None:
    error = refused(body)
    assert (error.code, error.http_status) == ("payload_malformed", 400)
    assert len(error.message) < 400


WHOLE_FORM = urlencode({"payload": json.dumps(push_payload())}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"other=%7B%7D",
        b"payload=%7B",
        WHOLE_FORM.replace(b"A+change", b"%FF%FE"),
        WHOLE_FORM.replace(b"A+change", b"%ED%A0%80"),
        WHOLE_FORM.replace(b"A+change", "é".encode()),
        b"&".join(b"a%d=b" % n for n in range(100)) + b"&" + WHOLE_FORM,
    ],
)
def test_a_form_without_a_payload_is_malformed(body: bytes) -> None:
    assert isinstance(delivered(WHOLE_FORM, content_type=FORM), Push)
    assert body != WHOLE_FORM
    assert refused(body, content_type=FORM).code == "payload_malformed"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"repository": 5}'])
def test_any_other_event_must_be_json_too(body: bytes) -> None:
    assert refused(body, event="ping").code == "payload_malformed"
    assert refused(body, event="star").code == "payload_malformed"


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (json.dumps(push_payload()).encode(), "octocat/site"),
        (json.dumps(push_payload(), separators=(",", ":")).encode(), "octocat/site"),
        (b'{"full_name": "a/b"', "a/b"),
        (b'{"full_name": "a/<script>"}', ""),
        (b'{"full_name": "' + b"x" * 101 + b'/y"}', ""),
        (b"\xff\x00" * 100, ""),
        (b"", ""),
        (b" " * 20_000 + b'{"full_name": "a/b"}', ""),
    ],
)
def test_the_repository_that_strangers_claim_is_looked_for_at_the_beginning_only(
    body: bytes, name: str
) -> None:
    assert claimed_repository(body, content_type="application/json") == name
    form = urlencode({"payload": body}).encode()
    assert claimed_repository(form, content_type=FORM) == name
    assert claimed_repository(form, content_type="application/json") == ""
