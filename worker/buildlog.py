"""A build's output as lines: cleaned, masked, streamed to the ledger as it is written, kept whole.

What a build prints is a stranger's bytes. Lines reach the ledger at most every 50 ms; a build that
prints faster than they are taken has to wait, and one that prints too much is ended. The ledger
gets the first megabytes of them and all that we say; the whole is for the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

import zstandard

from bot.core.errors import BuildFailed, Errored, Full
from worker.masking import MASK, Masker

log = logging.getLogger(__name__)

LIVE: Final = 4_000_000
"""Bytes of a build's own lines that reach the ledger: Redis holds the logs of all of them."""
LINE: Final = 4096
"""Characters of a line that are kept."""
_HELD: Final = 65_536
_BEAT_SECONDS: Final = 0.05
_BATCH_LINES: Final = 1000
_BATCH_CHARACTERS: Final = 262_144
_PENDING: Final = 1_048_576
_LINE_COST: Final = 48
"""What a line costs besides its characters: else a flood of empty ones is free."""
_RECENT: Final = 400
_LAST_WORDS: Final = 50
_RETRY_SECONDS: Final = 0.5

_CUT: Final = (
    f"… the build has printed more than {LIVE // 1_000_000} MB: what it prints from here on is in "
    "the whole log, which is shown some minutes after the build has ended"
)

# CSI sequences but SGR (colours), OSC, other escapes, and control characters but tab and ESC.
_NOISE: Final = re.compile(
    r"\x1b\[[0-9;:?<=>!]*[ -/]*[@-ln-~]"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b(?!\[[0-9;:]*m)(?:[ -/]*[0-Z\\^-~])?"
    r"|[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)

_TRACE: Final = re.compile(
    r"at .*[:(<]|File \".*\", line \d|\^+$|file:///|node:|[})\];,]+$|Node\.js v"
)
"""Of a stack trace: where it failed, and not why."""
_NPM: Final = re.compile(r"npm (error|err!)\s*(code .*|A complete log .*|path .*)?", re.IGNORECASE)
_WHY: Final = re.compile(
    r"\b(error|err!|exception|fatal|failed|failure|cannot|can't|could not|couldn't|unable|not found"
    r"|no such|missing|unexpected|invalid|denied|refused|unresolved)\b|Error\b",
    re.IGNORECASE,
)


class BuildLog:
    """One claim's log. An async context: at its end all lines are in the ledger, or given up."""

    def __init__(
        self,
        append: Callable[[Sequence[str]], Awaitable[bool]],
        *,
        max_mb: int,
        secrets: Iterable[str] = (),
    ) -> None:
        """`append` takes lines and answers False when the claim is fenced: then no more come."""
        self._append = append
        self._max_mb = max_mb
        self._left = max_mb * 1_000_000
        self._live_left = LIVE
        self.masker = Masker(secrets)
        """What is secret is hidden by it from here on; it may be replaced."""
        self._line = bytearray()
        self._pending: list[str] = []
        self._pending_characters = 0
        self._room = asyncio.Event()
        self._room.set()
        self._filled = asyncio.Event()
        self._closing = asyncio.Event()
        self._deaf = False
        self._whole = tempfile.SpooledTemporaryFile(max_size=4_000_000)  # noqa: SIM115 - aexit
        self.recent: deque[str] = deque(maxlen=_RECENT)
        """The build's last lines that are not empty, oldest first; masked, and no colours."""

    @property
    def last_words(self) -> str:
        """The build's last line that says why it failed, else that says anything; no colours."""
        recent = list(self.recent)[-_LAST_WORDS:]
        said = [line for line in reversed(recent) if not _TRACE.match(line)]
        why = [line for line in said if _WHY.search(_NPM.sub("", line)) and not line.endswith(":")]
        # What npm adds at the end says only that the script before it failed.
        own = [line for line in why if not _NPM.match(line)]
        return next(iter([*own, *why, *said, *recent]), "")

    async def __aenter__(self) -> Self:
        self._flusher = asyncio.create_task(self._flush(), name="build log")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._flusher.cancel()
        self._end_line()
        self._closing.set()
        self._filled.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._flusher
        self._whole.close()

    async def write(self, chunk: bytes) -> None:
        """Takes what a build printed, as it comes. Waits while the ledger is behind.

        Raises `BuildFailed` (code `build_log_too_large`) when the log is full.
        """
        start, lines = 0, 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._hold(chunk[start:end])
            self._end_line(always=True)
            start, lines = end + 1, lines + 1
            if self._left < 0:
                self._refuse()
            if lines % _BATCH_LINES == 0:
                await self._room.wait()
                await asyncio.sleep(0)
        self._hold(chunk[start:])
        await self._room.wait()

    async def say(self, text: str) -> None:
        """Adds lines of our own; they are never refused."""
        self._end_line()
        for line in text.splitlines():
            said = self.masker.mask(_clean(line))[:LINE]
            self._keep(said)
            self._send_soon(said)

    async def whole(self) -> bytes:
        """The whole log so far as UTF-8 text, one zstd frame with its size in it."""
        self._whole.seek(0)
        body = self._whole.read()
        self._whole.seek(0, 2)
        if len(body) < 65_536:
            return zstandard.compress(body)
        return await asyncio.to_thread(zstandard.compress, body)

    def _hold(self, part: bytes) -> None:
        self._left -= len(part)
        if self._left < 0:
            self._refuse()
        if (back := part.rfind(b"\r", 0, len(part) - 1)) >= 0 or (
            self._line.endswith(b"\r") and part
        ):
            # A progress bar writes over its own line: what it wrote last stays.
            self._line.clear()
            part = part[back + 1 :]
        self._line += part[: _most_held(self.masker) - len(self._line)]

    def _end_line(self, *, always: bool = False) -> None:
        if not self._line and not always:
            return
        text = self._line.decode("utf-8", "replace")
        overlong = len(self._line) >= _most_held(self.masker)
        self._line.clear()
        self._left -= _LINE_COST
        line = self.masker.mask(_clean(text))
        if overlong and MASK in line:
            # Behind it may stand the beginning of one more, cut.
            line = line[: line.rindex(MASK) + len(MASK)]
        if len(line) > LINE:
            line = line[:LINE] + "…"
        if bare := re.sub(r"\x1b\[[0-9;:]*m", "", line).strip():
            self.recent.append(bare)
        size = self._keep(line) + _LINE_COST
        if self._live_left >= 0:
            self._live_left -= size
            self._send_soon(line if self._live_left >= 0 else _CUT)

    def _keep(self, line: str) -> int:
        return self._whole.write(line.encode("utf-8", "replace") + b"\n")

    def _send_soon(self, line: str) -> None:
        if self._deaf:
            return
        self._pending.append(line)
        self._pending_characters += len(line) + _LINE_COST
        if self._pending_characters > _PENDING:
            self._room.clear()
        self._filled.set()

    def _refuse(self) -> None:
        raise BuildFailed(
            f"the build printed more than {self._max_mb} MB: print less, or raise "
            "PUSHLANE_BUILD_LOG_MB",
            code="build_log_too_large",
        )

    async def _flush(self) -> None:
        sent_at = 0.0
        try:
            while True:
                await self._filled.wait()
                pause = sent_at + _BEAT_SECONDS - time.monotonic()
                if pause > 0 and not self._closing.is_set():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._closing.wait()
                batch = self._batch()
                if not batch:
                    if self._closing.is_set():
                        return
                    self._filled.clear()
                    continue
                sent_at = time.monotonic()
                if not await self._send(batch):
                    return
                if self._pending_characters <= _PENDING:
                    self._room.set()
        finally:
            self._deaf = True
            self._pending.clear()
            self._room.set()

    def _batch(self) -> list[str]:
        count, characters = 0, 0
        for line in self._pending[:_BATCH_LINES]:
            characters += len(line)
            if count and characters > _BATCH_CHARACTERS:
                break
            count += 1
        batch = self._pending[:count]
        del self._pending[:count]
        self._pending_characters -= sum(len(line) + _LINE_COST for line in batch)
        return batch

    async def _send(self, batch: Sequence[str]) -> bool:
        while True:
            try:
                return await self._append(batch)
            except Full:
                # Only the live log is without these lines; a build does not wait for its log.
                return True
            except Errored as error:
                # The lease says when to give up; the whole log is kept besides.
                if self._closing.is_set():
                    log.warning("lines of a log are lost", extra={"error": error.message})
                    return False
                await asyncio.sleep(_RETRY_SECONDS)


def _most_held(masker: Masker) -> int:
    """Bytes of a line that are held: no secret that begins where it is shown is cut."""
    return _HELD + 4 * masker.longest


def _clean(text: str) -> str:
    return _NOISE.sub("", text.rstrip("\r\n")).rpartition("\r")[2]
