"""The named points: which function is wrapped, and the moment at which the process may die."""

from __future__ import annotations

import functools
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bot.core import saved
from bot.core.bucket import Bucket
from bot.core.github import GitHub
from bot.core.github.hooks import Hooks
from bot.core.ledger.aliases import Aliases
from bot.core.ledger.claims import Claims
from bot.core.ledger.collection import Collection
from bot.core.ledger.logs import BuildLogs
from bot.core.ledger.records import Records
from bot.core.ledger.reports import Reports
from bot.core.ledger.restores import Restores
from bot.core.ledger.rounds import Rounds
from bot.core.ledger.saves import Saves

Module = Literal["bot", "worker"]
ORDERS: Final = "FAILING_ORDERS"
"""The variable that names the directory of orders: `<module>` holds a point's name."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A function that is a step: its name in points, and when a call of it counts."""

    step: str
    owner: Any
    attribute: str
    counts: Callable[[tuple[Any, ...], Any], bool] = lambda _arguments, _answer: True


def _got_something(_: tuple[Any, ...], answer: Any) -> bool:
    return answer is not None


def _claimed(_: tuple[Any, ...], answer: Any) -> bool:
    return answer.deployment is not None


def _leased(_: tuple[Any, ...], answer: Any) -> bool:
    return answer[0] is not None


def _is_manifest(arguments: tuple[Any, ...], _: Any) -> bool:
    return str(arguments[1]).startswith("releases/")


def _saved_thing(arguments: tuple[Any, ...], _: Any) -> bool:
    return saved.of_name(str(arguments[1])) is not None


def _found_some(_: tuple[Any, ...], answer: Any) -> bool:
    return bool(answer[0])


def _got_some(_: tuple[Any, ...], answer: Any) -> bool:
    return bool(answer)


def _named_some(arguments: tuple[Any, ...], _: Any) -> bool:
    return bool(arguments[2])


def _gave_up(_: tuple[Any, ...], answer: Any) -> bool:
    return str(answer) == "condemned"


def _put_back(_: tuple[Any, ...], answer: Any) -> bool:
    return any(answer.values())


_EVERYWHERE: Final = (
    Wrapped("wait", Claims, "wait", _got_something),
    Wrapped("claim", Claims, "claim", _claimed),
    Wrapped("extend", Claims, "extend"),
    Wrapped("advance", Claims, "advance"),
    Wrapped("finish", Claims, "finish"),
    Wrapped("retry", Claims, "retry"),
    Wrapped("give_back", Claims, "give_back"),
    Wrapped("sweep", Claims, "sweep", _put_back),
    Wrapped("append", BuildLogs, "append"),
)


def of(module: Module) -> Iterator[Wrapped]:
    """The steps that this process can be told to die at."""
    yield from _EVERYWHERE
    if module == "bot":
        from bot.source import Sources

        yield from (
            Wrapped(verb, Records, verb) for verb in ("record", "remove", "request", "cancel")
        )
        yield from (Wrapped(verb, Aliases, verb) for verb in ("promote", "rollback", "unpin"))
        yield Wrapped("resolve", Sources, "resolve")
        yield Wrapped("fetch", Sources, "fetch")
        yield Wrapped("archive", Sources, "archive")
        yield Wrapped("hasten", Reports, "hasten")
        yield Wrapped("lease", Reports, "lease", _leased)
        yield Wrapped("post", GitHub, "post_status")
        yield Wrapped("told", Reports, "told")
        yield Wrapped("told_so_far", Reports, "told_so_far")
        yield Wrapped("later", Reports, "later")
        yield from _of_keeping()
        return
    import worker.build
    import worker.loop
    from worker.publish import Publisher

    yield Wrapped("unpack", worker.build, "unpack")
    yield Wrapped("build", worker.loop, "build")
    yield Wrapped("save_log", worker.loop.Worker, "_save_log")
    yield Wrapped("pack", Publisher, "_pack")
    yield Wrapped("upload", Publisher, "_upload")
    yield Wrapped("manifest", Bucket, "put", _is_manifest)
    yield Wrapped("publish", Publisher, "publish")


def _of_keeping() -> Iterator[Wrapped]:
    """The steps of saving, restoring, collecting and catching up."""
    from bot.source import Sources

    yield Wrapped("lease_saves", Saves, "lease", _found_some)
    yield Wrapped("put_saved", Bucket, "put", _saved_thing)
    yield Wrapped("saved", Saves, "note")
    yield Wrapped("restore_begin", Restores, "begin")
    yield Wrapped("merge", Restores, "merge", _got_some)
    yield Wrapped("restore_end", Restores, "end")
    yield Wrapped("condemn_release", Collection, "condemn_release", _gave_up)
    yield Wrapped("condemn", Collection, "condemn", _named_some)
    yield Wrapped("delete", Bucket, "delete")
    yield Wrapped("collected", Collection, "ended")
    yield Wrapped("heads", Sources, "heads")
    yield Wrapped("look", Rounds, "look")
    yield Wrapped("redeliver", Hooks, "redeliver")


def names(module: Module) -> list[str]:
    """Every point of a process: `before …` and `after …` of each of its steps."""
    return [f"{moment} {each.step}" for each in of(module) for moment in ("before", "after")]


def install(module: Module) -> None:
    """Wraps all steps of the process, which then obeys the orders."""
    orders = Path(os.environ[ORDERS]) / module
    for each in of(module):
        setattr(each.owner, each.attribute, _wrapped(each, orders))


def _wrapped(step: Wrapped, orders: Path) -> Callable[..., Any]:
    original = getattr(step.owner, step.attribute)

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def around(*arguments: Any, **named: Any) -> Any:
            _reach(orders, f"before {step.step}")
            answer = await original(*arguments, **named)
            if step.counts(arguments, answer):
                _reach(orders, f"after {step.step}")
            return answer

        return around

    @functools.wraps(original)
    def beside(*arguments: Any, **named: Any) -> Any:
        _reach(orders, f"before {step.step}")
        answer = original(*arguments, **named)
        if step.counts(arguments, answer):
            _reach(orders, f"after {step.step}")
        return answer

    return beside


def _reach(orders: Path, name: str) -> None:
    """Dies here if that is the order, which is thereby carried out."""
    try:
        if orders.read_text() != name:
            return
        orders.unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
