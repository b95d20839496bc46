"""Catching up: what was pushed and never delivered to us is deployed all the same.

GitHub delivers once, and past some limits not at all. So at start, every ten minutes, and soon
after something was refused, a round looks at each project's branches and at GitHub's own list of
deliveries: docs/protocol.md, rule 15.
"""

from __future__ import annotations

from bot.catchup.rounds import CatchUp

__all__ = ["CatchUp"]
