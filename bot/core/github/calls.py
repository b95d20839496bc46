"""Single requests to GitHub's API: by PyGithub, in threads, and never before their time."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from github.Auth import Auth
from github.Requester import Requester

from bot.core.errors import Errored
from bot.core.github.answers import Answer, is_limit, seconds_to_wait
from bot.core.github.pace import Pace

THREADS = 8
TIMEOUT_SECONDS = 12
"""To connect, and again to be answered. GitHub ends what takes it longer than 10 s, so a request
that timed out here will not take effect later."""
API_VERSION = "2022-11-28"

# Its debug lines hold the answers, and so the tokens that an App is given.
logging.getLogger("github").setLevel(logging.WARNING)


class _Bearer(Auth):
    """Whom the next request speaks for."""

    token_type = "Bearer"
    token = ""

    def authentication(self, headers: dict[str, str]) -> None:
        """Says it, unless there is nobody to speak for."""
        if self.token:
            super().authentication(headers)


@dataclass(frozen=True, slots=True)
class _Line:
    """One thread's connection.

    PyGithub keeps the request on the connection between sending and reading, so two threads on one
    would post the same request twice and the other never.
    """

    requester: Requester
    auth: _Bearer


class Calls:
    """Requests to the API at `api_url`. Raises `Limited`, `Refused` or `Errored`."""

    def __init__(
        self, api_url: str, *, environment: Mapping[str, str], timeout_seconds: int
    ) -> None:
        self.pace = Pace()
        self._api_url = api_url.rstrip("/")
        self._verify = _certificates(environment)
        self._timeout_seconds = timeout_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="github")
        self._slots = asyncio.Semaphore(THREADS)
        self._local = threading.local()
        self._lines: list[_Line] = []

    async def send(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        token: str,
        body: Mapping[str, Any] | None = None,
        begin_by: float = math.inf,
    ) -> Answer:
        """The answer, whatever its status, but for a limit, which is raised.

        `path` begins with a slash and is below the API's URL; an empty `token` is nobody's. Once
        the monotonic clock has passed `begin_by` the request is not begun any more.
        """
        async with self._slots:
            begun_at = time.monotonic()
            self.pace.check(begun_at)
            answer = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._send, method, path, token, body, begin_by
            )
        if is_limit(answer):
            raise self.pace.limited(
                seconds_to_wait(answer), begun_at=begun_at, now=time.monotonic()
            )
        if answer.status < 400:
            self.pace.accepted(begun_at=begun_at)
        return answer

    async def aclose(self) -> None:
        """Closes the connections; calls under way are awaited."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for line in self._lines:
            line.requester.close()

    def _send(
        self,
        method: str,
        path: str,
        token: str,
        body: Mapping[str, Any] | None,
        begin_by: float,
    ) -> Answer:
        line = self._line()
        line.auth.token = token
        try:
            answer = self._once(line, method, path, body, begin_by)
            # PyGithub follows 301 by itself; this is what a POST to a renamed repository gets.
            if answer.status in (307, 308):
                onward = self._same_host(path, answer.headers.get("location", ""))
                answer = self._once(line, method, onward, body, begin_by)
        except (OSError, RuntimeError, ValueError) as error:
            # All of requests' errors are OSErrors; the others are PyGithub's, on odd answers.
            raise Errored(
                f"GitHub cannot be reached: {_cause(error)}", code="github_unreachable"
            ) from error
        return answer

    def _once(
        self,
        line: _Line,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        begin_by: float,
    ) -> Answer:
        if time.monotonic() > begin_by:
            raise Errored("GitHub was reached too late", code="github_unreachable")
        status, headers, text = line.requester.requestJson(
            method,
            url,
            headers={"Accept": "application/vnd.github+json"},
            input=None if body is None else dict(body),
        )
        return Answer(status=status, headers=headers, body=text)

    def _same_host(self, path: str, location: str) -> str:
        ours = urlsplit(self._api_url)
        onward = urljoin(self._api_url + path, location)
        theirs = urlsplit(onward)
        if not location or (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc):
            raise Errored(
                f"GitHub's API redirects to {theirs.netloc or 'nowhere'}: check "
                "PUSHLANE_GITHUB_API_URL",
                code="github_redirects",
            )
        return onward

    def _line(self) -> _Line:
        line: _Line | None = getattr(self._local, "line", None)
        if line is None:
            auth = _Bearer()
            line = _Line(
                Requester(
                    auth=auth,
                    base_url=self._api_url,
                    timeout=self._timeout_seconds,
                    user_agent="pushlane",
                    per_page=100,
                    verify=self._verify,
                    # Whoever calls repeats, and knows what that means: PyGithub's own retry sends
                    # a POST again.
                    retry=None,
                    pool_size=1,
                    seconds_between_requests=0,
                    seconds_between_writes=0,
                    lazy=True,
                    api_version=API_VERSION,
                ),
                auth,
            )
            self._local.line = line
            self._lines.append(line)
        return line


def _cause(error: Exception) -> str:
    """The innermost of what requests and urllib3 wrap around each other."""
    words = str(error).rpartition("Caused by ")[2] or type(error).__name__
    return " ".join(words.split())[:300]


def _certificates(environment: Mapping[str, str]) -> str | bool:
    """The CA bundle that the environment names, for requests; it would see none in SSL_CERT_FILE.

    A proxy it finds in the process's own environment.
    """
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return next((environment[name] for name in names if environment.get(name)), True)
