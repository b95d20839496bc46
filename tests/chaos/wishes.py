"""What people ask for by the API while the storm goes on."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx2

from tests.chaos.evidence import Asked
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Wish
from tests.chaos.watch import Watch


@dataclass(slots=True)
class Wishes:
    """Asks, and remembers what was asked."""

    fleet: Fleet
    watch: Watch
    asked: list[Asked] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    async def fulfil(self, wish: Wish) -> None:
        """Asks for it, of whatever there is to ask it of."""
        found = self._request(wish)
        if found is None:
            return
        target, path, body = found
        key = secrets.token_hex(8)
        first = await self._ask(wish.what, target, path, body, key)
        self.counts[wish.what] += 1
        if wish.twice:
            await self._ask(wish.what, target, path, body, key, twin=first)

    def _request(self, wish: Wish) -> tuple[str, str, dict[str, str] | None] | None:
        """The target, the path and the body."""
        watch = self.watch
        match wish.what:
            case "cancel":
                candidates = sorted(watch.open)
            case "redeploy" | "promote":
                candidates = watch.ready[-200:]
            case _:
                candidates = sorted(watch.projects)
        if not candidates:
            return None
        target = candidates[int(wish.pick * len(candidates))]
        match wish.what:
            case "cancel" | "redeploy" | "promote":
                return target, f"/api/v1/deployments/{target}/{wish.what}", None
            case "rollback" | "unpin":
                return target, f"/api/v1/projects/{target}/{wish.what}", None
            case _:
                return target, "/api/v1/deployments", {"project": target, "ref": "main"}

    async def _ask(
        self,
        what: str,
        target: str,
        path: str,
        body: dict[str, str] | None,
        key: str,
        *,
        twin: int = -1,
    ) -> int:
        """Asks, and answers the request's place among those that were asked."""
        began_at, status, answer = time.time(), 0, None
        try:
            got = await self.fleet.call("POST", path, json=body, headers={"Idempotency-Key": key})
            status, answer = got.status_code, got.json()
        except (httpx2.HTTPError, ValueError):
            pass
        self.asked.append(Asked(what, target, began_at, time.time(), status, answer, twin))
        return len(self.asked) - 1
