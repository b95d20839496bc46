"""How both processes log: one line an event, `key=value` or JSON, secrets masked."""

from __future__ import annotations

import json
import logging
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


class _Formatter(logging.Formatter):
    def __init__(self, style: Literal["text", "json"], secrets: Iterable[str]) -> None:
        super().__init__()
        self.style_name = style
        self.secrets = sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        extra = {k: v for k, v in record.__dict__.items() if k not in _PLAIN}
        message = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            extra["exception"] = self.formatException(record.exc_info)
        if self.style_name == "json":
            fields = {"at": at, "level": record.levelname.lower(), "message": message, **extra}
            line = json.dumps(fields, default=str, ensure_ascii=False)
        else:
            pairs = "".join(f" {key}={value}" for key, value in extra.items())
            line = f"{at} {record.levelname.lower():7} {message}{pairs}"
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
