"""The .git of an archive: the smallest in which `git log`, `describe` and `status` work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bot.source import tree
from bot.source.command import Commands
from bot.source.reading import output, stdin_of
from bot.source.tree import Entry

if TYPE_CHECKING:
    from bot.source import Fetched

_CONFIG: Final = (
    b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
    b"\tlogallrefupdates = false\n"
)
_ATTRIBUTES: Final = b"* -text -ident -filter !working-tree-encoding\n"
"""Files lie there as the repository has them, so that nothing about them is converted back."""
_FOLDERS: Final = (
    "", "objects/", "objects/info/", "objects/pack/", "refs/", "refs/heads/", "refs/tags/", "info/",
)  # fmt: skip


async def written(
    commands: Commands,
    fetched: Fetched,
    entries: list[Entry],
    folder: Path,
    *,
    timeout_seconds: float,
) -> dict[str, bytes | Path | None]:
    """Path -> contents of each of its files; a `Path` lies in `folder`, None is a directory.

    A commit alone goes without its files' contents, which lie in the work tree. No fetch may
    change the mirror meanwhile, where it holds some history and not all.
    """
    commit, mirror = fetched.commit, fetched.mirror
    if fetched.depth == 1:
        wanted, how = tree.skeleton(commit, fetched.tree, entries), "--window=0"
        shallow = f"{commit}\n".encode() if fetched.parents else b""
    else:
        wanted, how = f"{commit}\n", "--revs"
        shallow = await asyncio.to_thread(_shallow, mirror)
    # A fetch beside us clears away what lies half done among the mirror's packs.
    scratch = folder / "objects"
    scratch.mkdir()
    with stdin_of(wanted) as stdin:
        await output(
            commands, "pack-objects", "--quiet", "--delta-base-offset", how, f"{folder}/pack",
            mirror=mirror, timeout_seconds=timeout_seconds, stdin=stdin, scratch=scratch,
        )  # fmt: skip
    return {
        **{f".git/{name}": None for name in _FOLDERS},
        **await asyncio.to_thread(_packs, folder),
        ".git/HEAD": f"{commit}\n".encode(),
        ".git/config": _CONFIG,
        ".git/info/attributes": _ATTRIBUTES,
        **({".git/shallow": shallow} if shallow else {}),
        ".git/index": await asyncio.to_thread(tree.index, entries),
    }


def _shallow(mirror: Path) -> bytes:
    """Where the mirror's history ends; empty when it is whole."""
    path = mirror / "shallow"
    return path.read_bytes() if path.exists() else b""


def _packs(folder: Path) -> Mapping[str, Path]:
    return {
        f".git/objects/pack/{path.name}": path
        for path in sorted(folder.iterdir())
        if path.suffix in (".pack", ".idx")
    }
