"""What a person may ask to be fetched: nothing, a branch, a tag, a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.deployment import Status
from tests.conftest import S3
from tests.standin import Worktree
from tests.yard import Yard, a_yard

PAGE = "<!doctype html><title>Hi</title>"
FETCHES = r"^/acme/site\.git/"


@pytest.fixture
async def yard(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Yard]:
    async with a_yard(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_nothing_is_the_default_branch_whatever_it_is_called(yard: Yard) -> None:
    yard.github.create_repository("acme/other", default_branch="trunk")
    tree = Worktree(yard.tree.path / "other", yard.github.clone_url("acme/other"),
                    token=yard.github.token)  # fmt: skip
    tree.write({"index.html": PAGE})
    tree.commit("First words")
    yard.github.hook.enabled = False
    await asyncio.to_thread(tree.push, "trunk")
    found = await yard.fetch(await yard.ask("acme/other"))
    assert (found.status, found.ref) == (Status.QUEUED, "refs/heads/trunk")
    assert (found.commit, found.message) == (tree.head(), "First words")
    assert (found.production, found.author) == (True, "Ada Example")
    project = await yard.door.ledger.view.project("acme/other")
    assert project is not None
    assert project.production_branch == "trunk"


@pytest.mark.parametrize("annotation", [None, "A release"])
async def test_a_tags_short_name_is_the_tag(yard: Yard, annotation: str | None) -> None:
    await yard.push({"index.html": PAGE})
    sha = yard.tree.head()
    yard.tree.tag("v1.0", message=annotation)
    await asyncio.to_thread(yard.tree.push, "refs/tags/v1.0", source="refs/tags/v1.0")
    await yard.push({"index.html": "2"})
    found = await yard.fetch(await yard.ask(ref="v1.0"))
    assert (found.status, found.ref) == (Status.QUEUED, "refs/tags/v1.0")
    assert (found.commit, found.production) == (sha, False)


async def test_a_branch_goes_before_a_tag_of_its_name(yard: Yard) -> None:
    await yard.push({"index.html": PAGE})
    yard.tree.tag("v1")
    await asyncio.to_thread(yard.tree.push, "refs/tags/v1", source="refs/tags/v1")
    await yard.push({"index.html": "2"}, branch="v1")
    found = await yard.fetch(await yard.ask(ref="v1"))
    assert (found.ref, found.commit) == ("refs/heads/v1", yard.tree.head())


async def test_a_sha_is_that_commit(yard: Yard) -> None:
    await yard.push({"index.html": PAGE})
    sha = yard.tree.head()
    await yard.push({"index.html": "2"})
    found = await yard.fetch(await yard.ask(ref=sha))
    assert (found.status, found.commit, found.ref) == (Status.QUEUED, sha, sha)


@pytest.mark.parametrize("branch", ["--output=pwn", "-x", "a/😀", "$(touch${IFS}pwn)", "a'b"])
async def test_a_branch_of_any_name_is_fetched_and_is_never_an_option(
    yard: Yard, branch: str
) -> None:
    found = await yard.fetch(await yard.push({"index.html": PAGE}, branch=branch))
    assert (found.status, found.branch) == (Status.QUEUED, branch)
    asked = await yard.fetch(await yard.ask(ref=branch))
    assert (asked.status, asked.commit) == (Status.QUEUED, found.commit)
    assert not [*yard.mirrors.rglob("pwn"), *Path().glob("pwn")]
