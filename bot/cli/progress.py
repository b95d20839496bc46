"""A deployment's stages on stderr: a spinner for the present one, a line for each that is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bot.cli.answers import Record, Stage
from bot.cli.output import plain, seconds_in_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_WIDTH = len("publishing")
_SECONDS_WIDTH = len("9 min 59 s")


@contextmanager
def spinning(words: str) -> Iterator[None]:
    """Says at a terminal that something takes its time; without one, nothing."""
    from rich.console import Console

    console = Console(stderr=True)
    if _moves(console):
        with console.status(words):
            yield
    else:
        yield


class Progress:
    """Tells what becomes of one deployment. Without a terminal there is no spinner, only lines."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        signs = self._console.encoding.lower().startswith("utf")
        self._ticks = {True: "✓", False: "✗"} if signs else {True: "ok", False: "no"}
        self._spinner = Spinner("dots" if signs else "line")
        self._told: set[tuple[str, str | None]] = set()
        self._stage: tuple[str, str | None] = ("", None)
        self._since = time.monotonic()
        self._note = ""
        self._live: Live | None = None
        if _moves(self._console):
            self._live = Live(
                console=self._console,
                get_renderable=self._present,
                refresh_per_second=12.5,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, record: Record) -> None:
        """Tells what is new in the record. Records may be left out, or come twice."""
        for stage in record.stages:
            known = (stage.name, stage.started_at)
            if stage.seconds is not None and known not in self._told:
                self._told.add(known)
                last = stage is record.stages[-1]
                self._tell(stage, record, good=not (last and record.wrecked))
        present = next((stage for stage in record.stages if stage.seconds is None), None)
        name = (present.name, present.started_at) if present else ("", None)
        if name != self._stage:
            self._stage, self._since = name, time.monotonic()
        self._note = ""

    def note(self, text: str) -> None:
        """Says something beside the spinner until there is something new."""
        self._note = text

    def line(self, text: str) -> None:
        """A line above the spinner, as it is."""
        self._note = ""
        self._console.out(text, highlight=False)

    def _tell(self, stage: Stage, record: Record, *, good: bool) -> None:
        from rich.text import Text

        name = plain(stage.name)
        seconds = seconds_in_words(stage.seconds)
        self._console.print(
            Text.assemble(
                (self._ticks[good], "green" if good else "red"),
                f" {name:{_WIDTH}} {seconds:>{_SECONDS_WIDTH}}{_attempt(stage, record)}",
            )
        )

    def _present(self) -> RenderableType:
        from rich.text import Text

        name, _ = self._stage
        if not name and not self._note:
            return Text("")
        seconds = seconds_in_words(time.monotonic() - self._since) if name else ""
        note = f"  {self._note}" if self._note else ""
        self._spinner.text = Text(f"{plain(name):{_WIDTH}} {seconds:>{_SECONDS_WIDTH}}{note}")
        return self._spinner.render(self._console.get_time())


def _moves(console: Console) -> bool:
    """Whether a spinner can turn. FORCE_COLOR makes a console take a CI's log for a terminal."""
    return sys.stderr.isatty() and console.is_interactive


def _attempt(stage: Stage, record: Record) -> str:
    """Which attempt a stage took, where it took more than one."""
    kind = {"fetching": "fetch", "building": "build"}.get(stage.name, "")
    attempts = record.attempts.get(kind, 0)
    return f"  (attempt {attempts})" if attempts > 1 else ""
