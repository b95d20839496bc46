"""What an answer of GitHub's API means: done, or an error that says who must act, and when."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from bot.core.errors import Errored

LONGEST_WAIT_SECONDS = 86_400.0
"""No limit of GitHub's lasts longer; an answer that says so is wrong."""

_LIMIT = re.compile(r"rate limit|abuse detection|retry your request again later", re.IGNORECASE)
_CLOSED = re.compile(r"archived|access blocked|disabled", re.IGNORECASE)
_NO_COMMIT = re.compile(r"no commit found", re.IGNORECASE)
_FULL = re.compile(r"maximum number of statuses", re.IGNORECASE)


class Limited(Errored):
    """GitHub takes no request of ours for `seconds`; code `github_limited`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"GitHub's rate limit is reached; it takes requests again in {seconds:.0f} s",
            code="github_limited",
        )
        self.seconds = seconds


class Refused(Errored):
    """Our credentials are wrong or may not do this: a person must act, so it is retried seldom."""


class Untellable(Errored):
    """GitHub will never take this status, however often it is posted."""

    retryable = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What GitHub answered. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def found(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none, as a proxy's page is."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}

    @property
    def words(self) -> str:
        """GitHub's own words on what is wrong, on one line of at most 300 characters."""
        said = [self.found.get("message")]
        errors = self.found.get("errors")
        for each in errors if isinstance(errors, list) else ():
            if isinstance(each, dict):
                said.append(each.get("message") or f"{each.get('field')}: {each.get('code')}")
            else:
                said.append(each)
        return " ".join("; ".join(str(word) for word in said if word).split())[:300]


def is_limit(answer: Answer) -> bool:
    """Whether GitHub asks to wait.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if answer.status in (403, 503) and "retry-after" in answer.headers:
        return True
    spent = answer.headers.get("x-ratelimit-remaining") == "0" or _LIMIT.search(answer.words)
    return answer.status == 429 or (answer.status == 403 and bool(spent))


def seconds_to_wait(answer: Answer) -> float | None:
    """How long a limit lasts: `retry-after`, else `x-ratelimit-reset`; None when it does not say.

    The reset is a time of GitHub's clock, so it is measured by the answer's own date.
    """
    asked = _number(answer.headers.get("retry-after"))
    if asked is None and answer.headers.get("x-ratelimit-remaining") == "0":
        reset = _number(answer.headers.get("x-ratelimit-reset"))
        asked = None if reset is None else reset - _date(answer)
    return None if asked is None else min(max(asked, 1.0), LONGEST_WAIT_SECONDS)


def status_error(answer: Answer, repository: str) -> Errored:
    """The error that a refused commit status means, for any answer that is no success."""
    said = f"{answer.status} {answer.words}".strip()
    match answer.status:
        case 401:
            return Refused(
                f"GitHub does not know our credentials ({said}): set PUSHLANE_GITHUB_TOKEN, or the "
                "GitHub App's id and key, anew",
                code="github_credentials_unknown",
            )
        case 403 if not _CLOSED.search(answer.words):
            return Refused(
                f"GitHub lets us post no status on {repository} ({said}): the token needs the "
                "scope repo:status; a fine-grained one or a GitHub App needs the permission "
                "Commit statuses, read and write",
                code="github_forbidden",
            )
        case 403 | 404 | 410 | 451:
            return Untellable(
                f"{repository} takes no status ({said}): it is gone or archived, or it is private "
                "and the token may not see it (scope repo:status, and access to the repository)",
                code="github_repository_gone",
            )
        case 422 if _NO_COMMIT.search(answer.words):
            return Untellable(
                f"{repository} has no such commit any more ({said})", code="github_commit_gone"
            )
        case 422 if _FULL.search(answer.words):
            return Untellable(
                f"GitHub keeps 1,000 statuses of a commit, and {repository} has them ({said})",
                code="github_statuses_full",
            )
        case status if status in (408, 425) or not 400 <= status < 500:
            return Errored(f"GitHub failed ({said})", code="github_failed")
        case _:
            return Untellable(
                f"GitHub refuses a status on {repository} ({said})", code="github_status_refused"
            )


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text.strip()) else None


def _date(answer: Answer) -> float:
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()
