"""The stand-in for GitHub as tests hold it: repositories, pushes, hooks, statuses, faults."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import git
from .access import Access, App
from .app import GitHubApp
from .call import ping
from .control import Control
from .faults import Faults
from .git import ZERO
from .hooks import Courier, Delivery, Hook, Order
from .payload import push_payload
from .pushes import payload_of_push, shape_in_push
from .server import Serving
from .state import Repository, Status, World


class StandIn:
    """A GitHub on loopback, in a thread of its own: `async with StandIn() as github: …`.

    `url` is the base of pages and git, `api_url` of the API. `token` is let in with scope `repo`;
    `access.allow` lets others in, `app` is the GitHub App. `hook` says where pushes are told.
    With `tls` (certificate, key) it serves https; `url` and `api_url` then may name the hosts that
    it stands for.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        hook: Hook | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        url: str | None = None,
        api_url: str | None = None,
        tls: tuple[Path, Path] | None = None,
        token: str | None = None,
        app: App | None = None,
    ) -> None:
        self._own_root = root is None
        self.root = root or Path(tempfile.mkdtemp(prefix="standin-"))
        self.world = World(self.root)
        self.app = app or App()
        self.access = Access(self.app)
        self.token = self.access.allow(token)
        self.faults = Faults()
        self.hook = hook or Hook()
        self.url, self.api_url = url or "", api_url or ""
        self._courier = Courier(self.hook)
        self._serving = Serving()
        self._address = (host, port, tls)

    async def __aenter__(self) -> Self:
        host, port, tls = self._address
        app = GitHubApp(
            world=self.world,
            access=self.access,
            faults=self.faults,
            courier=self._courier,
            control=Control(self.world, self.access, self.faults, self._courier),
            background=self._serving.background,
        )
        self._serving.start(app, host=host, port=port, tls=tls, at_end=self._courier.close)
        scheme = "https" if tls else "http"
        self.url = self.url or f"{scheme}://{host}:{self._serving.port}"
        self.api_url = self.api_url or f"{self.url}/api/v3"
        self.world.html_url, self.world.api_url = self.url, self.api_url
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._serving.stop()
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    @property
    def port(self) -> int:
        """The port that it listens on, whatever `url` says."""
        return self._serving.port

    def create_repository(
        self,
        full_name: str,
        *,
        private: bool = False,
        default_branch: str = "main",
        id: int | None = None,  # noqa: A002  GitHub's own word, and read well by keyword
    ) -> Path:
        """Make an empty repository; gives its bare directory. The id follows from the name."""
        made = self.world.create(
            full_name, private=private, default_branch=default_branch, repository_id=id
        )
        return made.bare

    def repository(self, full_name: str) -> Repository:
        """The record, to be read and changed (`pushed_at_override`…); KeyError without one."""
        found = self.world.find(full_name)
        if found is None:
            raise KeyError(full_name)
        return found

    def clone_url(self, full_name: str) -> str:
        """Where git clones, fetches and pushes this repository."""
        return f"{self.url}/{full_name}.git"

    def statuses(self, sha: str | None = None, *, context: str | None = None) -> list[Status]:
        """The accepted statuses in the order of their coming."""
        return [
            status
            for status in list(self.world.statuses)
            if sha in (None, status.sha) and context in (None, status.context)
        ]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery that was sent, with its answer, in the order of sending."""
        return list(self._courier.deliveries)

    async def settled(self) -> None:
        """Wait until every push made so far has been told (or parked, while the hook holds)."""
        await self._serving.within(self._serving.settled())

    async def send_event(
        self,
        name: str,
        body: bytes,
        *,
        guid: str | None = None,
        secret: str | None = None,
        form: bool | None = None,
        headers: Mapping[str, str | None] | None = None,
        url: str | None = None,
    ) -> Delivery:
        """Sign and send these bytes now, whatever the hook holds; a header None is left out."""
        prepared = self._courier.prepare(
            name, body, guid=guid, secret=secret, form=form, headers=headers, url=url
        )
        return await self._serving.within(self._courier.send(prepared))

    async def send_ping(self, full_name: str | None = None) -> Delivery | None:
        """Send the ping event, of a repository's hook or of the App's."""
        repository = None if full_name is None else self.repository(full_name)
        return await self._serving.within(ping(self.world, self._courier, repository))

    async def send_push(
        self,
        full_name: str,
        *,
        ref: str = "refs/heads/main",
        before: str = ZERO,
        after: str | None = None,
        pushed_at: int | None = None,
        guid: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        **overrides: Any,
    ) -> Delivery:
        """Send a push event without a push. `after` defaults to what the ref names now.

        Commits come from the repository when it has `after`, else they are made up.
        """
        repository = self.repository(full_name)

        async def payload() -> dict[str, Any]:
            present = await git.refs(repository.bare)
            tip = after if after is not None else present.get(ref, ZERO)
            if tip == ZERO or await git.commit_of(repository.bare, tip) is not None:
                built = await payload_of_push(
                    self.world, repository, ref, before, tip, pushed_at=pushed_at
                )
                return built | overrides
            return push_payload(
                repository=shape_in_push(repository, self.world),
                ref=ref,
                before=before,
                after=tip,
                pushed_at=pushed_at,
                html=self.url,
                api=self.api_url,
                **overrides,
            )

        body = json.dumps(await self._serving.within(payload())).encode()
        return await self.send_event("push", body, guid=guid, headers=headers)

    async def redeliver(self, guid: str) -> Delivery:
        """The newest delivery of this GUID once more, byte for byte; KeyError without one."""
        found = self._courier.find(guid=guid)
        if found is None:
            raise KeyError(guid)
        return await self._serving.within(self._courier.redeliver(found))

    async def release(self, order: Order = "sent") -> list[Delivery]:
        """Send what `hook.hold` parked: as sent, "reversed", or by these positions."""
        return await self._serving.within(self._courier.release(order))
