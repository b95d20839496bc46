"""The branches of a repository, as git tells them in one question."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.errors import BuildFailed, Errored
from bot.source import Origin
from tests.onlookers import pushed
from tests.sources import Quarry, token_of


async def test_every_branch_is_named_with_its_commit_and_no_tag(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    tree.tag("v1", message="one")
    tree.push("refs/tags/v1", source="refs/tags/v1")
    tree.switch("fix/ü--output=pwn")
    second = tree.commit("Second")
    tree.push("fix/ü--output=pwn")
    assert await quarry.sources.heads(quarry.origin()) == {
        "refs/heads/main": first,
        "refs/heads/fix/ü--output=pwn": second,
    }


async def test_of_a_private_repository_they_are_told_for_a_token(
    quarry: Quarry, tmp_path: Path
) -> None:
    pushed(quarry.github, tmp_path)
    quarry.github.repository("octo/site").private = True
    with pytest.raises(BuildFailed, match="cannot be read"):
        await quarry.sources.heads(quarry.origin())

    async def token(repository: str) -> str | None:
        return await token_of(repository, value=quarry.github.token)

    assert await quarry.sources.heads(quarry.origin(token=token))


async def test_a_repository_without_a_branch_is_an_error_and_not_one_without_news(
    quarry: Quarry,
) -> None:
    quarry.github.create_repository("octo/site")
    with pytest.raises(BuildFailed) as caught:
        await quarry.sources.heads(quarry.origin())
    assert caught.value.code == "repository_empty"


async def test_a_repository_that_was_renamed_is_told_apart_from_a_github_that_is_away(
    quarry: Quarry, tmp_path: Path
) -> None:
    pushed(quarry.github, tmp_path)
    origin = quarry.origin()
    quarry.github.world.rename("octo/site", "octo/other")
    with pytest.raises(BuildFailed) as moved:
        await quarry.sources.heads(origin)
    assert moved.value.code in ("repository_moved", "repository_not_found")
    away = Origin(base_url="http://127.0.0.1:1", repository="octo/site", key="7")
    with pytest.raises(Errored) as unreachable:
        await quarry.sources.heads(away)
    assert unreachable.value.code == "github_unreachable"
