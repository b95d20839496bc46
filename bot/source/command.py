"""One git process at a time: fixed arguments, a scrubbed environment, a deadline, a size cap."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast
from urllib.parse import urlsplit

from git import Git
from git.exc import GitCommandNotFound

from bot.core.errors import Errored

T = TypeVar("T")

_PASSED = re.compile(
    r"(SSL_CERT_(FILE|DIR)|GIT_SSL_CA(INFO|PATH)|CURL_CA_BUNDLE"
    r"|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|PATH|LD_LIBRARY_PATH|TMPDIR)"
)
"""What of our environment reaches git: certificates, proxies, where programs are."""
_KILLED_AFTER = 10.0
_CONFIG: Mapping[str, str] = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.askPass": "",
    "core.quotePath": "false",
    "credential.helper": "",
    "transfer.fsckObjects": "true",
    # Old, honest repositories have these; none of them does harm.
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.missingSpaceBeforeEmail": "ignore",
    "fetch.fsck.missingEmail": "ignore",
    # Always one pack for a fetch: its growth can be watched, and it costs one file.
    "fetch.unpackLimit": "1",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "gc.packRefs": "false",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "protocol.allow": "never",
    "pack.threads": "2",
    "advice.detachedHead": "false",
}


class GitError(Exception):
    """git did not do what it was started for. Never raised itself."""


class GitFailed(GitError):
    """git ended with an error; `words` is what it said, bounded and without credentials."""

    def __init__(self, verb: str, status: int, words: str) -> None:
        super().__init__(f"git {verb} ended with {status}: {words}")
        self.words = words


class GitKilled(GitError):
    """git was killed: by us, since nobody waits for it any more, or by the machine."""


class GitTooLarge(GitError):
    """git wrote more than it may."""


class GitTimeout(GitError):
    """git did not end in time and was killed."""


class Process:
    """A git that runs, in a process group of its own, to be read from one thread."""

    def __init__(self, verb: str, arguments: Sequence[str], options: Mapping[str, Any]) -> None:
        self.verb = verb
        try:
            # GitPython merges `env` over our own environment, so what is not meant for git is
            # unset by name; `start_new_session` lets the whole group be killed.
            running = Git().execute(
                ["env", *_unset(options["env"]), "git", *arguments],
                as_process=True,
                start_new_session=True,
                **options,
            )
        except GitCommandNotFound as error:
            raise Errored("git is not installed: install it", code="git_missing") from error
        self._running: Any = running
        self._process = cast("subprocess.Popen[bytes]", self._running.proc)
        self.waited = 0.0
        """Seconds for which `read` has waited for git."""

    def communicate(
        self, *, deadline: float, grown: Callable[[], bool] = lambda: False
    ) -> tuple[bytes, bytes]:
        """All that it writes until its end. Raises `GitTimeout`, and `GitTooLarge` by `grown`."""
        while True:
            try:
                return self._process.communicate(timeout=0.25)
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise GitTimeout(self.verb) from None
                if grown():
                    raise GitTooLarge(self.verb) from None

    def read(self, limit: int) -> bytes:
        """The next `limit` bytes of what it writes; fewer at their end."""
        assert self._process.stdout is not None
        begun = time.monotonic()
        found = self._process.stdout.read(limit)
        self.waited += time.monotonic() - begun
        return found

    def finish(self, *, deadline: float) -> None:
        """Waits for the end; raises as `check` does, or `GitTimeout`."""
        try:
            _, errors = self._process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            raise GitTimeout(self.verb) from None
        self.check(errors)

    def check(self, errors: bytes) -> None:
        """Raises `GitFailed` or `GitKilled` when it ended badly."""
        status = self._process.returncode
        if status < 0:
            raise GitKilled(self.verb)
        if status:
            raise GitFailed(self.verb, status, errors.decode(errors="replace")[-2000:].strip())

    def kill(self) -> None:
        """Kills git and its children, from any thread."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills what still runs, reaps it, and closes its pipes."""
        if self._process.poll() is None:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILLED_AFTER)


class Running:
    """What one thread has git do, a process at a time, and another thread may call off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._stopped = False

    @contextmanager
    def process(self, start: Callable[[], Process]) -> Iterator[Process]:
        """What `start` started, closed at the end. Raises `GitKilled` when it is called off."""
        with self._lock:
            if self._stopped:
                raise GitKilled("called off")
            process = self._process = start()
        try:
            yield process
        finally:
            # Once it is reaped, its id may be somebody else's.
            with self._lock:
                self._process = None
            process.close()

    def stop(self) -> None:
        """Kills what runs, and lets nothing more be started."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """Calls it off after so long, and when the body ends: for the event loop's thread."""
        alarm = asyncio.get_running_loop().call_later(seconds, self.stop)
        try:
            yield
        finally:
            alarm.cancel()
            self.stop()


class Commands:
    """Starts git. `concurrency` bounds how many processes work at once."""

    def __init__(self, environment: Mapping[str, str], *, concurrency: int) -> None:
        self._environment = {k: v for k, v in environment.items() if _PASSED.fullmatch(k)}
        # Debian's git speaks TLS by GnuTLS, which does not know this name.
        bundle = environment.get("SSL_CERT_FILE") or environment.get("CURL_CA_BUNDLE")
        if bundle:
            self._environment.setdefault("GIT_SSL_CAINFO", bundle)
        self._threads = ThreadPoolExecutor(concurrency * 2, thread_name_prefix="git")

    def close(self) -> None:
        """Lets the threads go when what they do has ended."""
        self._threads.shutdown(wait=False)

    def start(
        self,
        verb: str,
        arguments: Sequence[str],
        *,
        directory: Path,
        stdin: IO[bytes] | None = None,
        config: Mapping[str, str] | None = None,
        held: int | None = None,
        scratch: Path | None = None,
    ) -> Process:
        """Starts `git <verb> <arguments>` in the bare repository `directory`.

        `held` is a file descriptor that stays open as long as any process of this git lives. With
        `scratch`, a directory, what it writes on the way lies there, and not among the objects.
        """
        options: dict[str, Any] = {
            "env": self._environment | _base(directory, config or {}) | _apart(directory, scratch),
            "istream": stdin,
        }
        if held is not None:
            options["pass_fds"] = (held,)
        return Process(verb, [f"--git-dir={directory}", verb, *arguments], options)

    async def call(  # noqa: PLR0913 - each is one thing that a git may need
        self,
        verb: str,
        arguments: Sequence[str],
        *,
        directory: Path,
        timeout_seconds: float,
        stdin: IO[bytes] | None = None,
        config: Mapping[str, str] | None = None,
        held: int | None = None,
        scratch: Path | None = None,
        grown: Callable[[], bool] = lambda: False,
    ) -> bytes:
        """What one git writes. Cancelled, it kills the process and awaits its end.

        Raises `GitFailed`, `GitKilled`, `GitTimeout`, `GitTooLarge`.
        """
        running = Running()

        def start() -> Process:
            return self.start(
                verb,
                arguments,
                directory=directory,
                stdin=stdin,
                config=config,
                held=held,
                scratch=scratch,
            )

        def read() -> bytes:
            deadline = time.monotonic() + timeout_seconds
            with running.process(start) as process:
                found, errors = process.communicate(deadline=deadline, grown=grown)
                process.check(errors)
                return found

        return await self.within(read, running)

    async def within(self, read: Callable[[], T], running: Running) -> T:
        """Does `read` in a thread of the limiter's; cancelled, it stops `running` and awaits it."""
        submitted = self._threads.submit(read)
        future = asyncio.wrap_future(submitted)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            running.stop()
            # What waits for a free thread yet is over; what has begun is awaited.
            while not submitted.cancel() and not future.done():
                with suppress(Exception, asyncio.CancelledError):
                    await asyncio.shield(future)
            raise


def network(url: str, token: str | None) -> dict[str, str]:
    """Configuration for speaking to `url` and to nothing else; the token goes as a header."""
    parts = urlsplit(url)
    config = {f"protocol.{parts.scheme}.allow": "always"}
    if token:
        secret = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        config[f"http.{parts.scheme}://{parts.netloc}/.extraHeader"] = (
            f"Authorization: Basic {secret}"
        )
    return config


def _base(directory: Path, config: Mapping[str, str]) -> dict[str, str]:
    settings = {**_CONFIG, **config}
    environment = {
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_SSH_COMMAND": "false",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for index, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def _apart(directory: Path, scratch: Path | None) -> dict[str, str]:
    if scratch is None:
        return {}
    return {
        "GIT_OBJECT_DIRECTORY": str(scratch),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(directory / "objects"),
    }


def _unset(kept: Mapping[str, str]) -> list[str]:
    names = (n for n in os.environ if n not in kept and n not in ("LANGUAGE", "LC_ALL"))
    return [word for name in names for word in ("-u", name)]
