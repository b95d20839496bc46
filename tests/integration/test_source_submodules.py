"""Submodules are sources of their own: each by its exact commit, from our host, or refused."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed
from bot.source import Options, Origin
from tests.onlookers import pushed
from tests.sources import Quarry, a_quarry, said, token_of
from tests.standin import StandIn, Worktree
from tests.standin.certificates import make_certificates


def link(tree: Worktree, path: str, sha: str, url: str = "") -> None:
    """Puts a submodule into the working copy, to be committed; without a URL it has no entry."""
    (tree.path / path).mkdir(parents=True)
    tree.git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")
    if url:
        for name, value in (("path", path), ("url", url)):
            tree.git("config", "--file", ".gitmodules", f"submodule.{path}.{name}", value)


def anything(repository: str) -> bool:
    """Every repository may be opened."""
    return bool(repository)


async def built(quarry: Quarry, tree: Worktree) -> Path:
    """Commits and pushes what lies there, and lays its archive out."""
    sha = tree.commit("With submodules")
    tree.push()
    return await quarry.laid_out((await quarry.archived(sha))[1])


async def refusal(quarry: Quarry, tree: Worktree) -> BuildFailed:
    """The error that archiving ends with."""
    sha = tree.commit("With submodules")
    tree.push()
    with pytest.raises(BuildFailed) as caught:
        await quarry.archived(sha)
    assert await quarry.bucket.list("") == []
    return caught.value


async def test_submodules_are_laid_in_by_their_exact_commits_also_nested(
    quarry: Quarry, tmp_path: Path
) -> None:
    deep, deep_sha = pushed(quarry.github, tmp_path, "octo/deep")
    middle, _ = pushed(quarry.github, tmp_path, "other/middle")
    link(middle, "vendor/deep", deep_sha, "../../octo/deep.git")
    middle_sha = middle.commit("Pinned")
    middle.push()
    for tree in (deep, middle):
        tree.write({"index.html": "newer"})
        tree.commit("Newer")
        tree.push()
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "lib/middle", middle_sha, f"{quarry.github.url}/other/middle.git")
    link(top, "deep", deep_sha, "../deep")
    place = await built(quarry, top)
    for path in ("lib/middle", "lib/middle/vendor/deep", "deep"):
        assert (place / path / "index.html").read_text() == "<h1>Hi</h1>", path
        assert (place / path / "docs/a.md").read_text() == "a"
    assert said(place, "status", "--porcelain") == ""
    assert said(place, "rev-parse", "HEAD:deep") == deep_sha
    assert [path for path in place.rglob(".git") if path.parent != place] == []


async def test_a_whole_history_has_its_submodules_too(quarry: Quarry, tmp_path: Path) -> None:
    _, sha = pushed(quarry.github, tmp_path, "octo/lib")
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "lib", sha, "../lib.git")
    head = top.commit("With a submodule")
    top.push()
    place = await quarry.laid_out((await quarry.archived(head, depth=0))[1])
    assert (place / "lib/index.html").exists()
    assert said(place, "rev-list", "--count", "HEAD") == "2"
    assert said(place, "status", "--porcelain") == ""


async def test_ssh_urls_of_the_same_host_are_fetched_by_our_own_way(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path, "octo/lib")
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "a", sha, "git@127.0.0.1:octo/lib.git")
    link(top, "b", sha, "ssh://git@127.0.0.1/octo/lib")
    place = await built(quarry, top)
    assert (place / "a/index.html").exists()
    assert (place / "b/index.html").exists()


async def test_submodules_come_over_https_by_a_private_ca(bucket: Bucket, tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls", ["127.0.0.1"])
    environment = {"PATH": os.environ["PATH"], "SSL_CERT_FILE": str(made.ca)}
    async with (
        StandIn(tmp_path / "github", tls=made.tls) as github,
        a_quarry(github, bucket, tmp_path, environment=environment) as quarry,
    ):
        shas: dict[str, str] = {}
        for name in ("octo/lib", "octo/site"):
            github.create_repository(name)
            tree = Worktree(tmp_path / name, github.clone_url(name), ca=made.ca)
            tree.write({"index.html": name})
            if name == "octo/site":
                link(tree, "lib", shas["octo/lib"], f"https://127.0.0.1:{github.port}/octo/lib.git")
            shas[name] = tree.commit("First")
            tree.push()
        place = await quarry.laid_out((await quarry.archived(shas["octo/site"]))[1])
        assert (place / "lib/index.html").read_text() == "octo/lib"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://gitlab.com/octo/lib.git", "only 127.0.0.1 is fetched from"),
        ("http://127.0.0.1:9/octo/lib.git", "only 127.0.0.1 is fetched from"),
        ("file:///etc", "only https"),
        ("/etc", "only https"),
        ("ext::touch%20pwn", "URL that is none"),
        ("../../../../etc", "no owner/name"),
    ],
)
async def test_a_submodule_from_anywhere_else_is_refused_by_name(
    quarry: Quarry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    top, sha = pushed(quarry.github, tmp_path)
    link(top, "lib", sha, url)
    error = await refusal(quarry, top)
    assert error.code == "submodule_refused"
    assert "'lib'" in error.message
    assert words in error.message
    assert "submodules = false" in error.message
    assert list(tmp_path.rglob("pwn*")) == []


@pytest.mark.parametrize("url", ["-u./payload", "--upload-pack=touch${IFS}pwn"])
async def test_a_url_that_is_an_option_is_refused_by_git_itself(
    quarry: Quarry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    top, sha = pushed(quarry.github, tmp_path)
    link(top, "lib", sha, url)
    assert (await refusal(quarry, top)).code == "source_refused"
    assert list(tmp_path.rglob("pwn*")) == []


async def test_a_path_of_gitmodules_that_is_no_submodule_is_nothing_to_us(
    quarry: Quarry, tmp_path: Path
) -> None:
    top, _ = pushed(quarry.github, tmp_path)
    for name, path in {"a": "docs", "b": "../outside", "c": "/etc", "d": ".git/hooks"}.items():
        top.git("config", "--file", ".gitmodules", f"submodule.{name}.path", path)
        top.git("config", "--file", ".gitmodules", f"submodule.{name}.url", "https://evil.example/")
    assert (await built(quarry, top) / "docs/a.md").read_text() == "a"


async def test_a_submodule_without_a_url_is_left_empty_and_said_so(
    quarry: Quarry, tmp_path: Path
) -> None:
    top, first = pushed(quarry.github, tmp_path)
    link(top, "lost", first)
    sha = top.commit("Lost")
    top.push()
    _, archive = await quarry.archived(sha)
    assert archive.notes == ("lost: a submodule without a URL in .gitmodules, left empty",)
    assert list((await quarry.laid_out(archive) / "lost").iterdir()) == []


async def test_submodules_that_are_not_wanted_are_left_empty(
    quarry: Quarry, tmp_path: Path
) -> None:
    top, first = pushed(quarry.github, tmp_path)
    link(top, "lib", first, "https://evil.example/x/y.git")
    sha = top.commit("Unwanted")
    top.push()
    fetched = await quarry.sources.fetch(quarry.origin(), sha)
    archive = await quarry.sources.archive(fetched, options=Options(submodules=False))
    place = await quarry.laid_out(archive)
    assert list((place / "lib").iterdir()) == []
    assert said(place, "status", "--porcelain") == ""


async def test_a_gitmodules_that_cannot_be_read_is_the_repositorys_fault(
    quarry: Quarry, tmp_path: Path
) -> None:
    top, first = pushed(quarry.github, tmp_path)
    link(top, "lib", first)
    top.write({".gitmodules": "[submodule"})
    error = await refusal(quarry, top)
    assert error.code == "submodule_refused"
    assert "mend it" in error.message


async def test_a_submodules_commit_that_is_not_there_is_told_with_its_path(
    quarry: Quarry, tmp_path: Path
) -> None:
    pushed(quarry.github, tmp_path, "octo/lib")
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "lib", "a" * 40, "../lib.git")
    error = await refusal(quarry, top)
    assert error.code == "commit_not_found"
    assert error.message.startswith("submodule lib: ")


async def test_our_token_opens_submodules_of_the_same_owner_only(
    quarry: Quarry, tmp_path: Path
) -> None:
    token = quarry.github.token
    shas = {}
    for name in ("octo/lib", "other/lib"):
        quarry.github.create_repository(name, private=True)
        tree = Worktree(tmp_path / name, quarry.github.clone_url(name), token=token)
        tree.write({"index.html": name})
        shas[name] = tree.commit("First")
        tree.push()
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "ours", shas["octo/lib"], "../lib.git")
    ours = top.commit("Ours")
    link(top, "theirs", shas["other/lib"], "../../other/lib.git")
    both = top.commit("Both")
    top.push()
    origin: Origin = quarry.origin(token=partial(token_of, value=token), opens=anything)
    archive = await quarry.sources.archive(await quarry.sources.fetch(origin, ours))
    assert (await quarry.laid_out(archive) / "ours/index.html").read_text() == "octo/lib"
    fetched = await quarry.sources.fetch(origin, both)
    with pytest.raises(BuildFailed, match="submodule theirs") as caught:
        await quarry.sources.archive(fetched)
    assert caught.value.code == "repository_not_found"


async def test_a_submodule_that_is_not_opened_is_fetched_as_by_anybody(
    quarry: Quarry, tmp_path: Path
) -> None:
    token = quarry.github.token
    _, public = pushed(quarry.github, tmp_path, "octo/lib")
    quarry.github.create_repository("octo/secret", private=True)
    secret = Worktree(tmp_path / "secret", quarry.github.clone_url("octo/secret"), token=token)
    secret.write({"index.html": "secret"})
    hidden = secret.commit("First")
    secret.push()
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "lib", public, "../lib.git")
    first = top.commit("Public")
    link(top, "spy", hidden, "../secret.git")
    second = top.commit("Private")
    top.push()
    send = partial(token_of, value=token)
    # What was opened once lies in a mirror; nobody else is served from it.
    everything = quarry.origin(token=send, opens=anything)
    await quarry.sources.archive(await quarry.sources.fetch(everything, second))
    for name in await quarry.bucket.list(""):
        await quarry.bucket.delete(name)
    origin = quarry.origin(token=send)
    archive = await quarry.sources.archive(await quarry.sources.fetch(origin, first))
    assert (await quarry.laid_out(archive) / "lib/index.html").exists()
    fetched = await quarry.sources.fetch(origin, second)
    with pytest.raises(BuildFailed, match="submodule spy: octo/secret") as caught:
        await quarry.sources.archive(fetched)
    assert caught.value.code == "repository_not_found"
    assert "PUSHLANE_REPOS: add it there" in caught.value.message


async def test_submodules_are_followed_five_deep_and_no_further(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path, "octo/level0")
    shas = [sha]
    for number in range(1, 6):
        tree, _ = pushed(quarry.github, tmp_path, f"octo/level{number}")
        link(tree, "below", shas[-1], f"../level{number - 1}.git")
        shas.append(tree.commit("Nested"))
        tree.push()
    top, _ = pushed(quarry.github, tmp_path)
    link(top, "five", shas[4], "../level4.git")
    place = await built(quarry, top)
    assert (place / "five/below/below/below/below/index.html").exists()
    link(top, "six", shas[5], "../level5.git")
    sha = top.commit("Too deep")
    top.push()
    with pytest.raises(BuildFailed, match="nested deeper") as caught:
        await quarry.archived(sha)
    assert caught.value.code == "submodule_refused"


async def test_a_tree_with_more_submodules_than_we_take_is_refused(
    quarry: Quarry, tmp_path: Path
) -> None:
    top, sha = pushed(quarry.github, tmp_path)
    for number in range(101):
        link(top, f"lib{number}", sha)
    error = await refusal(quarry, top)
    assert error.code == "submodule_refused"
    assert "100 submodules" in error.message
