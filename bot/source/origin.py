"""Where a source comes from, and what git's complaints about it mean in words."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.core.errors import NO_ROOM_WORDS, BuildFailed, Errored, PushlaneError, disk_full

REPOSITORY: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
)
"""`owner/name` as GitHub allows them (an underscore: managed users of an enterprise)."""
COMMIT: Final = re.compile(r"[0-9a-f]{40}")

TokenFor = Callable[[str], Awaitable[str | None]]
"""`owner/name` -> the token that git sends for it, or None."""


async def no_token(repository: str) -> str | None:  # noqa: ARG001 - it answers so for all
    """For public repositories."""
    return None


def nothing_else(repository: str) -> bool:  # noqa: ARG001 - it answers so for all
    """Opens no repository besides."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A repository: our own base URL and a validated `owner/name`, never a payload's URL."""

    base_url: str
    repository: str
    key: str
    """Names its mirror and its sources: GitHub's id, which a rename keeps."""
    token: TokenFor = field(default=no_token, repr=False)
    opens: Callable[[str], bool] = field(default=nothing_else, repr=False)
    """Which other repositories, as submodules of this one, the token may be sent for."""

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.repository):
            raise BuildFailed(
                f"{self.repository[:100]!r} is no owner/name", code="repository_invalid"
            )
        if not re.fullmatch(r"[A-Za-z0-9-]{1,80}", self.key):
            raise ValueError(f"{self.key!r} cannot name a mirror")

    @property
    def url(self) -> str:
        """What git fetches from. Holds no credential."""
        name = self.repository.removesuffix(".git")
        return f"{self.base_url.rstrip('/')}/{name}.git"

    @property
    def owner(self) -> str:
        """The account, in lower case."""
        return self.repository.partition("/")[0].lower()


class NotThere(Exception):
    """The commit or ref is not served, or not yet."""


_NOT_THERE = re.compile(
    r"not our ref|unadvertised object|couldn't find remote ref|no such remote ref"
    r"|remote error: upload-pack: not our|did not send all necessary objects",
    re.IGNORECASE,
)
_GONE = re.compile(
    r"repository not found|returned error: 404|returned error: 401|authentication failed"
    r"|could not read username|could not read password|terminal prompts disabled"
    r"|repository '.*' not found|access denied|info/refs not valid",
    re.IGNORECASE,
)
_MOVED = re.compile(r"returned error: 30\d|unable to update url base", re.IGNORECASE)
_FORBIDDEN = re.compile(r"returned error: (403|429)", re.IGNORECASE)
_HOSTILE = re.compile(
    r"fsck error|error in (tree|blob|commit|tag) |hasDot|gitmodules|nullSha1"
    r"|(empty filename|malformed mode) in tree entry|too-short tree (object|file)",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"not a git repository|corrupt|inflate: |is empty|bad object|missing (blob|tree|commit)"
    r"|unable to read|index file .* (is too small|fails)|bad config|shallow file has changed"
    r"|fatal: early EOF in pack index",
    re.IGNORECASE,
)


class MirrorBroken(Exception):
    """The mirror's own files are damaged; it is made anew."""

    def __init__(self, words: str, mirror: Path) -> None:
        super().__init__(words)
        self.mirror = mirror


def translated(words: str, origin: Origin, mirror: Path) -> Exception:
    """What git's words mean: `NotThere`, `MirrorBroken`, or an error of the tree."""
    name = origin.repository
    if NO_ROOM_WORDS.search(words):
        return disk_full(str(mirror))
    if _NOT_THERE.search(words):
        return NotThere(words)
    if _GONE.search(words):
        return gone(origin)
    if _MOVED.search(words):
        return BuildFailed(
            f"{name} was renamed or moved: push once more, under its new name",
            code="repository_moved",
        )
    if _FORBIDDEN.search(words):
        return Errored(
            f"GitHub refuses to serve {name} now (403): rate limit, suspension or missing rights",
            code="github_refused",
        )
    if _HOSTILE.search(words):
        return BuildFailed(
            f"git refuses the objects of {name} as unsafe: {_last(words)}", code="source_refused"
        )
    ours = "\n".join(line for line in words.splitlines() if not line.startswith("remote:"))
    if _BROKEN.search(ours):
        return MirrorBroken(words, mirror)
    return unreachable(origin, _last(words))


def gone(origin: Origin) -> BuildFailed:
    """The repository is not there for us."""
    return BuildFailed(
        f"{origin.repository} cannot be read: it is gone, or private and Pushlane has no access. "
        "Check the name, and that PUSHLANE_GITHUB_TOKEN or the GitHub App may read it",
        code="repository_not_found",
    )


def unreachable(origin: Origin, words: str) -> Errored:
    """GitHub, or the way to it, failed."""
    return Errored(f"fetching {origin.repository} failed: {words}", code="github_unreachable")


def too_large(origin: Origin, limit: int) -> BuildFailed:
    """The source is over its cap."""
    return BuildFailed(
        f"the source of {origin.repository} is larger than {limit // 1_000_000:,} MB: take large "
        "files out of the repository, or lower fetch_depth",
        code="source_too_large",
    )


def timed_out(origin: Origin, seconds: float) -> PushlaneError:
    """Fetching took longer than it may."""
    return Errored(
        f"fetching {origin.repository} took longer than {seconds:.0f} s", code="fetch_timeout"
    )


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return (told[0] if told else "git said nothing")[:300]
