"""How a ref and a size are told to a person, in the command and on the pages alike."""

from __future__ import annotations

import re

from bot.core.deployment import COMMIT


def ref_in_words(ref: str) -> str:
    """A whole ref as a person calls it: `main`, `v1.0`, `HEAD`, or seven digits of a commit."""
    return ref[:7] if COMMIT.fullmatch(ref) else re.sub(r"^refs/(heads/|tags/)?", "", ref)


def size_in_words(size: int) -> str:
    """A number of bytes as the build's log tells it: `1 byte`, `12 KB`, `3.4 MB`."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    return f"{size / 1000:,.0f} KB" if size < 1_000_000 else f"{size / 1_000_000:,.1f} MB"
