"""The command that makes room: `gc`."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bot.cli.answers import Round, Share, read
from bot.cli.connect import connect
from bot.cli.failures import ExitCode
from bot.cli.options import AsJson
from bot.cli.output import plain, put, put_json, put_table, say
from bot.wording import size_in_words

_SECONDS: Final = 900.0
"""A round goes on for as long as it takes, so that it is in nobody's way."""
_WORDS: Final = ("kept", "condemned", "waiting", "deleted", "unknown")


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, by name.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make room in the bucket: what no alias, branch or retention keeps.

    Kept is what production or a branch shows, everything of the last 14 days, the last 20 releases
    of production and the last 3 of each branch.

    What else there is one round CONDEMNED; it is WAITING for an hour and a build's longest time,
    and then DELETED. UNKNOWN is what the bucket holds of deployments that this Redis does not know:
    it stays. Uploads that somebody began and abandoned are ended. The server makes a round each
    day by itself.
    """
    with connect() as server:
        answer = server.post(f"/gc{'?dry_run=1' if dry_run else ''}", seconds=_SECONDS)
    found = read(Round, answer)
    if as_json:
        put_json(answer)
    else:
        _put(found)
    if found.stopped:
        raise typer.Exit(ExitCode.FAILED)


def _put(found: Round) -> None:
    shares: list[dict[str, Share]] = [getattr(found, word) for word in _WORDS]
    kinds = dict.fromkeys(kind for each in shares for kind in each)
    rows = [[plain(kind), *(_words(each.get(kind)) for each in shares)] for kind in kinds]
    if rows:
        put_table(("KIND", *(word.upper() for word in _WORDS)), rows)
    else:
        say("nothing is stored yet")
    for word, each in zip(_WORDS, shares, strict=True):
        if word in ("condemned", "deleted"):
            for share in each.values():
                for name in share.names:
                    put(f"{word}  {plain(name)}")
                if share.names and len(share.names) < share.count:
                    put(f"{word}  … and {share.count - len(share.names):,} more")
    if found.uploads:
        many = f"{found.uploads:,} abandoned upload{'' if found.uploads == 1 else 's'}"
        say(f"{many} {'would be ' if found.dry_run else ''}ended")
    if found.dry_run:
        say("nothing was changed")
    if found.stopped:
        say(f"stopped: {plain(found.stopped)}; the next round goes on")
    elif not found.complete:
        say("there is more: the next round goes on")


def _words(share: Share | None) -> str:
    return f"{share.count:,}, {size_in_words(share.bytes)}" if share and share.count else "-"
