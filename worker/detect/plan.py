"""How a source becomes an output: what detection decides, and all the rest of a build follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.tool import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All paths are relative, to the source or (outputs, caches) to `root`."""

    framework: str
    reason: str
    """The choice and why, one line: the first one of the log."""
    notes: tuple[str, ...] = ()
    """Further lines: which of two lock files decides and by what rule, which Node by which file."""
    root: str = ""
    """Where to work: asked for, or found where the top has no site."""
    install: str = ""
    install_at: str = ""
    """Where to install: a workspace's packages go to its top."""
    command: str = ""
    outputs: tuple[str, ...]
    """Directories to publish; the first one that the build has made. `""` is `root` itself."""
    declared: bool = False
    """The repository's own file names the output, so no other will do."""
    tools: tuple[Tool, ...] = ()
    """In the order in which they are to be provided."""
    environment: dict[str, str] = field(default_factory=dict)
    """What the framework wants; the repository's own variables win."""
    caches: tuple[str, ...] = ()
    """The framework's own cache folders."""
    locks: tuple[str, ...] = ()
    """Files that decide what an installation gives."""
    hint: str = ""
    """What to do when there is no output."""

    @property
    def builds(self) -> bool:
        """Whether anything is to be executed."""
        return bool(self.install or self.command)
