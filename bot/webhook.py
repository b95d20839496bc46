"""From the bytes of a delivery to what it means. Pure: no I/O, no settings, no clock.

We parse only what we need; the rest of a payload is never looked at.
https://docs.github.com/webhooks/webhook-events-and-payloads#push
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from bot.core.deployment import ZERO, Ignored, Push, Removal
from bot.core.errors import Rejected

BODY_LIMIT: Final = 25_000_000
"""Bytes. GitHub sends no delivery of more than 25 MB."""
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
"""The content types that GitHub's webhooks may be set to."""

SIGNATURE: Final = "x-hub-signature-256"
"""The header that bears GitHub's signature."""
_SIGNED: Final = re.compile(r"sha256=[0-9a-f]{64}")
_GUID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_BRANCH: Final = "refs/heads/"
_TAG: Final = "refs/tags/"
_CLAIMED: Final = re.compile(rb'"full_name"\s*:\s*"([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})"')
_CLAIMED_WITHIN: Final = 16_384


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """GitHub tries a webhook that was just made."""

    guid: str
    repository: str
    repository_id: int = 0


Event: TypeAlias = Push | Removal | Ping | Ignored

Commit = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?\Z")]
Ref = Annotated[str, msgspec.Meta(max_length=1000, pattern=r"^refs/[^\x00-\x1f\x7f]+\Z")]
Seconds = Annotated[int, msgspec.Meta(le=253_402_300_799)]
"""Since the epoch, to the end of the year 9999."""


class _Repository(msgspec.Struct, frozen=True):
    full_name: str = ""
    id: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    private: bool = True
    default_branch: str | None = None
    pushed_at: Seconds | str | None = None


class _Author(msgspec.Struct, frozen=True):
    name: str | None = None
    username: str | None = None


class _HeadCommit(msgspec.Struct, frozen=True):
    message: str | None = None
    author: _Author | None = None


class _Push(msgspec.Struct, frozen=True):
    ref: Ref
    before: Commit
    after: Commit
    repository: _Repository
    head_commit: _HeadCommit | None = None
    forced: bool | None = None


class _Other(msgspec.Struct, frozen=True):
    """Of any other event: at most whose it is."""

    repository: _Repository | None = None


_read_push: Final = msgspec.json.Decoder(_Push).decode
_read_other: Final = msgspec.json.Decoder(_Other).decode


def read(headers: Mapping[str, str], body: bytes, *, secrets: Sequence[bytes]) -> Event:
    """What a delivery means. `headers` have lower-case names; any of `secrets` may have signed it.

    Raises `Rejected`: 401 `signature_missing`, `signature_invalid`; 400 `event_missing`,
    `delivery_invalid`, `content_type_unknown`, `payload_malformed`.
    """
    verify(headers.get(SIGNATURE, ""), body, secrets=secrets)
    return meaning(
        body,
        event=headers.get("x-github-event", ""),
        guid=headers.get("x-github-delivery", ""),
        content_type=headers.get("content-type", ""),
    )


def meaning(body: bytes, *, event: str, guid: str, content_type: str) -> Event:
    """What a body means whose signature was right. Raises `Rejected` (400), as `read` does."""
    if not re.fullmatch(r"[a-z0-9_]{1,64}", event):
        raise Rejected("X-GitHub-Event must name the event, such as push", code="event_missing")
    digest = hashlib.sha256(body).hexdigest()
    # Whoever replays a signed body by hand may leave the GUID out.
    guid = guid or f"body-{digest[:32]}"
    if not _GUID.fullmatch(guid):
        raise Rejected(
            "X-GitHub-Delivery must be a GUID of letters, digits and dashes",
            code="delivery_invalid",
        )
    try:
        payload = payload_of(body, content_type=content_type)
        if event == "push":
            return _push(_read_push(payload), guid=guid, digest=digest)
        found = _read_other(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Rejected(
            f"the payload is no {event} event: {_lowered(error)}", code="payload_malformed"
        ) from None
    repository = found.repository or _Repository()
    if event == "ping":
        return Ping(guid=guid, repository=repository.full_name, repository_id=repository.id)
    return Ignored(
        guid=guid,
        event=event,
        repository=repository.full_name,
        repository_id=repository.id,
        reason=f"{event} events lead to nothing: only pushes are deployed",
    )


def ensure_signed(signature: str) -> None:
    """Raises `Rejected` (401) for what cannot be a signature of GitHub's, whatever the body is."""
    if not signature:
        raise Rejected(
            "X-Hub-Signature-256 is missing: set a secret in the webhook's settings on GitHub",
            code="signature_missing",
            http_status=401,
        )
    if not _SIGNED.fullmatch(signature):
        raise Rejected(
            "X-Hub-Signature-256 is no signature: it takes sha256= and 64 hex digits",
            code="signature_invalid",
            http_status=401,
        )


def verify(signature: str, body: bytes, *, secrets: Sequence[bytes]) -> None:
    """Raises `Rejected` (401) unless `signature` is GitHub's of these raw bytes, by any secret.

    https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    """
    ensure_signed(signature)
    given = signature.encode()
    right = False
    for secret in secrets:
        wanted = b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        # No early end: the time tells nothing of which secret fits.
        right |= hmac.compare_digest(wanted, given)
    if not right:
        raise Rejected(
            "X-Hub-Signature-256 does not fit the body: the webhook's secret on GitHub must be "
            "the one in PUSHLANE_WEBHOOK_SECRET",
            code="signature_invalid",
            http_status=401,
        )


def claimed_repository(body: bytes, *, content_type: str) -> str:
    """The repository that a body names, which nobody has signed; empty when none is seen at once.

    Only its first bytes are searched, and nothing is parsed: strangers may have written it.
    """
    start = body[:_CLAIMED_WITHIN]
    if is_form(content_type):
        start = unquote_to_bytes(start.replace(b"+", b" "))
    found = _CLAIMED.search(start)
    return found[1].decode("ascii") if found else ""


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form."""
    return _media_type(content_type) == FORM


def payload_of(body: bytes, *, content_type: str) -> str:
    """The JSON that a body holds, in a form or by itself.

    Raises `Rejected` (400): `content_type_unknown`, `payload_malformed`; and `UnicodeDecodeError`.
    """
    media_type = _media_type(content_type)
    if media_type == JSON:
        # As text, so that all of it is UTF-8, and not only what is looked at.
        return body.decode()
    if media_type != FORM:
        raise Rejected(
            f"the content type must be {JSON} or {FORM}: "
            "choose one in the webhook's settings on GitHub",
            code="content_type_unknown",
        )
    try:
        fields = parse_qsl(
            body.decode("ascii"), strict_parsing=True, max_num_fields=10, errors="strict"
        )
        return dict(fields)["payload"]
    except (KeyError, ValueError):
        raise Rejected(
            "the form has no field `payload` of UTF-8 text", code="payload_malformed"
        ) from None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _push(found: _Push, *, guid: str, digest: str) -> Push | Removal | Ignored:
    repository = found.repository
    if not _REPOSITORY.fullmatch(repository.full_name):
        raise Rejected(
            f"repository.full_name is {repository.full_name[:100]!r}, which is no owner/name",
            code="payload_malformed",
        )
    pushed_at = _seconds(repository.pushed_at)

    def ignored(reason: str) -> Ignored:
        return Ignored(
            guid=guid,
            event="push",
            repository=repository.full_name,
            repository_id=repository.id,
            ref=found.ref,
            before=found.before,
            after=found.after,
            reason=reason,
        )

    if found.ref.startswith(_TAG):
        return ignored("a tag was pushed: only branches are deployed")
    if not found.ref.startswith(_BRANCH):
        return ignored(f"{found.ref[:100]} is no branch: only branches are deployed")
    if len(found.after) != len(ZERO):
        return ignored("repositories with SHA-256 object names are not supported")
    # A zero `after` says so alone; `deleted` may not contradict it.
    if found.after == ZERO:
        return Removal(
            guid=guid,
            body_sha256=digest,
            repository=repository.full_name,
            repository_id=repository.id,
            ref=found.ref,
            before=found.before,
            pushed_at=pushed_at,
        )
    head = found.head_commit or _HeadCommit()
    author = head.author or _Author()
    return Push(
        guid=guid,
        body_sha256=digest,
        repository=repository.full_name,
        repository_id=repository.id,
        private=repository.private,
        default_branch=repository.default_branch or "",
        ref=found.ref,
        before=found.before,
        after=found.after,
        pushed_at=pushed_at,
        message=(head.message or "")[:500],
        author=(author.name or author.username or "")[:100],
        forced=bool(found.forced),
    )


def _seconds(pushed_at: int | str | None) -> int:
    """Seconds since the epoch; 0 when the payload does not tell. Some events carry ISO 8601."""
    if isinstance(pushed_at, str):
        try:
            return max(int(datetime.fromisoformat(pushed_at).timestamp()), 0)
        except (ValueError, OverflowError):
            raise Rejected(
                "repository.pushed_at is neither seconds nor a time in ISO 8601",
                code="payload_malformed",
            ) from None
    return max(pushed_at or 0, 0)


def _lowered(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:300] if text[1:2].islower() else text[:300]
