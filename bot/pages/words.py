"""What the pages say: statuses, durations and moments, in words for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bot.core.deployment import ACTIVE, ENDED, WAITING, Deployment, Status
from bot.wording import ref_in_words

TONES: Final = {
    Status.RECEIVED: "waiting",
    Status.FETCHING: "going",
    Status.QUEUED: "waiting",
    Status.BUILDING: "going",
    Status.PUBLISHING: "going",
    Status.READY: "good",
    Status.FAILED: "bad",
    Status.ERRORED: "ours",
    Status.CANCELLED: "off",
    Status.SUPERSEDED: "off",
    Status.SKIPPED: "off",
}
"""Which icon and colour a status has. Never the only sign: the word stands beside it."""

_HEADLINES: Final = {
    Status.RECEIVED: "Received",
    Status.FETCHING: "Fetching the source",
    Status.QUEUED: "Queued",
    Status.BUILDING: "Building",
    Status.PUBLISHING: "Publishing",
    Status.READY: "Ready in {took}",
    Status.FAILED: "Failed after {took}",
    Status.ERRORED: "Error after {took}",
    Status.CANCELLED: "Cancelled",
    Status.SUPERSEDED: "Superseded",
    Status.SKIPPED: "Skipped",
}


_REPOSITORYS: Final = "This lies with the repository: mend it there and push again."
_LIMIT: Final = "Mend the repository and push again, or raise the limit and: {again}"
_MEND: Final = {
    "ref_not_found": "Ask for a branch, a tag or a commit that is there: "
    "pushlane deploy {deployment.repository}@REF",
    "repository_not_found": "When Pushlane may read it: {again}",
    "repository_not_allowed": "This lies with Pushlane's settings. When they allow it: {again}",
    "build_timeout": _LIMIT,
    "build_out_of_memory": _LIMIT,
    "build_log_too_large": _LIMIT,
    "build_killed": _LIMIT,
    "host_refused": "Mend the repository and push again, or let the host through and: {again}",
    "git_missing": "This lies with the worker's machine. When git is there: {again}",
    "variable_missing": "Say it in the repository and push again, or as a secret and: {again}",
    "registry_denied": "Mend the repository and push again, or set the token and: {again}",
    "output_too_large": _LIMIT,
    "output_too_many_files": _LIMIT,
    # The message itself says what to push.
    "commit_not_found": "",
    "repository_empty": "",
    "repository_moved": "",
}
"""What to do about a failure that is not, or not only, the repository's, by its code."""


def subject(deployment: Deployment) -> str:
    """The first line of the commit's message, or what stands for it."""
    first = deployment.message.partition("\n")[0]
    return first or f"Deployment of {ref_in_words(deployment.ref)}"


def headline(deployment: Deployment) -> str:
    """How the deployment stands, in a few words."""
    if deployment.stop and deployment.status not in ENDED:
        return f"Stopping, to be {deployment.stop}"
    if deployment.status in WAITING and deployment.error_code:
        return "Waiting to try again"
    took = duration((deployment.ended_at - deployment.received_at) / 1000)
    return _HEADLINES[deployment.status].format(took=took)


def advice(deployment: Deployment) -> str:
    """What happens next or what to do, where the status alone does not say it; else empty."""
    again = f"pushlane redeploy {deployment.id}"
    match deployment.status:
        case Status.FAILED:
            words = _MEND.get(deployment.error_code, _REPOSITORYS)
            return words.format(deployment=deployment, again=again)
        case Status.ERRORED:
            return (
                "This lies with Pushlane or the network, not with the repository. When it is "
                f"mended: {again}"
            )
        case Status.RECEIVED | Status.QUEUED if deployment.error_code:
            return "This is tried again by itself; nothing is to be done."
        case Status.RECEIVED:
            return "Its source is fetched next."
        case Status.QUEUED:
            return "A worker takes it next, or when those before it are done."
        case Status.SUPERSEDED:
            return "Nothing is to be done: the newer one is deployed in its place."
        case _ if deployment.status in ACTIVE and deployment.error_code:
            return "This is another attempt."
        case _:
            return ""


def duration(seconds: float) -> str:
    """`0.8 s`, `12.3 s`, `2 min 5 s`, `1 h 3 min`, `4 d`."""
    seconds = max(seconds, 0)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d"


def ago(milliseconds: int, *, now: int) -> str:
    """How long since a moment: `just now`, `5 min ago`, `3 h ago`, `2 d ago`."""
    seconds = (now - milliseconds) // 1000
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return "just now"


def moment(milliseconds: int) -> str:
    """A moment for people: `2026-09-30 12:34:56 UTC`."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(milliseconds: int) -> str:
    """A moment for programs, ISO 8601 in UTC."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
