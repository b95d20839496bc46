"""When GitHub may be asked again, by its rate limits and by its refusals of our credentials."""

from __future__ import annotations

from bot.core.github.answers import Limited, Refused

FIRST_SECONDS = 60.0
"""GitHub's rule for a limit that says no time: wait a minute, and double it."""
LONGEST_SECONDS = 3600.0


class Pace:
    """Refuses a request before its time. All times are the monotonic clock's, in seconds.

    `begun_at` is when the request began whose answer is told: of several that were under way
    together, and met the same limit, one counts.
    """

    def __init__(self) -> None:
        self._limited_until = 0.0
        self._limits = 0
        self._refused_until = 0.0
        self._refusals = 0
        self._refusal: Refused | None = None

    def check(self, now: float) -> None:
        """Raises `Limited`, or the last `Refused` of our credentials, while there is to wait."""
        if now < self._limited_until:
            raise Limited(self._limited_until - now)
        if now < self._refused_until and self._refusal is not None:
            raise Refused(self._refusal.message, code=self._refusal.code)

    def limited(self, seconds: float | None, *, begun_at: float, now: float) -> Limited:
        """A limit was met that lasts `seconds`, or did not say how long. Answers what to raise."""
        if seconds is None:
            if begun_at >= self._limited_until:
                self._limits += 1
            seconds = _doubled(self._limits)
        self._limited_until = max(self._limited_until, now + seconds)
        return Limited(self._limited_until - now)

    def refused(self, error: Refused, *, begun_at: float, now: float) -> None:
        """GitHub does not know us. Asking on would get the machine's address blocked."""
        if begun_at >= self._refused_until:
            self._refusals += 1
        self._refusal = error
        self._refused_until = now + _doubled(self._refusals)

    def accepted(self, *, begun_at: float) -> None:
        """GitHub took a request: the next limit is a first one."""
        if begun_at >= max(self._limited_until, self._refused_until):
            self._limits = self._refusals = 0


def _doubled(times: int) -> float:
    return min(FIRST_SECONDS * 2.0 ** max(times - 1, 0), LONGEST_SECONDS)
