"""`pushlane doctor`: the settings as they are, and whether what they need is there and works."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from bot.cli.doctor.check import Check
from bot.cli.doctor.machine import machine_checks
from bot.cli.doctor.servers import server_checks
from bot.cli.doctor.shown import Setting, shown_settings
from bot.cli.output import coloured, plain, put, put_table
from bot.core.settings import load

_COLOURS: Final = {"ok": 32, "warning": 33, "failed": 31}


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

    return Report(settings=shown_settings(settings, environ), checks=asyncio.run(checks()))


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
        put(f"{outcome}  {check.name:{width}}  {plain(check.detail)}")
        if check.cure:
            put(f"{'':7}  {'':{width}}  → {plain(check.cure)}")
    put("")
    counts = [
        f"{count} {outcome}"
        for outcome in ("failed", "warning", "ok")
        if (count := sum(check.outcome == outcome for check in report.checks))
    ]
    put(", ".join(counts))
