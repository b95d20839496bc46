"""The whole house as a user has it: real processes, a real Redis and S3, the GitHub stand-in."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from bot.core.deployment import branch_label, deployment_label
from bot.embedded.ports import kept_ports
from tests.conftest import S3
from tests.standin import StandIn, Worktree

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
ENDS = frozenset({"ready", "failed", "errored", "cancelled", "superseded", "skipped"})
PAGE = "<!doctype html><title>{0}</title><h1>{0}</h1>\n"
Record = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Processes:
    """A bot and any number of workers. Everything lies below `directory`; logs too."""

    directory: Path
    github: StandIn
    environ: dict[str, str]
    port: int
    secret: str
    token: str
    bot: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the bot listens."""
        return f"http://127.0.0.1:{self.port}"

    def start_bot(self, *launcher: str) -> None:
        """Starts `python -m bot`, by another program if need be; `until_ready` waits for it."""
        self.bot = self._start("bot", *launcher)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Starts one more `python -m worker`."""
        started = self._start("worker")
        self.workers.append(started)
        return started

    def _start(self, module: str, *launcher: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [*launcher, sys.executable, "-m", *self._module(module)],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _module(self, name: str) -> tuple[str, ...]:
        """What Python runs, with its arguments."""
        return (name,)

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """One call of the bot's, with the token."""
        told = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.request(method, self.url + path, headers=told, **more)

    async def until_ready(self) -> None:
        """Waits until the bot says that it is ready."""

        async def ready() -> bool:
            assert self.bot
            assert self.bot.poll() is None, self.log("bot")
            try:
                return (await self.call("GET", "/readyz")).is_success
            except httpx2.TransportError:
                return False

        await until(ready, seconds=30, why=lambda: self.log("bot"))

    def close(self) -> None:
        """Ends all processes, those that do not go at once with a kill."""
        started = [each for each in (self.bot, *self.workers) if each and each.poll() is None]
        for each in started:
            each.send_signal(signal.SIGTERM)
            each.send_signal(signal.SIGCONT)
        for each in started:
            try:
                each.wait(8)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()

    def log(self, module: str) -> str:
        """What the processes of this kind have logged."""
        path = self.directory / f"{module}.log"
        return path.read_text(errors="replace") if path.exists() else ""


class House(Processes):
    """The processes with those who push to them, look at their sites and read the statuses."""

    async def get(self, label: str, path: str = "/", **more: Any) -> httpx2.Response:
        """A page of the site under `label`, asked for by its Host."""
        headers = {"Host": f"{label}.localhost:{self.port}", **more.pop("headers", {})}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.get(self.url + path, headers=headers, **more)

    async def shows(self, label: str, words: str, *, path: str = "/", seconds: float = 10) -> None:
        """Waits until the site under `label` shows these words."""
        seen = ""

        async def there() -> bool:
            nonlocal seen
            answer = await self.get(label, path)
            seen = f"{answer.status_code} {answer.text[:300]}"
            return answer.is_success and words in answer.text

        await until(there, seconds=seconds, why=lambda: seen)

    def repository(self, name: str, **more: Any) -> Worktree:
        """A new repository on the stand-in, with a working copy to push from."""
        self.github.create_repository(name, **more)
        path = self.directory / "work" / f"{name.replace('/', '-')}-{secrets.token_hex(3)}"
        return Worktree(path, self.github.clone_url(name), token=self.github.token)

    async def push(
        self,
        worktree: Worktree,
        files: Mapping[str, str | bytes | None],
        *,
        branch: str = "main",
        message: str = "A change",
        force: bool = False,
    ) -> str:
        """Commits the files, pushes, and waits until GitHub has told of it. Answers the sha."""
        worktree.write(files)
        sha = await asyncio.to_thread(worktree.commit, message)
        await asyncio.to_thread(worktree.push, branch, force=force)
        await self.github.settled()
        return sha

    async def deployments(self, **query: str) -> list[Record]:
        """The newest deployments, as the API lists them."""
        answer = await self.call("GET", "/api/v1/deployments", params={"limit": "100", **query})
        assert answer.is_success, answer.text
        found: list[Record] = answer.json()["deployments"]
        return found

    async def of(self, sha: str) -> Record:
        """The newest deployment of a commit."""
        found = [each for each in await self.deployments() if each["commit"] == sha]
        assert found, f"no deployment of {sha}"
        return found[0]

    async def record(self, id_: str) -> Record:
        """A deployment as it is now."""
        answer = await self.call("GET", f"/api/v1/deployments/{id_}")
        assert answer.is_success, answer.text
        found: Record = answer.json()
        return found

    async def ended(self, which: str, *, seconds: float = 60) -> Record:
        """Waits for the end of a deployment, named by its id or its commit; answers the record."""
        id_ = (await self.of(which))["id"] if len(which) == 40 else which
        now: Record = {}

        async def over() -> bool:
            nonlocal now
            now = await self.record(id_)
            return now["status"] in ENDS

        await until(over, seconds=seconds, why=lambda: f"{now}\n{self.log('worker')[-3000:]}")
        return now

    async def ready(self, which: str, *, seconds: float = 60) -> Record:
        """The same, and it ended ready."""
        found = await self.ended(which, seconds=seconds)
        assert found["status"] == "ready", (found, await self.build_log(found["id"]))
        return found

    async def build_log(self, id_: str) -> str:
        """The deployment's whole log."""
        return (await self.call("GET", f"/api/v1/deployments/{id_}/log")).text

    async def states(self, sha: str, *, last: str, seconds: float = 10) -> list[str]:
        """The states that GitHub got for a commit, once the newest of them is `last`."""

        async def told() -> bool:
            found = self.github.statuses(sha)
            return bool(found) and found[-1].state == last

        await until(told, seconds=seconds, why=lambda: str(self.github.statuses(sha)))
        return [each.state for each in self.github.statuses(sha)]


async def until(
    true: Callable[[], Awaitable[bool]],
    *,
    seconds: float = 20,
    why: Callable[[], str] = lambda: "",
) -> None:
    """Waits until it is true; fails with `why` when it is not in time."""
    end = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < end, why()
        await asyncio.sleep(0.03)


def a_house(
    directory: Path,
    *,
    redis_url: str,
    s3: S3,
    prefix: str,
    github: StandIn,
    **settings: str,
) -> House:
    """A house whose processes are not started yet; `settings` are further variables."""
    port = kept_ports(directory / "port.json", ("bot",))["bot"]
    secret, token = secrets.token_hex(16), secrets.token_hex(16)
    github.hook.url = f"http://127.0.0.1:{port}/webhooks/github"
    github.hook.secret = secret
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PUSHLANE_", "AWS_")) and name != "REDIS_URL"
    }
    environ = {
        **inherited,
        **s3.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PUSHLANE_DATA_DIR": str(directory / "kept"),
        "PUSHLANE_PORT": str(port),
        "PUSHLANE_WEBHOOK_SECRET": secret,
        "PUSHLANE_API_TOKEN": token,
        "PUSHLANE_REDIS_URL": redis_url,
        "PUSHLANE_REDIS_PREFIX": f"{prefix}:",
        "PUSHLANE_S3_PREFIX": prefix,
        "PUSHLANE_GITHUB_URL": github.url,
        "PUSHLANE_GITHUB_API_URL": github.api_url,
        "PUSHLANE_GITHUB_TOKEN": github.token,
        "PUSHLANE_LEASE_SECONDS": "6",
        "PUSHLANE_STOP_GRACE_SECONDS": "4",
        **settings,
    }
    return House(
        directory=directory,
        github=github,
        environ=environ,
        port=port,
        secret=secret,
        token=token,
    )


def own_label(record: Record) -> str:
    """The host label of a deployment's own release."""
    return deployment_label(record["id"], record["project"])


def branch_host(record: Record) -> str:
    """The host label of its branch's newest."""
    return branch_label(record["branch"], record["project"])
