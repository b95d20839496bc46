"""Faults that a test orders: refusals, rate limits, delays, hangs, resets, unfetchable commits."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Drop = Literal["before", "after"]

_MESSAGES = {
    403: "You have exceeded a secondary rate limit. Please wait a few minutes.",
    429: "API rate limit exceeded",
    500: "Server Error",
    502: "Server Error",
    503: "Service unavailable",
}


@dataclass(slots=True)
class Fault:
    """What is done to matching requests. `times` is how often still (None: for ever)."""

    method: str
    path: re.Pattern[str]
    status: int | None
    headers: Mapping[str, str]
    body: Any
    times: int | None
    delay: float
    drop_connection: Drop | None
    hang: bool
    hits: int = 0

    def message(self) -> Any:
        """The JSON body of the fault's answer."""
        if self.body is not None:
            return self.body
        if self.headers.get("x-ratelimit-remaining") == "0":
            return {"message": "API rate limit exceeded for user ID 1."}
        return {"message": _MESSAGES.get(self.status or 0, "Fault ordered by the test")}


@dataclass(slots=True)
class _Hidden:
    requests: int | None
    until: float | None
    hits: int = field(default=0)


class Faults:
    """The ordered faults; the first that matches a request is taken."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._hidden: dict[str, _Hidden] = {}

    def add(
        self,
        method: str = "*",
        path_regex: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        times: int | None = 1,
        delay: float = 0.0,
        drop_connection: bool | Drop = False,
        *,
        body: Any = None,
        hang: bool = False,
    ) -> Fault:
        """Order a fault for the next `times` requests whose path (without /api/v3) matches.

        With `status` it answers so; with `drop_connection` it resets the connection, `"after"`
        only once the request has taken effect; with `hang` it never answers; with `delay`
        (seconds) alone the request is served, late. The fault's `hits` counts what it met.
        """
        fault = Fault(
            method=method.upper(),
            path=re.compile(path_regex),
            status=status,
            headers={name.lower(): str(value) for name, value in (headers or {}).items()},
            body=body,
            times=times,
            delay=delay,
            drop_connection="before" if drop_connection is True else (drop_connection or None),
            hang=hang,
        )
        self._faults.append(fault)
        return fault

    def secondary_limit(self, retry_after: int, *, times: int | None = 1) -> Fault:
        """The next writes get 403 with `retry-after` (seconds)."""
        return self.add("POST", "^/repos/", 403, {"retry-after": str(retry_after)}, times)

    def primary_limit(self, reset_in: int, *, times: int | None = 1) -> Fault:
        """The next API calls get 403 with nothing remaining until `reset_in` seconds from now."""
        reset = str(int(time.time()) + reset_in)
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        return self.add("*", "^/(repos|app|user)", 403, headers, times)

    def hide_commit(
        self, sha: str, *, requests: int | None = None, seconds: float | None = None
    ) -> None:
        """Fetches that want `sha` get "not our ref": so many times, or so long, or for ever."""
        until = None if seconds is None else time.monotonic() + seconds
        self._hidden[sha] = _Hidden(requests, until)

    def hides(self, sha: str) -> bool:
        """Whether a fetch of `sha` is to be refused now; counts as one request for it."""
        hidden = self._hidden.get(sha)
        if hidden is None:
            return False
        spent = hidden.requests is not None and hidden.hits >= hidden.requests
        late = hidden.until is not None and time.monotonic() > hidden.until
        if spent or late:
            del self._hidden[sha]
            return False
        hidden.hits += 1
        return True

    @property
    def hiding(self) -> bool:
        """Whether any commit is hidden."""
        return bool(self._hidden)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, counted as met."""
        for fault in self._faults:
            wanted = fault.method in ("*", method.upper()) and fault.path.search(path)
            if not wanted or (fault.times is not None and fault.hits >= fault.times):
                continue
            fault.hits += 1
            return fault
        return None

    def clear(self) -> None:
        """Forget every fault and every hidden commit."""
        self._faults.clear()
        self._hidden.clear()
