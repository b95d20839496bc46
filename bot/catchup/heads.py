"""What GitHub's heads say that no delivery has told. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from bot.core.ledger import Head, Heads
from bot.core.ledger.rounds import NO_COMMIT

GRACE_SECONDS: Final = 30.0
"""So long after a delivery GitHub's git may still show what was before it: its servers lag."""


@dataclass(frozen=True, slots=True)
class Missed:
    """A push that was not delivered."""

    ref: str
    commit: str
    known: Head | None
    """What the ledger knew of the ref's head; None when it knew no such branch."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A deletion that was not delivered."""

    ref: str
    known: Head


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What two pictures of a repository's heads differ in."""

    missed: tuple[Missed, ...] = ()
    gone: tuple[Gone, ...] = ()
    noted: Mapping[str, str]
    """ref -> commit of branches that were there before us, and are not to be built."""
    forgotten: Mapping[str, str]
    """ref -> entry of branches that are gone, of which nothing is left to take down."""
    unsure: bool = False
    """Something may be seen through a server that lags: look again after `GRACE_SECONDS`."""


def news(found: Mapping[str, str], known: Mapping[str, Head]) -> frozenset[str]:
    """The commits of heads that are not as the ledger knows them."""
    return frozenset(
        commit for ref, commit in found.items() if ref not in known or known[ref].commit != commit
    )


def differ(found: Mapping[str, str], known: Mapping[str, Head]) -> bool:
    """Whether anything is not as the ledger knows it."""
    return bool(news(found, known)) or any(ref not in found for ref in known)


def compare(
    found: Mapping[str, str],
    heads: Heads,
    *,
    seen: Collection[str],
    first: bool,
    grace_seconds: float = GRACE_SECONDS,
) -> Findings:
    """What GitHub's heads (ref -> commit) say beyond what the ledger knew before they were read.

    `seen` are commits that the project has had a deployment of. At the `first` look of a project
    the branches that no delivery has told of are only noted: they were there before us.
    """

    def is_settled(head: Head) -> bool:
        return heads.now - head.at >= grace_seconds * 1000

    known = heads.known
    missed: list[Missed] = []
    unsure = False
    for ref, commit in found.items():
        head = known.get(ref)
        if head is None:
            if not first:
                missed.append(Missed(ref, commit, None))
        elif head.commit != commit:
            # A commit that nobody has told of cannot be what was before.
            if is_settled(head) or (head.seq and commit not in seen):
                missed.append(Missed(ref, commit, head))
            else:
                unsure = True
    absent = {ref: head for ref, head in known.items() if ref not in found}
    settled = {ref: head for ref, head in absent.items() if is_settled(head)}
    return Findings(
        missed=tuple(missed),
        gone=tuple(Gone(ref, head) for ref, head in settled.items() if _stands(head)),
        noted=dict(_unknown(found, known)) if first else {},
        forgotten={ref: head.entry for ref, head in settled.items() if not _stands(head)},
        unsure=unsure or len(settled) < len(absent),
    )


def _stands(head: Head) -> bool:
    """Whether there may be an alias, or a build, to take down."""
    return bool(head.seq) and head.commit != NO_COMMIT


def _unknown(found: Mapping[str, str], known: Mapping[str, Head]) -> Iterator[tuple[str, str]]:
    return ((ref, commit) for ref, commit in found.items() if ref not in known)
