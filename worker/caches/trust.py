"""Who may read what was kept: builds are trusted by the branch that they are of."""

from __future__ import annotations

from enum import StrEnum

from bot.core.deployment import Deployment


class Trust(StrEnum):
    """How far a build is trusted. What one level keeps, a higher one never reads."""

    PRODUCTION = "production"
    """A commit of the production branch."""
    PREVIEW = "preview"
    """A commit of any other branch, which everybody who may push can write."""


def trust_of(deployment: Deployment) -> Trust:
    """The level of a deployment: what it keeps, it keeps there.

    One that may be a fork's has none: it is given no store (`secrets.context_of` tells them).
    """
    return Trust.PRODUCTION if deployment.production else Trust.PREVIEW


def readable(trust: Trust) -> tuple[Trust, ...]:
    """The levels whose kept trees a build may use, its own first."""
    if trust is Trust.PRODUCTION:
        return (Trust.PRODUCTION,)
    return (Trust.PREVIEW, Trust.PRODUCTION)
