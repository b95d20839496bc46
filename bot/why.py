"""Why did my push not deploy? The rules that decide on deliveries, and the answer. Pure."""

from __future__ import annotations

from typing import Final

from bot.core.deployment import Deployment, Status
from bot.core.ledger import Delivery

NOT_ALLOWED: Final = "PUSHLANE_REPOS does not name this repository"
PING: Final = "ping: the webhook works"
REMOVALS: Final = {
    "removed": "the branch was deleted: its alias is gone, and what was being built for it stops",
    "late": "the branch was pushed again after this deletion",
    "unknown": "a branch was deleted of a repository that has no project here",
    "repeated": "this deletion was delivered before",
}
"""What a deletion is answered with, by its outcome."""
_GOES_ON: Final[dict[Status, str]] = {
    Status.RECEIVED: "its source waits to be fetched",
    Status.FETCHING: "its source is being fetched",
    Status.QUEUED: "it waits for a worker",
    Status.BUILDING: "it is being built",
    Status.PUBLISHING: "it is being published",
}


def why(delivery: Delivery, deployment: Deployment | None, *, live: bool) -> str:
    """One sentence on what became of a delivery, and what may be done about it.

    `deployment` is the record that it led to, None when there is none, or none any more. `live`
    says whether production shows it.
    """
    if not delivery.deployment:
        if delivery.outcome != "ignored":
            return f"nothing was to be built: {delivery.rule}"
        nothing = f"nothing was built ({delivery.rule})"
        if delivery.rule == NOT_ALLOWED:
            return f"{nothing}: name it there, then: pushlane redeliver {delivery.guid}"
        return nothing
    led = f"it led to {delivery.deployment}"
    if delivery.outcome == "repeated":
        led = f"{delivery.rule}, as {delivery.deployment}"
    if deployment is None:
        return f"{led}, whose record is no longer kept"
    return " ".join(f"{led}; {_stands(deployment, live=live)}".split())


def _stands(deployment: Deployment, *, live: bool) -> str:
    """Where a deployment stands, and why it is no further."""
    error = f"{deployment.error_message} ({deployment.error_code})"
    match deployment.status:
        case Status.READY:
            return _shown(deployment, live=live)
        case Status.FAILED:
            return f"its build failed: {error}"
        case Status.ERRORED:
            return f"Pushlane failed: {error}; once more: pushlane redeploy {deployment.id}"
        case Status.CANCELLED:
            return f"it was cancelled: {deployment.reason or 'on request'}"
        case Status.SUPERSEDED:
            return f"it was superseded: {deployment.reason or 'a newer push came'}"
        case Status.SKIPPED:
            return f"it was skipped: {deployment.reason}"
        case status:
            # The error is of an attempt before this one.
            again = f", once more after: {error}" if deployment.error_code else ""
            stop = f", and asked to stop ({deployment.stop})" if deployment.stop else ""
            return f"{_GOES_ON[status]}{stop or again}"


def _shown(deployment: Deployment, *, live: bool) -> str:
    if live:
        return "it is live"
    if deployment.reason:
        return deployment.reason
    if deployment.production:
        return "it is ready, and production shows another deployment now"
    return "it is ready, as a preview of its branch"
