"""Small builders of records, so that a test names only what it is about."""

from __future__ import annotations

import hashlib
import itertools
import secrets

from bot.core.deployment import Deployment, Push, Removal, Stage, Status
from bot.core.ledger import Answer, Ending, Ledger

_numbers = itertools.count(1)
ZERO = "0" * 40
START = 1_790_000_000


def commit(name: str) -> str:
    """A commit id that stands for `name`."""
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def a_push(
    after: str,
    *,
    before: str = ZERO,
    branch: str = "main",
    repository: str = "acme/site",
    repository_id: int = 7,
    at: int | None = None,
    guid: str = "",
    body: str = "",
    default_branch: str = "main",
) -> Push:
    """A verified push. `after` and `before` name commits; `at` is its second since START."""
    number = next(_numbers)
    return Push(
        guid=guid or secrets.token_hex(8),
        body_sha256=hashlib.sha256((body or secrets.token_hex(8)).encode()).hexdigest(),
        repository=repository,
        repository_id=repository_id,
        private=False,
        default_branch=default_branch,
        ref=f"refs/heads/{branch}",
        before=before if before == ZERO else commit(before),
        after=commit(after),
        pushed_at=START + (number if at is None else at),
        message=f"commit {after}",
        author="Ada",
    )


def a_removal(branch: str, *, before: str, at: int, repository_id: int = 7) -> Removal:
    """A verified deletion of a branch."""
    return Removal(
        guid=secrets.token_hex(8),
        body_sha256=secrets.token_hex(32),
        repository="acme/site",
        repository_id=repository_id,
        ref=f"refs/heads/{branch}",
        before=commit(before),
        pushed_at=START + at,
    )


async def claimed(ledger: Ledger, id_: str, stage: Stage) -> Deployment:
    """Claims `id_`; fails the test when it is not to be had."""
    found = await ledger.claims.claim(id_, stage)
    assert found.deployment is not None, f"{id_} is {found.why}"
    return found.deployment


async def queued(ledger: Ledger, answer: Answer) -> Deployment:
    """Takes a recorded deployment through the fetching stage."""
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    return await ledger.claims.advance(held, Status.QUEUED, source="sources/7/x.tar.zst")


async def built(
    ledger: Ledger, answer: Answer, *, status: Status = Status.READY, reason: str = ""
) -> Deployment:
    """Takes a recorded deployment through both stages to its end."""
    await queued(ledger, answer)
    return await finished(ledger, answer.deployment, status=status, reason=reason)


async def finished(
    ledger: Ledger, id_: str, *, status: Status = Status.READY, reason: str = ""
) -> Deployment:
    """Builds a queued deployment and ends it as `status`."""
    held = await claimed(ledger, id_, Stage.BUILD)
    if status is Status.READY:
        held = await ledger.claims.advance(held, Status.PUBLISHING)
    ending = Ending(status=status, release=f"releases/7/{id_}-{held.claim}.json", reason=reason)
    return await ledger.claims.finish(held, ending)
