"""What the API answers, as far as the command reads it: a newer server may say more."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from bot.cli.failures import wrong
from bot.core.deployment import ENDED, Status

T = TypeVar("T")
_ENDED = frozenset(map(str, ENDED))
_WRECKED = frozenset({Status.FAILED, Status.ERRORED, Status.CANCELLED})


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the way. `seconds` is None while it lasts."""

    name: str
    started_at: str | None = None
    seconds: float | None = None


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """Where a deployment is to be seen."""

    page: str = ""
    deployment: str = ""
    branch: str | None = None
    production: str | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    code: str = ""
    message: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment. Statuses are plain words here: a newer server may know more of them."""

    id: str
    status: str
    project: str = ""
    repository: str = ""
    ref: str = ""
    commit: str = ""
    live: bool = False
    message: str = ""
    author: str = ""
    attempts: dict[str, int] = {}
    received_at: str | None = None
    stages: tuple[Stage, ...] = ()
    seconds: float | None = None
    urls: Urls = Urls()
    url: str = ""
    error: Failure | None = None
    reason: str = ""
    stop: str = ""
    beside: tuple[str, ...] = ()
    """Those of the repository's further projects, which it led to."""
    files: int = 0
    bytes: int = 0
    framework: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status in _ENDED

    @property
    def ready(self) -> bool:
        """Whether its release is whole."""
        return self.status == Status.READY

    @property
    def wrecked(self) -> bool:
        """Whether it ended as failed, errored or cancelled."""
        return self.status in _WRECKED

    @property
    def standing(self) -> str:
        """The status, and what is to be known beside it: `ready, live`, `building, stopping`."""
        if self.live:
            return f"{self.status}, live"
        return f"{self.status}, stopping" if self.stop and not self.ended else self.status


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Records, as the API answers them, and where the next page begins."""

    deployments: list[Any]
    cursor: str | None = None

    @property
    def records(self) -> list[Any]:
        """Of whatever is paged."""
        return self.deployments


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request to stop: `cancelled` at once, or `stopping`."""

    outcome: str


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A repository with its settings. `live` is the id of the deployment in production."""

    slug: str
    repository: str = ""
    production_branch: str = ""
    url: str = ""
    live: str | None = None
    pinned: bool = False
    settings: dict[str, Any] = {}


class Projects(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, oldest first."""

    projects: tuple[Project, ...]


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A build secret without its value."""

    name: str
    contexts: tuple[str, ...] = ()
    updated_at: str | None = None


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """All of a project, by name."""

    secrets: tuple[Secret, ...]


class Active(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that is being worked on. `seconds` is how long its stage has lasted."""

    id: str
    project: str = ""
    status: str = ""
    seconds: float = 0.0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The queue at one moment."""

    verdict: str
    lists: dict[str, list[str]] = {}
    waiting: int = 0
    active: tuple[Active, ...] = ()
    delayed: int = 0
    dead: int = 0
    oldest_seconds: float = 0.0
    builds_per_minute: float = 0.0


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """An alias that was moved: it shows `deployment` now and showed `previous` before."""

    alias: str
    url: str = ""
    deployment: str = ""
    previous: str | None = None
    pinned: bool = False


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Some objects of one kind; the first of their names, in a dry run."""

    count: int = 0
    bytes: int = 0
    names: tuple[str, ...] = ()


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What a round of the collector did, or would do, by kind of object."""

    dry_run: bool = False
    complete: bool = True
    stopped: str = ""
    kept: dict[str, Share] = {}
    condemned: dict[str, Share] = {}
    waiting: dict[str, Share] = {}
    deleted: dict[str, Share] = {}
    unknown: dict[str, Share] = {}
    uploads: int = 0


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What one delivery led to, and the rule that decided."""

    guid: str
    event: str = ""
    repository: str = ""
    project: str | None = None
    ref: str = ""
    after: str = ""
    outcome: str = ""
    rule: str = ""
    deployment: str | None = None
    answer: int = 0
    size: int = 0
    at: str | None = None
    status: str | None = None
    """The deployment's, now."""
    why: str = ""
    payload_kept: bool = False


class Deliveries(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, as the API answers them, and where the next page begins."""

    deliveries: list[Any]
    cursor: str | None = None

    @property
    def records(self) -> list[Any]:
        """Of whatever is paged."""
        return self.deliveries


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that was refused; what it says of itself is its sender's claim."""

    code: str
    peer: str = ""
    event: str = ""
    guid: str = ""
    repository: str = ""
    at: str | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """How many were refused, by code, and the newest of them first."""

    counts: dict[str, int]
    newest: tuple[Refusal, ...] = ()


class Redelivered(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery led to that was taken up again."""

    outcome: str
    deployment: str = ""
    why: str = ""


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """A restoration: what goes on, or what the last one led to."""

    state: str
    detail: str = ""
    begun_at: str | None = None
    ended_at: str | None = None
    done: int = 0
    of: int = 0
    projects: int = 0
    aliases: int = 0
    deployments: int = 0


def read(type_: type[T], answer: Any) -> T:
    """The answer as a record. Raises `Rejected` when it is something else."""
    try:
        return msgspec.convert(answer, type_)
    except msgspec.ValidationError as error:
        raise wrong(
            f"the server's answer is not understood ({error}); "
            "is it a Pushlane of about this version?",
            code="answer_unknown",
        ) from None
