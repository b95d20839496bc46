"""Where a repository's commands run: as a stranger, without our environment, within limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from bot.core.errors import Errored, SettingInvalid
from worker.sandbox import bubblewrap, kernel, orders, selftest
from worker.sandbox.egress import Egress
from worker.sandbox.execution import Execution, reap_orphans
from worker.sandbox.layers import Layers
from worker.sandbox.limits import Cage, Cgroups, find_cgroups
from worker.sandbox.passing import Passing, survey
from worker.sandbox.reach import Reach, check_hosts, named_hosts
from worker.sandbox.records import Finding, Limits, Mount, Outcome, Workspace
from worker.sandbox.users import BuildUsers
from worker.sandbox.watchdog import watchdog_cage
from worker.sandbox.workspaces import Scratch, fit, size

__all__ = ["Finding", "Layers", "Limits", "Mount", "Outcome", "Sandbox", "Workspace"]


class Sandbox:
    """Made once in a worker process. Between `start` and `aclose` it executes commands."""

    def __init__(
        self,
        *,
        kind: Literal["bubblewrap", "none"],
        scratch: Path,
        egress: Literal["public", "allowlist", "none"],
        egress_hosts: Sequence[str] = (),
        environment: Mapping[str, str],
    ) -> None:
        self._kind = kind
        self._scratch_directory = scratch
        self._policy = egress
        try:
            self._hosts = check_hosts(egress_hosts)
        except ValueError as problem:
            raise SettingInvalid("PUSHLANE_EGRESS_HOSTS", str(problem)) from None
        self._environment = dict(environment)
        self._bwrap = ""
        self._scratch: Scratch | None = None
        self._users: BuildUsers | None = None
        self._cgroups: Cgroups | None = None
        self._passing: Passing | None = None
        self._egress: Egress | None = None

    async def start(self) -> None:
        """Prepares users, limits and egress, and kills what an earlier process left.

        One command is tried. Raises SettingInvalid with the cure where this machine cannot build
        safely.
        """
        if self._kind == "bubblewrap":
            self._bwrap = _bubblewrap(self._environment)
        with contextlib.suppress(OSError):
            kernel.become_subreaper()
        self._scratch = await asyncio.to_thread(Scratch, self._scratch_directory)
        try:
            self._users = BuildUsers(self._scratch.path)
            self._cgroups = find_cgroups(orders.cgroup_name(self._scratch.path))
            await self.kill_strays()
            self._passing = await survey(self._environment)
            reach = Reach(self._policy, self._hosts, named_hosts(self._passing.urls))
            self._egress = Egress(reach, self._environment)
            await self._probe()
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Leaves no process and no mount. Repeatable."""
        if self._scratch is None:
            return
        with contextlib.suppress(OSError):
            await self.kill_strays()
        if self._cgroups is not None:
            self._cgroups.remove()
        self._scratch.release()
        self._scratch = None

    async def kill_strays(self) -> None:
        """Kills and removes what is left of ours, by cgroup, by build user and by directory.

        Not to be called while something executes.
        """
        assert self._scratch is not None
        assert self._users is not None
        for _ in range(3):
            if self._cgroups is not None:
                await asyncio.to_thread(self._cgroups.kill_strays)
            if not await asyncio.to_thread(self._users.kill_strays):
                break
            await asyncio.sleep(0.01)
        await asyncio.to_thread(reap_orphans)
        await asyncio.to_thread(self._scratch.clear)

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Workspace]:
        """A fresh directory with a `home` and a `tmp`, removed at the end whatever is in it.

        One command at a time executes in it.
        """
        if self._scratch is None or self._users is None:
            raise Errored("the sandbox is not started", code="sandbox_not_started")
        made: Workspace | None = None
        try:
            async with self._scratch.workspace(self._users) as made:
                yield made
        finally:
            if made is not None and self._cgroups is not None:
                await asyncio.shield(asyncio.to_thread(self._cgroups.forget, made.path.name))

    async def execute(  # noqa: PLR0913 - the sandbox's one verb; each is said by keyword
        self,
        command: str | Sequence[str],
        *,
        workspace: Workspace,
        cwd: str = "/work/source",
        environment: Mapping[str, str],
        limits: Limits,
        mounts: Sequence[Mount] = (),
        network: bool = True,
        stdin: AsyncIterator[bytes] | BinaryIO | None = None,
        on_output: Callable[[bytes], Awaitable[None]] | None,
        stop: asyncio.Event | None = None,
    ) -> Outcome:
        """Executes `command` (a `str` by `sh -c`, inside) and returns when nothing of it lives.

        `cwd` is a path inside, made if it is below /work. `on_output` gets stdout and stderr
        together, raw, as they come; while it waits the command waits. When `stop` is set the whole
        tree dies within a second. What `on_output` or `stdin` raises kills the tree and is raised
        again. Raises Errored where the sandbox itself fails; a failing command is an Outcome.
        """
        if self._passing is None:
            raise Errored("the sandbox is not started", code="sandbox_not_started")
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        call = orders.Call(
            argv=argv,
            cwd=cwd,
            environment=environment,
            workspace=workspace,
            mounts=mounts,
            network=network and self._policy != "none",
            marker=f"PUSHLANE_EXECUTION={secrets.token_hex(12)}",
        )
        cage = await asyncio.to_thread(self._prepare, call, limits)
        if self._kind == "bubblewrap":
            order = orders.sandboxed(call, self._passing, self._bwrap, limits)
        else:
            order = orders.unprotected(call, self._passing)
        if self._cgroups is None:
            order = orders.counting_processes(order, limits)
        execution = Execution(
            order,
            cage=cage,
            egress=self._egress,
            workspace=workspace,
            limits=limits,
            stop=stop,
        )
        return await execution.conduct(stdin, on_output)

    async def self_test(self) -> list[Finding]:
        """Proves the sandbox by using it; each finding is one thing that was tried (seconds)."""
        findings = await selftest.findings(self, protected=self._kind == "bubblewrap")
        if self._cgroups is None:
            detail = "no cgroup may be made here: memory and processes are only counted ten times "
            detail += "a second. Start the worker as root, or in a delegated cgroup (systemd: "
            detail += "Delegate=yes)"
            findings.append(Finding("limits by cgroup", False, detail))
        else:
            detail = f"version {self._cgroups.version}"
            findings.append(Finding("limits by cgroup", True, detail))
        return findings

    def _prepare(self, call: orders.Call, limits: Limits) -> Cage:
        orders.make_directories(call)
        fit(call.workspace, limits)
        if self._cgroups is None:
            return watchdog_cage(limits, call.marker)
        try:
            held = size(call.workspace) if call.workspace.sized else 0
            return self._cgroups.cage(call.workspace.path.name, limits, size=held)
        except OSError as problem:
            raise Errored(f"no cgroup for the build: {problem}", code="sandbox_failed") from None

    async def _probe(self) -> None:
        said = bytearray()

        async def hear(chunk: bytes) -> None:
            said.extend(chunk)

        async with self.workspace() as workspace:
            try:
                outcome = await self.execute(
                    ["/bin/sh", "-c", "exit 0"],
                    workspace=workspace,
                    cwd="/work",
                    environment={},
                    limits=Limits(timeout_seconds=20, memory_mb=256),
                    on_output=hear,
                )
            except Errored as problem:
                detail = said.decode(errors="replace").strip() or problem.message
                raise SettingInvalid("PUSHLANE_SANDBOX", selftest.cure(detail)) from None
        if outcome.exit_code != 0:
            detail = said.decode(errors="replace").strip() or f"exit code {outcome.exit_code}"
            raise SettingInvalid("PUSHLANE_SANDBOX", selftest.cure(detail))


def _bubblewrap(environment: Mapping[str, str]) -> str:
    found = shutil.which("bwrap", path=environment.get("PATH", os.defpath))
    if found is None:
        raise SettingInvalid(
            "PUSHLANE_SANDBOX", f"bubblewrap is not on the PATH; {bubblewrap.CURE}"
        )
    return os.path.realpath(found)
