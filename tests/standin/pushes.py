"""Turn what a receive-pack changed into push events, as GitHub's post-receive does."""

from __future__ import annotations

import json
import time

from . import git
from .git import ZERO
from .hooks import Courier, Delivery
from .payload import commit_in_push, push_payload
from .shapes import Json, repository_in_push
from .state import Repository, World

MOST_BRANCHES = 5000
MOST_TAGS = 3


def shape_in_push(repository: Repository, world: World) -> Json:
    """The repository as a push event of this moment carries it."""
    override = repository.pushed_at_override
    return repository_in_push(
        repository.full_name,
        repository_id=repository.id,
        private=repository.private,
        default_branch=repository.default_branch,
        created_at=repository.created_at,
        pushed_at=repository.pushed_at if override is None else override,
        html=world.html_url,
        api=world.api_url,
    )


async def payload_of_push(
    world: World,
    repository: Repository,
    ref: str,
    before: str,
    after: str,
    *,
    earlier: dict[str, str] | None = None,
    sender: str = "octocat",
    pushed_at: int | None = None,
) -> Json:
    """The whole push event for one changed ref; `earlier` are the refs before the push."""
    bare = repository.bare
    page = f"{world.html_url}/{repository.full_name}"
    tip = None if after == ZERO else await git.commit_of(bare, after)
    old = None if before == ZERO else await git.commit_of(bare, before)
    commits: list[Json] = []
    head: Json | None = None
    forced = False
    base_ref = None
    if tip is not None:
        known = sorted(set((earlier or {}).values()) - {ZERO})
        if old is None:
            found = await git.log(bare, tip, "--not", *known) if known else await git.log(bare, tip)
        else:
            found = await git.log(bare, tip, f"^{old}")
            forced = not await git.is_ancestor(bare, old, tip)
        fresh = {each.sha for each in await git.log(bare, tip, "--not", *known)} if known else None
        commits = [
            commit_in_push(each, page=page, distinct=fresh is None or each.sha in fresh)
            for each in found
        ]
        last = (await git.log(bare, tip, count=1))[-1]
        head = commit_in_push(last, page=page, distinct=fresh is None or last.sha in fresh)
        same = [name for name, sha in (earlier or {}).items() if sha == tip and name != ref]
        base_ref = min(same, default=None) if old is None else None
    return push_payload(
        repository=shape_in_push(repository, world),
        ref=ref,
        before=before,
        after=after,
        commits=commits if tip is not None or after == ZERO else None,
        head_commit=head,
        forced=forced,
        base_ref=base_ref,
        pushed_at=pushed_at,
        sender=sender,
        html=world.html_url,
        api=world.api_url,
    )


def _changes(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str, str]]:
    changed = [
        (ref, before.get(ref, ZERO), after.get(ref, ZERO))
        for ref in sorted({*before, *after})
        if before.get(ref) != after.get(ref) and ref.startswith(("refs/heads/", "refs/tags/"))
    ]
    branches = [each for each in changed if each[0].startswith("refs/heads/")]
    tags = [each for each in changed if each[0].startswith("refs/tags/")]
    return [
        *(branches if len(branches) <= MOST_BRANCHES else []),
        *(tags if len(tags) <= MOST_TAGS else []),
    ]


async def announce(
    world: World,
    courier: Courier,
    repository: Repository,
    before: dict[str, str],
    after: dict[str, str],
    *,
    sender: str,
) -> list[Delivery]:
    """Send a push event for each ref that differs between the two listings."""
    sent = []
    changes = _changes(before, after)
    if changes:
        repository.pushed_at = int(time.time())
    for ref, old, new in changes:
        payload = await payload_of_push(
            world, repository, ref, old, new, earlier=before, sender=sender
        )
        body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
        prepared = courier.prepare("push", body, target=("repository", repository.id))
        delivery = await courier.deliver(prepared)
        if delivery is not None:
            sent.append(delivery)
    return sent
