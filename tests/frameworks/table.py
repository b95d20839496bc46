"""The table that `scripts/frameworks` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.frameworks.catalogue import Catalogue

Row = Mapping[str, Any]


def show(console: Console, rows: Sequence[Row], catalogue: Catalogue) -> None:
    """All pairs, then what is only detected, then the totals."""
    table = Table(box=None, pad_edge=False)
    for name in ("pair", "framework", "by", "tools"):
        table.add_column(name, overflow="fold")
    for name in ("install s", "build s", "cold s", "warm install s", "warm s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        cold, warm = row["cold"], row["warm"] or {}
        table.add_row(
            row["pair"],
            row["framework"],
            row["by"],
            row["tools"],
            _seconds(cold["install_seconds"]),
            _seconds(cold["build_seconds"]),
            _seconds(cold["live_seconds"]),
            _seconds(warm.get("install_seconds")),
            _seconds(warm.get("live_seconds")),
            "[green]ok[/green]" if row["ok"] else f"[red]{_plain(row['why'])}[/red]",
        )
    for folder, site in catalogue.detected_only.items():
        table.add_row(folder, site.framework, "–", "", "", "", "", "", "",
                      f"detected only: {site.without}")  # fmt: skip
    console.print(table)
    good = sum(bool(row["ok"]) for row in rows)
    names = {row["framework"] for row in rows if row["ok"]}
    ways = {str(row["by"]).partition("@")[0] for row in rows if row["ok"]} - {"–"}
    console.print(
        f"\n{good} of {len(rows)} pairs are ok: {len(names)} frameworks, "
        f"{len(ways)} package managers; {len(catalogue.detected_only)} more are detected only"
    )


def _seconds(value: float | None) -> str:
    return f"{value:.1f}" if value else ""


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
