"""A deployment's log as it is read: its lines whole, the last, or as they come; by so many."""

from __future__ import annotations

from bot.logs.following import Changed, Ended, Event, Followers, Lines
from bot.logs.reading import PAGE, Line, Tail, lines, tail
from bot.logs.room import BUSY, Logs, Places, Teller, sse

__all__ = [
    "BUSY",
    "PAGE",
    "Changed",
    "Ended",
    "Event",
    "Followers",
    "Line",
    "Lines",
    "Logs",
    "Places",
    "Tail",
    "Teller",
    "lines",
    "sse",
    "tail",
]
