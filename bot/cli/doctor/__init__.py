"""`pushlane doctor`: the settings as they are, and whether what they need is there and works."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bot.cli.doctor.check import Check, warning
from bot.cli.doctor.machine import machine_checks
from bot.cli.doctor.servers import server_checks
from bot.cli.doctor.shown import Setting, shown_settings
from bot.cli.output import coloured, plain, put, put_table
from bot.core.settings import load, unknown

_COLOURS: Final = {"ok": 32, "warning": 33, "failed": 31}
_PREFIX: Final = "PUSHLANE_"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was looked at."""

    settings: list[Setting]
    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Whether nothing failed. Warnings are no failure."""
        return all(check.outcome != "failed" for check in self.checks)

    def as_json(self) -> dict[str, object]:
        """`{"ok", "settings": [{name, value, source}], "checks": [{name, outcome, …}]}`."""
        return {"ok": self.ok, **msgspec.to_builtins(self)}


def examine(environ: Mapping[str, str]) -> Report:
    """Looks at everything. Raises `SettingInvalid` when a setting cannot be used at all."""
    settings = load(environ)

    async def checks() -> list[Check]:
        found = await asyncio.gather(machine_checks(settings, environ), server_checks(settings))
        return [check for part in found for check in part]

    misspelt = [_misspelt(name, tuple(settings.sources)) for name in unknown(environ)]
    return Report(
        settings=shown_settings(settings, environ), checks=[*misspelt, *asyncio.run(checks())]
    )


def put_report(report: Report) -> None:
    """The report for a person, on stdout."""
    put_table(
        ("SETTING", "SOURCE", "VALUE"),
        [(each.name, plain(each.source), plain(each.value)) for each in report.settings],
    )
    put("")
    width = max(len(check.name) for check in report.checks)
    for check in report.checks:
        outcome = coloured(f"{check.outcome:7}", _COLOURS[check.outcome])
        put(f"{outcome}  {plain(check.name):{width}}  {plain(check.detail)}".rstrip())
        if check.cure:
            put(f"{'':7}  {'':{width}}  → {plain(check.cure)}")
    put("")
    put(_counts([check.outcome for check in report.checks]))


def _counts(outcomes: Sequence[str]) -> str:
    """How many there are of each, the worst first: `1 failed, 2 warnings, 13 ok`."""
    warnings = outcomes.count("warning")
    words = {"failed": "failed", "warning": "warning" + "s" * (warnings > 1), "ok": "ok"}
    counts = ((outcomes.count(outcome), word) for outcome, word in words.items())
    return ", ".join(f"{count} {word}" for count, word in counts if count)


def _misspelt(name: str, known: Sequence[str]) -> Check:
    """A variable of ours that means nothing, and the one that may be meant."""
    # All begin alike, so that the rest is compared.
    names = {each.removeprefix(_PREFIX): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), names, n=1)
    cure = f"write {names[near[0]]}, if that is meant" if near else "take it away"
    return warning(name, "is no setting of Pushlane's, so it does nothing", cure)
