"""Why a push did or did not deploy, in one sentence, for whatever may have become of it."""

from __future__ import annotations

from typing import Any

import pytest

from bot.core.deployment import Deployment, Status
from bot.core.ledger import OUTCOMES, Delivery
from bot.why import NOT_ALLOWED, why

ID = "d0123456789abcdef"


def a_delivery(outcome: str = "recorded", *, rule: str = "a rule", led: str = ID) -> Delivery:
    return Delivery(guid="g-1", event="push", outcome=outcome, rule=rule, deployment=led)


def a_deployment(status: Status, **fields: Any) -> Deployment:
    return Deployment(
        id=ID,
        status=status,
        project="site",
        repository="acme/site",
        ref="refs/heads/main",
        seq=1,
        **fields,
    )


def failed(status: Status, message: str = "no space left") -> Deployment:
    return a_deployment(status, error_code="a_code", error_message=message)


@pytest.mark.parametrize(
    ("outcome", "rule", "words"),
    [
        (
            "ignored",
            "a tag was pushed: only branches are deployed",
            "nothing was built (a tag was pushed: only branches are deployed)",
        ),
        (
            "ignored",
            NOT_ALLOWED,
            f"nothing was built ({NOT_ALLOWED}): name it there, then: pushlane redeliver g-1",
        ),
        ("removed", "the branch was deleted", "nothing was to be built: the branch was deleted"),
        ("late", "pushed again", "nothing was to be built: pushed again"),
        ("repeated", "delivered before", "nothing was to be built: delivered before"),
    ],
)
def test_without_a_deployment_the_rule_is_the_answer(outcome: str, rule: str, words: str) -> None:
    assert why(a_delivery(outcome, rule=rule, led=""), None, live=False) == words


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        (a_deployment(Status.RECEIVED), "its source waits to be fetched"),
        (a_deployment(Status.FETCHING), "its source is being fetched"),
        (a_deployment(Status.QUEUED), "it waits for a worker"),
        (a_deployment(Status.BUILDING), "it is being built"),
        (a_deployment(Status.PUBLISHING), "it is being published"),
        (
            failed(Status.QUEUED),
            "it waits for a worker, once more after: no space left (a_code)",
        ),
        (
            a_deployment(Status.BUILDING, stop="superseded"),
            "it is being built, and asked to stop (superseded)",
        ),
        (a_deployment(Status.READY), "it is ready, as a preview of its branch"),
        (
            a_deployment(Status.READY, production=True),
            "it is ready, and production shows another deployment now",
        ),
        (
            a_deployment(Status.READY, reason="built, not live: production is pinned"),
            "built, not live: production is pinned",
        ),
        (failed(Status.FAILED, "one\n  two"), "its build failed: one two (a_code)"),
        (
            failed(Status.ERRORED),
            f"Pushlane failed: no space left (a_code); once more: pushlane redeploy {ID}",
        ),
        (a_deployment(Status.CANCELLED), "it was cancelled: on request"),
        (
            a_deployment(Status.CANCELLED, reason="its branch was deleted"),
            "it was cancelled: its branch was deleted",
        ),
        (a_deployment(Status.SUPERSEDED), "it was superseded: a newer push came"),
        (
            a_deployment(Status.SUPERSEDED, reason="a newer push of this branch came first"),
            "it was superseded: a newer push of this branch came first",
        ),
        (a_deployment(Status.SKIPPED, reason="[skip ci]"), "it was skipped: [skip ci]"),
    ],
)
def test_with_one_its_state_is_the_answer(deployment: Deployment, words: str) -> None:
    assert why(a_delivery(), deployment, live=False) == f"it led to {ID}; {words}"


def test_what_production_shows_is_live_whatever_was_said_when_it_was_built() -> None:
    deployment = a_deployment(Status.READY, reason="built, not live: production is pinned")
    assert why(a_delivery(), deployment, live=True) == f"it led to {ID}; it is live"


def test_a_repeat_names_what_the_first_one_led_to() -> None:
    repeat = a_delivery("repeated", rule="this very body was delivered before")
    live = why(repeat, a_deployment(Status.READY), live=True)
    assert live == f"this very body was delivered before, as {ID}; it is live"


def test_a_record_that_is_gone_is_said_to_be() -> None:
    assert why(a_delivery(), None, live=False) == f"it led to {ID}, whose record is no longer kept"


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_there_is_one_line_for_everything(outcome: str, status: Status) -> None:
    for live in (True, False):
        found = why(a_delivery(outcome), failed(status, "a\nb"), live=live)
        assert ID in found
        assert found.isprintable()
