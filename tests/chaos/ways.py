"""The ways that lead a process past each point where it is to die."""

from __future__ import annotations

import asyncio
import secrets
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import ClassVar

from bot.core.bucket import Bucket
from tests.acceptance.house import PAGE, Record, until
from tests.chaos.crashes import FailingHouse
from tests.standin import Worktree


def _builds(command: str) -> Mapping[str, str]:
    return {"pushlane.toml": f'[build]\ncommand = "{command}"\noutput = "out"\n'}


def _slow(seconds: int) -> Mapping[str, str]:
    return _builds(f"echo begun; sleep {seconds}; mkdir out; cp index.html out")


class Way:
    """One deployment's way, by which a process comes past the point where it is to die.

    `begin` is done before the order, `go` after it; `mend` once the process has been restarted.
    """

    ends = "ready"
    count = 1
    """How many deployments the project has at the end."""
    message = "A change"
    files: ClassVar[Mapping[str, str]] = {}

    def __init__(self, house: FailingHouse, module: str) -> None:
        self.house = house
        self.module = module
        self.name = f"acme/site-{secrets.token_hex(4)}"
        self.words = secrets.token_hex(6)
        self.sha = ""
        self.worktree: Worktree

    async def begin(self) -> None:
        self.worktree = await asyncio.to_thread(self.house.repository, self.name)

    async def go(self) -> None:
        await self.push()

    async def mend(self) -> None:
        await self.house.make_good()

    async def push(self) -> None:
        page = {"index.html": PAGE.format(self.words)}
        self.sha = await self.house.push(
            self.worktree, {**page, **self.files}, message=self.message
        )

    async def right(self, *, seconds: float = 60) -> Record:
        """Waits for the right end, and answers the record; fails with what is wrong."""
        house = self.house

        async def known() -> bool:
            return any(each["commit"] == self.sha for each in await house.deployments())

        await until(known, seconds=20, why=lambda: house.log("bot")[-3000:])
        record = await house.ended(self.sha, seconds=seconds)
        assert record["status"] == self.ends, record
        assert max(record["attempts"].values()) <= 2, record
        last = {"ready": "success", "skipped": "success", "failed": "failure"}
        states = await house.states(self.sha, last=last.get(self.ends, "error"), seconds=20)
        assert "pending" not in states[states.index(states[-1]) :], states
        made = await house.deployments(project=record["project"])
        assert len(made) == self.count, made
        if self.ends == "ready":
            await house.shows(record["project"], self.words)
        await house.at_rest()
        return await house.record(record["id"])


class Skip(Way):
    ends = "skipped"
    message = "A change [skip ci]"


class Fail(Way):
    ends = "failed"
    files = _builds("exit 7")


class Slow(Way):
    files = _slow(2)


class SlowFetch(Way):
    """GitHub takes longer than a third of the lease."""

    async def go(self) -> None:
        self.house.github.faults.add("POST", f"^/{self.name}.*git-upload-pack$", delay=1.5)
        await self.push()


class FetchFails(Way):
    """GitHub fails once: the fetch is tried again."""

    async def go(self) -> None:
        self.house.github.faults.add("POST", f"^/{self.name}.*git-upload-pack$", 503)
        await self.push()


class ToldToEnd(Way):
    """The process gets a SIGTERM in its work, and dies while it gives that back."""

    files = _slow(3)

    async def go(self) -> None:
        house = self.house
        if self.module == "bot":
            fault = house.github.faults.add("POST", f"^/{self.name}.*git-upload-pack$", hang=True)
            await self.push()

            async def fetching() -> bool:
                return fault.hits > 0

            await until(fetching)
        else:
            await self.push()
            await house.begun((await house.of(self.sha))["id"])
        house.process(self.module).terminate()


class LeftBehind(Way):
    """The other process is gone, or frozen: this one's sweep finds what it held."""

    files = _slow(1)

    async def go(self) -> None:
        house = self.house
        if self.module == "bot":
            await self.push()
            await house.begun((await house.of(self.sha))["id"])
            house.process("worker").kill()
            house.process("worker").wait()
            return
        # Each of them: the first may be the catch-up's, which looks at the branches.
        house.github.faults.add("POST", f"^/{self.name}.*git-upload-pack$", times=None, hang=True)
        await self.push()
        id_ = (await house.of(self.sha))["id"]

        async def fetching() -> bool:
            return str((await house.record(id_))["status"]) == "fetching"

        await until(fetching)
        house.process("bot").send_signal(signal.SIGSTOP)

    async def mend(self) -> None:
        if self.module == "bot":
            await self.house.restart("worker")
        else:
            self.house.github.faults.clear()
            self.house.process("bot").send_signal(signal.SIGCONT)


class BucketFails(Way):
    """The source is not in the bucket when the worker wants it, and later it is."""

    async def go(self) -> None:
        house = self.house
        house.process("worker").send_signal(signal.SIGSTOP)
        await self.push()
        id_ = (await house.of(self.sha))["id"]

        async def queued() -> bool:
            return str((await house.record(id_))["status"]) == "queued"

        await until(queued)
        async with bucket_of(house) as bucket:
            [self.source] = await bucket.list(f"sources/{house.github.repository(self.name).id}/")
            self.body = await bucket.get(self.source)
            await bucket.delete(self.source)
        house.process("worker").send_signal(signal.SIGCONT)

    async def mend(self) -> None:
        async with bucket_of(self.house) as bucket:
            await bucket.put(self.source, self.body, content_type="application/zstd")


class StatusFails(Way):
    """GitHub does not take the first status: it is posted later, after the end perhaps."""

    async def go(self) -> None:
        self.house.github.faults.add("POST", f"^/repos/{self.name}/statuses/", 502)
        await self.push()


class Delete(Way):
    """A branch is deleted: its host is gone, and production stays."""

    async def begin(self) -> None:
        await super().begin()
        await self.push()
        record = await self.house.ready(self.sha)
        files = {"index.html": PAGE.format("topic")}
        topic = await self.house.push(self.worktree, files, branch="topic")
        await self.house.ready(topic)
        self.label = f"topic--{record['project']}"
        await self.house.shows(self.label, "topic")

    count = 2

    async def go(self) -> None:
        await asyncio.to_thread(self.worktree.delete_branch, "topic")
        await self.house.github.settled()

    async def right(self, *, seconds: float = 60) -> Record:
        record = await super().right(seconds=seconds)

        async def gone() -> bool:
            return (await self.house.get(self.label)).status_code == 404

        await until(gone)
        return record


class Asked(Way, ABC):
    """A person asks by the API, and asks again, under the same key, when no answer came."""

    @abstractmethod
    def path(self) -> tuple[str, dict[str, str] | None]:
        """What is asked of the API, and the body."""

    async def begin(self) -> None:
        await super().begin()
        self.key = secrets.token_hex(8)

    async def go(self) -> None:
        self.answer = await self.house.ask(*self.path(), self.key)

    async def mend(self) -> None:
        if self.answer is None:
            self.answer = await self.house.ask(*self.path(), self.key)
        assert self.answer is not None
        assert self.answer.is_success, self.answer.text


class Deploy(Asked):
    async def begin(self) -> None:
        await super().begin()
        self.house.github.hook.enabled = False
        try:
            await self.push()
        finally:
            self.house.github.hook.enabled = True

    def path(self) -> tuple[str, dict[str, str] | None]:
        return "/api/v1/deployments", {"repository": self.name}


class Cancel(Asked):
    ends = "cancelled"
    files = _slow(20)

    async def begin(self) -> None:
        await super().begin()
        await self.push()
        self.id = (await self.house.of(self.sha))["id"]
        await self.house.begun(self.id)

    def path(self) -> tuple[str, dict[str, str] | None]:
        return f"/api/v1/deployments/{self.id}/cancel", None


class Move(Asked):
    """Production is moved between two deployments that are ready."""

    count = 2
    verb = ""

    async def begin(self) -> None:
        await super().begin()
        await self.push()
        self.first = await self.house.ready(self.sha)
        self.older, self.words = self.words, secrets.token_hex(6)
        await self.push()
        await self.house.ready(self.sha)
        await self.house.shows(self.first["project"], self.words)

    def path(self) -> tuple[str, dict[str, str] | None]:
        return f"/api/v1/projects/{self.first['project']}/{self.verb}", None

    async def right(self, *, seconds: float = 60) -> Record:
        words, self.words = self.words, self.older
        record = await super().right(seconds=seconds)
        self.words = words
        return record


class Promote(Move):
    def path(self) -> tuple[str, dict[str, str] | None]:
        return f"/api/v1/deployments/{self.first['id']}/promote", None


class Rollback(Move):
    verb = "rollback"


class Unpin(Move):
    verb = "unpin"

    async def begin(self) -> None:
        await super().begin()
        await self.house.ask(
            f"/api/v1/projects/{self.first['project']}/rollback", None, secrets.token_hex(8)
        )
        await self.house.shows(self.first["project"], self.older)
        self.older = self.words


class BotStarts(Way):
    """The bot dies while it starts; the push comes after that."""

    async def go(self) -> None:
        house = self.house
        house.process("bot").kill()
        house.process("bot").wait()
        house.start_bot()

    async def mend(self) -> None:
        await self.push()


@asynccontextmanager
async def bucket_of(house: FailingHouse) -> AsyncIterator[Bucket]:
    """The house's bucket."""
    environ = house.environ
    bucket = Bucket(
        environ["PUSHLANE_S3_BUCKET"],
        prefix=f"{environ['PUSHLANE_S3_PREFIX']}/",
        endpoint_url=environ["PUSHLANE_S3_ENDPOINT_URL"],
        credentials={
            "aws_access_key_id": environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": environ["AWS_SECRET_ACCESS_KEY"],
        },
    )
    try:
        yield bucket
    finally:
        await bucket.aclose()
