"""A stand-in for GitHub: git over HTTP, signed webhooks, the API calls we make, and faults."""

from __future__ import annotations

from .access import App
from .git import ZERO
from .hooks import Delivery, Hook
from .payload import push_payload, sign
from .standin import StandIn
from .state import Repository, Status
from .worktree import Worktree

__all__ = [
    "ZERO",
    "App",
    "Delivery",
    "Hook",
    "Repository",
    "StandIn",
    "Status",
    "Worktree",
    "push_payload",
    "sign",
]
