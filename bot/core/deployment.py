"""A deployment: the record of bringing one commit live, its statuses and its names.

Pure: no client, no clock but the one for ids. The legal moves between statuses stand in
`TRANSITIONS` alone; the ledger's scripts get them as arguments and check them atomically.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from enum import StrEnum
from typing import Final, NamedTuple, assert_never

import msgspec


class Status(StrEnum):
    """Where a deployment stands."""

    RECEIVED = "received"
    """Recorded; its source is to be fetched."""
    FETCHING = "fetching"
    """The bot holds a claim and fetches the commit."""
    QUEUED = "queued"
    """The source is in the bucket; a worker may claim it."""
    BUILDING = "building"
    """A worker holds a claim and builds."""
    PUBLISHING = "publishing"
    """The same worker uploads the release."""
    READY = "ready"
    """The release is whole. Live, when an alias points at it."""
    FAILED = "failed"
    """The build's fault."""
    ERRORED = "errored"
    """Our fault, after all attempts."""
    CANCELLED = "cancelled"
    """A person stopped it, or its branch was deleted."""
    SUPERSEDED = "superseded"
    """A newer push of the same branch made it pointless."""
    SKIPPED = "skipped"
    """The commit or the settings asked for no deployment."""


class State(StrEnum):
    """GitHub's word for a commit's status."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class Stage(StrEnum):
    """The two parts of the way that are claimed."""

    FETCH = "fetch"
    BUILD = "build"


class Trigger(StrEnum):
    """What made the record."""

    PUSH = "push"
    """A delivery from GitHub. Ordered by `pushed_at`; supersedes and is superseded."""
    MANUAL = "manual"
    """A person asked for a ref. Supersedes nothing, is superseded by nothing."""
    REDEPLOY = "redeploy"
    """A person asked for an old deployment's commit anew."""


WAITING: Final = frozenset({Status.RECEIVED, Status.QUEUED})
ACTIVE: Final = frozenset({Status.FETCHING, Status.BUILDING, Status.PUBLISHING})
ENDED: Final = frozenset(
    {
        Status.READY,
        Status.FAILED,
        Status.ERRORED,
        Status.CANCELLED,
        Status.SUPERSEDED,
        Status.SKIPPED,
    }
)

TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    # to: legal from
    Status.RECEIVED: frozenset({Status.FETCHING}),
    Status.FETCHING: frozenset({Status.RECEIVED}),
    Status.QUEUED: frozenset({Status.FETCHING, Status.BUILDING, Status.PUBLISHING}),
    Status.BUILDING: frozenset({Status.QUEUED}),
    Status.PUBLISHING: frozenset({Status.BUILDING}),
    Status.READY: frozenset({Status.PUBLISHING}),
    Status.FAILED: ACTIVE,
    Status.ERRORED: ACTIVE,
    Status.CANCELLED: WAITING | ACTIVE,
    Status.SUPERSEDED: WAITING | ACTIVE,
    Status.SKIPPED: frozenset({Status.FETCHING}),
}

_WAY: Final = (
    Status.RECEIVED,
    Status.FETCHING,
    Status.QUEUED,
    Status.BUILDING,
    Status.PUBLISHING,
)


ZERO: Final = "0" * 40
"""What GitHub gives for no commit."""


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """One verified push of a branch. `pushed_at` is in whole seconds, GitHub's time."""

    guid: str
    body_sha256: str
    repository: str
    repository_id: int
    private: bool
    default_branch: str
    ref: str
    before: str
    after: str
    pushed_at: int
    message: str = ""
    author: str = ""
    forced: bool = False
    """It put the branch where its head before is no part of."""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """One verified deletion of a branch."""

    guid: str
    body_sha256: str
    repository: str
    repository_id: int
    ref: str
    before: str
    pushed_at: int


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """One verified delivery that leads to nothing, and why, for people."""

    guid: str
    event: str
    repository: str
    reason: str
    repository_id: int = 0
    ref: str = ""
    before: str = ""
    after: str = ""


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The record, as the ledger holds it. Times are milliseconds since the epoch, 0 = not yet."""

    id: str
    status: Status
    project: str
    """The project's slug."""
    entry: str = ""
    """What the repository's file calls the project; empty for the repository's main one."""
    beside: tuple[str, ...] = ()
    """The deployments of the further projects that a main project's led to."""
    repository: str
    """`owner/name`, as it was when recorded."""
    repository_id: int = 0
    """GitHub's id; 0 while no delivery or API answer has told it."""
    private: bool = True
    """So long as no delivery has said otherwise."""
    ref: str
    """Whole: `refs/heads/a/b`."""
    commit: str = ""
    """40 hex digits; empty until intake has resolved a ref."""
    before: str = ""
    forced: bool = False
    """Pushed by force."""
    seq: int
    """Orders the deployments of a project."""
    trigger: Trigger = Trigger.PUSH
    production: bool = False
    """Recorded on the project's production branch."""
    pushed_at: int = 0
    """GitHub's time of the push, in whole seconds since the epoch."""
    message: str = ""
    """The head commit's message, cut to 500 characters."""
    author: str = ""
    delivery: str = ""
    redeploy_of: str = ""
    claim: str = ""
    """The random id of the running claim; empty when nobody holds one."""
    claims: tuple[str, ...] = ()
    """Every claim so far, oldest first: each has its own log."""
    stop: str = ""
    """`cancelled` or `superseded` when the running claim is asked to stop."""
    fetch_attempts: int = 0
    build_attempts: int = 0
    due_at: int = 0
    """Not before this time, after a retry."""
    received_at: int = 0
    fetching_at: int = 0
    queued_at: int = 0
    building_at: int = 0
    publishing_at: int = 0
    ended_at: int = 0
    source: str = ""
    """The source archive's object name."""
    source_bytes: int = 0
    release: str = ""
    """The manifest's object name."""
    condemned_at: int = 0
    """Since then its release is no longer kept: no alias may name it any more."""
    files: int = 0
    bytes: int = 0
    framework: str = ""
    error_code: str = ""
    error_message: str = ""
    reason: str = ""
    """Why it was skipped, superseded or cancelled, or why a ready one is not live; for people."""
    version: int = 0
    """Rises with every change of the record."""

    @property
    def branch(self) -> str:
        """The ref without `refs/heads/`."""
        return self.ref.removeprefix("refs/heads/")

    @property
    def repository_key(self) -> str:
        """Names the repository in the bucket and in mirrors: its id, else a hash of its name."""
        return repository_key(self.repository_id, self.repository)


def repository_key(repository_id: int, repository: str) -> str:
    """GitHub's id, which a rename keeps; a hash of the name while the id is not known."""
    if repository_id:
        return str(repository_id)
    return "n" + hashlib.sha256(repository.lower().encode()).hexdigest()[:16]


_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
ID: Final = re.compile(r"^d[0-9a-hjkmnp-tv-z]{16}$")
"""A deployment id: `d`, nine characters of time, seven of chance (Crockford base 32)."""
COMMIT: Final = re.compile(r"^[0-9a-f]{40}$")


def new_id() -> str:
    """A fresh deployment id; later ones sort after earlier ones."""
    number = (time.time_ns() // 1_000_000) << 35 | secrets.randbits(35)
    return "d" + "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))


def new_claim() -> str:
    """A fresh claim id: 64 random bits in hex, never reused."""
    return secrets.token_hex(8)


def slug_is_taken_form(slug: str) -> bool:
    """Whether a slug looks like a name that means something else (an id, a pull request, IDNA)."""
    return bool(ID.match(slug) or re.match(r"^(pr-\d+$|xn)", slug))


def _slugify(text: str, *, length: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-")


def project_slugs(repository: str) -> tuple[str, ...]:
    """The slugs that a repository's project may get, best first. At most 40 characters each.

    The last ends in what chance gives, so it is free, whatever repositories others have named to
    take it; a repository that was removed and made again under its old name is another one.
    """
    owner, _, name = repository.partition("/")
    chance = secrets.token_hex(4)
    plain = (_slugify(name, length=40), _slugify(f"{owner}-{name}", length=40))
    last = f"{_slugify(name, length=31) or 'site'}-{chance}"
    if slug_is_taken_form(last):
        last = f"p-{chance}"
    return (*(slug for slug in plain if slug and not slug_is_taken_form(slug)), last)


def further_slugs(main: str, entry: str) -> tuple[str, ...]:
    """The slugs that a further project may get, best first: its name, else with the main one's."""
    with_main = _slugify(f"{main}-{entry}", length=40)
    last = f"{_slugify(entry, length=31)}-{secrets.token_hex(4)}"
    return tuple(slug for slug in (entry, with_main, last) if not slug_is_taken_form(slug))


_HASHED: Final = re.compile(r"-[0-9a-f]{12}$")


def branch_slug(branch: str, *, length: int) -> str:
    """The branch's part of a host: itself when it is a plain slug, else with a short hash.

    So `fix/api`, `fix-api` and `Fix-api` never meet; nor does a branch that is named like another
    one's slug, since what looks hashed is hashed too. Cut to `length` before the hash, of which
    there is enough that nobody can look for a name with the hash of another's.
    """
    slug = _slugify(branch, length=length)
    plain = slug and slug == branch and len(slug) != 2 and not slug_is_taken_form(slug)
    if plain and not _HASHED.search(slug):
        return slug
    digest = hashlib.sha256(branch.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    cut = slug[: length - 13].strip("-")
    if not cut or slug_is_taken_form(f"{cut}-{digest}"):
        return f"b-{digest}"
    return f"{cut}-{digest}"


def branch_label(branch: str, project: str) -> str:
    """The host label of the newest release of a branch: `<branch>--<project>`, ≤ 63 characters."""
    return f"{branch_slug(branch, length=63 - 2 - len(project))}--{project}"


def deployment_label(id_: str, project: str) -> str:
    """The host label of one release: `<deployment-id>--<project>`, ≤ 63 characters."""
    return f"{id_}--{project}"


class Timing(NamedTuple):
    """One stage of the way, in milliseconds since the epoch; `ended_at` is 0 while it lasts."""

    status: Status
    began_at: int
    ended_at: int


def timings(deployment: Deployment) -> tuple[Timing, ...]:
    """The stages that it has gone through, in order, up to the one that it is in.

    Of what was tried again only the last attempt has a time; those before it count as waiting.
    """
    begun: list[tuple[Status, int]] = []
    for status in _WAY:
        at = int(getattr(deployment, f"{status.value}_at"))
        # What began before the stage that leads to it is of an older attempt.
        if at and (not begun or at >= begun[-1][1]):
            begun.append((status, at))
        if status is deployment.status:
            break
    ends = (*(at for _, at in begun[1:]), deployment.ended_at)
    return tuple(Timing(*stage, end) for stage, end in zip(begun, ends, strict=True))


def state(deployment: Deployment) -> tuple[State, str]:
    """GitHub's state and its description (≤ 140 characters) for what the deployment is now."""
    found, words = _state(deployment)
    return found, words if len(words) <= 140 else words[:139] + "…"


def _state(deployment: Deployment) -> tuple[State, str]:
    match deployment.status:
        case Status.RECEIVED:
            return State.PENDING, "Received"
        case Status.FETCHING:
            return State.PENDING, "Fetching the source"
        case Status.QUEUED:
            return State.PENDING, "Queued"
        case Status.BUILDING:
            return State.PENDING, "Building"
        case Status.PUBLISHING:
            return State.PENDING, "Publishing"
        case Status.READY:
            seconds = max(deployment.ended_at - deployment.received_at, 0) / 1000
            note = f"; {deployment.reason}" if deployment.reason else ""
            return State.SUCCESS, f"Ready in {seconds:.1f} s{note}"
        case Status.SKIPPED:
            return State.SUCCESS, f"Skipped: {deployment.reason}"
        case Status.SUPERSEDED:
            return State.SUCCESS, f"Superseded: {deployment.reason or 'a newer push came'}"
        case Status.FAILED:
            return State.FAILURE, f"Failed: {deployment.error_message}"
        case Status.CANCELLED:
            return State.ERROR, f"Cancelled: {deployment.reason or 'on request'}"
        case Status.ERRORED:
            return State.ERROR, f"Error: {deployment.error_message}"
        case _:
            assert_never(deployment.status)
