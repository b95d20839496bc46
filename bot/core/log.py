"""How both processes log: one line an event, `key=value` or JSON, secrets masked.

Much of what is logged was written by strangers: as text, no value begins a line of its own or
steers a terminal. Only the lines of a traceback follow theirs, indented.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn says all again with it, coloured
}

# Control characters, and those that end a line or turn the direction of text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Formatter(logging.Formatter):
    def __init__(self, style: Literal["text", "json"], secrets: Iterable[str]) -> None:
        super().__init__()
        self.style_name = style
        given = {secret for secret in secrets if len(secret) >= 6}
        # A key of several lines is on one here.
        written = {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in given}
        written |= {_escaped(secret) for secret in given}
        self.secrets = sorted(given | written, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        extra = {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        message = record.getMessage()
        trace = ""
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info)
        if self.style_name == "json":
            fields = {"at": at, "level": record.levelname.lower(), "message": message, **extra}
            if trace:
                fields["exception"] = trace
            line = json.dumps(fields, default=str, ensure_ascii=False)
        else:
            pairs = "".join(f" {key}={value}" for key, value in extra.items())
            line = f"{at} {record.levelname.lower():7} {_escaped(message + pairs)}"
            line += "".join(f"\n    {_escaped(row)}" for row in trace.split("\n") if trace)
        for secret in self.secrets:
            line = line.replace(secret, "•••")
        return line


def set_up(style: Literal["text", "json"] = "text", *, secrets: Iterable[str] = ()) -> None:
    """Sends the root logger to stderr in `style`; each of `secrets` is masked in every line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(style, secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer", "github", "git", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
