"""Lists that the API answers by the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bot.cli.answers import Deliveries, Page, read

if TYPE_CHECKING:
    from bot.cli.server import Server

_MOST: Final = 100


def pages(
    server: Server,
    path: str,
    type_: type[Page | Deliveries],
    *,
    asked: Mapping[str, str],
    limit: int,
) -> tuple[list[Any], str | None]:
    """Records of as many pages as it takes: with filters a page may be short, or even empty.

    Answers at most `limit` of them, and where the next page begins.
    """
    found: list[Any] = []
    cursor = ""
    while True:
        most = min(limit - len(found), _MOST)
        page = read(type_, server.get(path, **asked, cursor=cursor, limit=most))
        found += page.records
        if not page.cursor or page.cursor == cursor or len(found) >= limit:
            return found[:limit], page.cursor
        cursor = page.cursor
