"""What was seen, as plain records: the invariants are judged on these and on nothing else.

Times are Unix seconds, but for those of Redis (`…_at` in records), which are milliseconds as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bot.core.release import Manifest
from tests.chaos.proxy import Exchange
from tests.chaos.world import Sort

Hash: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold."""

    invariant: str
    what: str
    ids: tuple[str, ...] = ()
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One push or deletion, as its payload says. `after` is all zeros for a deletion."""

    body: str
    """The body's SHA-256."""
    repository: str
    ref: str
    before: str
    after: str
    pushed_at: int
    order: tuple[int, int] = (0, 0)
    """GitHub's order: by the second, then by what happened first."""
    sort: Sort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One POST of a delivery. `status` is 502 where no connection came to be, 504 for silence."""

    guid: str
    body: str
    began_at: float
    seconds: float
    status: int
    deployment: str = ""
    slack: float = 0.0
    """How late the machine itself was meanwhile, in seconds."""
    excused: bool = False
    """A fault between GitHub and the bot, or of the bot itself, may have kept the answer."""

    @property
    def taken(self) -> bool:
        """Whether it was acknowledged."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, with its answer if one came. Times are Unix seconds."""

    what: str
    target: str
    """A deployment's id or a project's slug."""
    began_at: float
    ended_at: float
    status: int
    """0 when no answer came: it may have been done all the same."""
    answer: Any = None
    twin: int = -1
    """The position of the request of which this is the repetition."""


@dataclass(slots=True)
class Sighting:
    """What was seen of one record in the course of time."""

    status: str = ""
    ends: list[tuple[str, str, str]] = field(default_factory=list)
    """Each different (status, ended_at, ended_claim) of an end."""
    attempts: tuple[int, int] = (0, 0)
    falls: list[tuple[float, str]] = field(default_factory=list)
    """When, and how, a counter of attempts became less than before."""
    left_end: list[str] = field(default_factory=list)
    """Each status that was seen after an end."""


@dataclass(frozen=True, slots=True)
class AliasSeen:
    """What an alias was, from this moment on."""

    at: float
    before_at: float
    """When it was last seen otherwise."""
    seq: int
    deployment_seq: int
    deployment: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class Stop:
    """An active deployment was asked to stop; its sandbox is to die."""

    deployment: str
    asked_at: float
    gone_at: float
    """Infinite for one that was never seen to go."""
    limit: float
    """Seconds that were allowed, with what faults of the time add."""


@dataclass(frozen=True, slots=True)
class Return:
    """Redis was back: how long until builds went on. None: there was nothing to build."""

    kind: str
    at: float
    seconds: float | None
    limit: float


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at a production page, at one bot. `status` 0: no answer."""

    at: float
    life: str
    label: str
    status: int
    words: str
    warm: bool
    """This very process has shown the page before."""
    excused: bool
    """The bot was ending or frozen, or could not read the bucket just then."""
    redis_away: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What a site shows at rest."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """One status that GitHub took."""

    sha: str
    context: str
    state: str
    description: str
    target_url: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended that was told to (`term`), or that nobody told to (empty)."""

    life: str
    how: str
    exit_code: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class LogSpan:
    """The log of one claim: the first and last entry's Redis time in milliseconds."""

    deployment: str
    claim: str
    first_ms: int
    last_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it. What a test of an invariant does not name is empty."""

    lease_seconds: float = 3.0
    max_attempts: int = 5
    settle_seconds: float = 0.0
    events: tuple[Event, ...] = ()
    sent: tuple[Sent, ...] = ()
    asked: tuple[Asked, ...] = ()
    records: Mapping[str, Hash] = field(default_factory=dict)
    deliveries: Mapping[str, Hash] = field(default_factory=dict)
    indexes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Members of each list and set that is to be empty at rest; and `dead` and `deliveries`."""
    unbounded: tuple[str, ...] = ()
    """Keys that last for ever and are not among those that may."""
    projects: Mapping[str, Hash] = field(default_factory=dict)
    saved: Mapping[str, int] = field(default_factory=dict)
    """The newest version in the bucket of each `project:…`, `alias:…` and `deployment:…`."""
    pointed: Mapping[str, Hash] = field(default_factory=dict)
    """What was saved of each alias, by label."""
    sorts: Mapping[str, Sort] = field(default_factory=dict)
    """By sha, of commits that were made in bulk."""
    refs: Mapping[str, Hash] = field(default_factory=dict)
    """By `<slug>:<ref>`."""
    heads: Mapping[tuple[str, str], str] = field(default_factory=dict)
    markers: Mapping[str, str] = field(default_factory=dict)
    """By sha: the words of its page."""
    aliases: Mapping[str, Hash] = field(default_factory=dict)
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    aliases_seen: Mapping[str, tuple[AliasSeen, ...]] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    packs: Mapping[str, int] = field(default_factory=dict)
    """Sizes of the objects."""
    pages: Mapping[str, Page] = field(default_factory=dict)
    told: tuple[Told, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    """With GitHub, each link's in order."""
    lives: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """When the processes of each slot began and ended."""
    ended: tuple[Ended, ...] = ()
    terms: tuple[float, ...] = ()
    """When a process was told to end."""
    stops: tuple[Stop, ...] = ()
    returns: tuple[Return, ...] = ()
    probes: tuple[Probe, ...] = ()
    inconsistencies: tuple[str, ...] = ()
    done_in_logs: Mapping[str, int] = field(default_factory=dict)
    given_back_in_logs: Mapping[str, int] = field(default_factory=dict)
    log_spans: tuple[LogSpan, ...] = ()
    living: tuple[str, ...] = ()
    """Deployments of which a process lives at rest."""
    leaks: tuple[str, ...] = ()
    """Where which secret was found."""
