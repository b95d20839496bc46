"""The table that `scripts/frameworks` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.frameworks.catalogue import Catalogue

Row = Mapping[str, Any]
_WIDTH = 190


def show(console: Console, rows: Sequence[Row], catalogue: Catalogue) -> None:
    """All pairs, then what went wrong, then what is only detected, then the totals."""
    if not console.is_terminal:
        console.width = _WIDTH
    table = Table(box=None, pad_edge=False)
    for name in ("pair", "framework", "by", "tools"):
        table.add_column(name, no_wrap=True)
    for name in ("install", "build", "cold", "warm install", "warm build", "warm"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        cold, warm = row["cold"], row["warm"] or {}
        durations = (
            *(cold[f"{each}_seconds"] for each in ("install", "build", "live")),
            *(warm.get(f"{each}_seconds") for each in ("install", "build", "live")),
        )
        told = "[green]ok[/green]" if row["ok"] else "[red]not ok[/red]"
        names = (row["pair"], row["framework"], row["by"], row["tools"])
        table.add_row(*names, *map(_seconds, durations), told)
    console.print(table)
    for row in rows:
        if not row["ok"]:
            console.print(f"\n{row['pair']} is not ok: {row['why']}", style="red", markup=False)
    console.print("\nDetected only:")
    for folder, site in catalogue.detected_only.items():
        console.print(f"  {site.framework} ({folder}): {site.without}")
    good = [row for row in rows if row["ok"]]
    frameworks = {row["framework"] for row in good}
    ways = {str(row["by"]).partition("@")[0] for row in good} - {"–"}
    console.print(
        f"\n{len(good)} of {len(rows)} pairs are ok: {len(frameworks)} frameworks, {len(ways)} "
        "package managers. Seconds; cold and warm are from the push to the live site."
    )


def _seconds(value: float | None) -> str:
    return f"{value:.1f}" if value else ""
