"""What a place can be marked as: a framework, by which sign, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from worker.detect.facts import Fact
from worker.detect.source import Place


class Sure(IntEnum):
    """How likely a place is to be the site that was meant."""

    NOTHING = 0
    LIBRARY = 1
    """It builds something to be imported."""
    PERHAPS = 2
    """A page might be made of it: a bare README, a script that builds a whole workspace."""
    BESIDE = 3
    """It makes pages about something else: a Storybook, an example."""
    SCRIPT = 4
    """A build script of its own that looks like a site's."""
    PAGES = 5
    """HTML that is there already."""
    SITE = 6
    """A framework that makes sites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The framework of a place."""

    fact: Fact
    place: Place
    sure: Sure
    why: str
    script: str = ""
    """The script of package.json that builds it; `""` for the framework's own command."""
    at: str = ""
    """What the command works on, relative to the place: Sphinx's directory, a plain site's."""
