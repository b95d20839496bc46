"""Exact commits come from GitHub into mirrors, and every way in which they do not has its word."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from bot.source import Origin
from tests.onlookers import pushed
from tests.sources import Quarry, a_quarry, said, slowly, token_of
from tests.standin import StandIn, Worktree
from worker.sandbox import processes

BRANCH = "refs/heads/main"


def packs(mirror: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (mirror / "objects/pack").glob("*.pack")}


def working_in(directory: Path) -> list[str]:
    """The command lines of all processes that name the directory."""
    found = []
    for pid in processes.ids():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(directory) in line:
            found.append(line.decode(errors="replace"))
    return found


async def test_the_exact_commit_is_fetched_whatever_came_after(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    tree.write({"index.html": "second"})
    second = tree.commit("Second\n\nwith a body")
    tree.push()
    tree.write({"index.html": "third"})
    tree.commit("Third")
    tree.push()
    fetched = await quarry.sources.fetch(quarry.origin(), second)
    assert (fetched.commit, fetched.message) == (second, "Second\n\nwith a body")
    assert (fetched.author, fetched.parents) == ("Ada Example", 1)
    assert fetched.committed_at == int(tree.git("log", "-1", "--format=%ct", second))
    assert await quarry.sources.read(fetched, "index.html") == [b"second"]


async def test_a_warm_mirror_asks_nobody_for_a_commit_that_it_has(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    first = await quarry.sources.fetch(quarry.origin(), sha)
    down = quarry.github.faults.add("*", "", 500, times=None)
    assert await quarry.sources.fetch(quarry.origin(), sha) == first
    assert down.hits == 0


async def test_of_the_next_commit_only_what_is_new_is_fetched(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    tree.write({"noise": os.urandom(2_000_000)})
    first = tree.commit("Noise")
    tree.push()
    await quarry.sources.fetch(quarry.origin(), first)
    before = packs(quarry.mirror())
    tree.write({"index.html": "changed"})
    second = tree.commit("Second")
    tree.push()
    await quarry.sources.fetch(quarry.origin(), second)
    new = {name: size for name, size in packs(quarry.mirror()).items() if name not in before}
    assert sum(before.values()) > 2_000_000
    assert 0 < sum(new.values()) < 10_000


async def test_a_commit_that_is_not_served_at_first_is_asked_for_again(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    quarry.github.faults.hide_commit(sha, requests=3)
    assert (await quarry.sources.fetch(quarry.origin(), sha)).commit == sha
    assert not quarry.github.faults.hiding


async def test_a_commit_that_is_not_served_by_its_sha_comes_by_its_ref(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, sha = pushed(quarry.github, tmp_path)
    tree.commit("Newer")
    tree.push()
    # Each attempt by sha and the one by ref count; only the last of them is served.
    quarry.github.faults.hide_commit(sha, requests=4)
    fetched = await quarry.sources.fetch(quarry.origin(), sha, ref=BRANCH)
    assert fetched.commit == sha
    assert said(quarry.mirror(), "log", "-1", "--format=%s", sha) == "First"


@pytest.mark.parametrize("ref", ["", BRANCH, "refs/heads/none"])
async def test_a_commit_that_is_never_served_is_not_found(
    quarry: Quarry, tmp_path: Path, ref: str
) -> None:
    pushed(quarry.github, tmp_path)
    with pytest.raises(BuildFailed, match="forced push") as caught:
        await quarry.sources.fetch(quarry.origin(), "a" * 40, ref=ref)
    assert caught.value.code == "commit_not_found"
    assert not caught.value.retryable


@pytest.mark.parametrize("commit", ["", "main", "--upload-pack=x", "A" * 40, "a" * 39])
async def test_what_is_no_commit_id_never_reaches_git(quarry: Quarry, commit: str) -> None:
    quarry.github.create_repository("octo/site")
    with pytest.raises(BuildFailed) as caught:
        await quarry.sources.fetch(quarry.origin(), commit)
    assert caught.value.code == "commit_invalid"
    assert not quarry.mirrors.exists()


async def test_a_repository_that_is_gone_or_private_is_not_found(
    quarry: Quarry, tmp_path: Path
) -> None:
    quarry.github.create_repository("octo/secret", private=True)
    tree = Worktree(
        tmp_path / "s", quarry.github.clone_url("octo/secret"), token=quarry.github.token
    )
    sha = tree.commit("First")
    tree.push()
    blind = quarry.github.access.allow(scopes=["repo:status"])
    for origin in (
        quarry.origin("octo/none"),
        quarry.origin("octo/secret"),
        quarry.origin("octo/secret", token=partial(token_of, value="nonsense")),
        quarry.origin("octo/secret", token=partial(token_of, value=blind)),
        quarry.origin("octo/none", token=partial(token_of, value=quarry.github.token)),
    ):
        for asked in (quarry.sources.fetch(origin, sha), quarry.sources.resolve(origin, "HEAD")):
            with pytest.raises(BuildFailed) as caught:
                await asked
            assert caught.value.code == "repository_not_found"
    seeing = quarry.origin("octo/secret", token=partial(token_of, value=quarry.github.token))
    assert (await quarry.sources.fetch(seeing, sha)).commit == sha


async def test_an_empty_repository_is_empty(quarry: Quarry) -> None:
    quarry.github.create_repository("octo/site")
    for asked in (
        quarry.sources.fetch(quarry.origin(), "a" * 40),
        quarry.sources.resolve(quarry.origin(), "HEAD"),
        quarry.sources.resolve(quarry.origin(), BRANCH),
    ):
        with pytest.raises(BuildFailed, match="push a first commit") as caught:
            await asked
        assert caught.value.code == "repository_empty"


async def test_a_repository_that_was_renamed_is_not_followed(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    origin = quarry.origin()
    quarry.github.world.rename("octo/site", "octo/renamed")
    for asked in (quarry.sources.fetch(origin, sha), quarry.sources.resolve(origin, "HEAD")):
        with pytest.raises(BuildFailed) as caught:
            await asked
        assert caught.value.code == "repository_moved"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "github_unreachable"),
        (502, "github_unreachable"),
        (503, "github_unreachable"),
        (403, "github_refused"),
        (429, "github_refused"),
    ],
)
async def test_a_failing_github_is_no_fault_of_the_repository(
    quarry: Quarry, tmp_path: Path, status: int, code: str
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    quarry.github.faults.add("*", r"info/refs|upload-pack", status, times=2)
    for asked in (
        quarry.sources.fetch(quarry.origin(), sha),
        quarry.sources.resolve(quarry.origin(), "HEAD"),
    ):
        with pytest.raises(Errored) as caught:
            await asked
        assert caught.value.code == code
        assert caught.value.retryable
    assert (await quarry.sources.fetch(quarry.origin(), sha)).commit == sha


async def test_a_connection_that_breaks_off_is_github_unreachable(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    for path in ("info/refs", "upload-pack$"):
        # More than once: curl itself asks again where a kept connection turns out to be dead.
        quarry.github.faults.add("*", path, drop_connection=True, times=5)
        with pytest.raises(Errored) as caught:
            await quarry.sources.fetch(quarry.origin(), sha)
        assert caught.value.code == "github_unreachable"
        quarry.github.faults.clear()
    nowhere = Origin(base_url="http://127.0.0.1:1", repository="octo/site", key="1")
    with pytest.raises(Errored) as caught:
        await quarry.sources.fetch(nowhere, sha)
    assert caught.value.code == "github_unreachable"


async def test_a_fetch_that_hangs_is_ended_with_all_its_processes(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    github.faults.add("*", "upload-pack$", hang=True)
    async with a_quarry(github, bucket, tmp_path, timeout_seconds=1) as quarry:
        with pytest.raises(Errored) as caught:
            await quarry.sources.fetch(quarry.origin(), sha)
        assert caught.value.code == "fetch_timeout"
        assert working_in(quarry.mirrors) == []
        assert (await quarry.sources.fetch(quarry.origin(), sha)).commit == sha


async def test_a_cancelled_fetch_leaves_no_process(quarry: Quarry, tmp_path: Path) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    hanging = quarry.github.faults.add("*", "upload-pack$", hang=True)
    fetching = asyncio.create_task(quarry.sources.fetch(quarry.origin(), sha))
    async with asyncio.timeout(20):
        while not hanging.hits:
            await asyncio.sleep(0.01)
        assert working_in(quarry.mirrors)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    assert working_in(quarry.mirrors) == []
    assert (await quarry.sources.fetch(quarry.origin(), sha)).commit == sha


async def test_a_fetch_that_waits_for_its_turn_is_called_off_at_once(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    shas = {name: pushed(github, tmp_path, name)[1] for name in ("octo/a", "octo/b", "octo/site")}
    hanging = github.faults.add("*", "upload-pack$", hang=True, times=None)
    async with a_quarry(github, bucket, tmp_path, concurrency=1) as quarry:
        fetching = [
            asyncio.create_task(quarry.sources.fetch(quarry.origin(name), sha))
            for name, sha in shas.items()
        ]
        async with asyncio.timeout(20):
            while hanging.hits < 2:
                await asyncio.sleep(0.01)
            fetching[-1].cancel()
            await asyncio.wait([fetching[-1]], timeout=1)
        assert fetching[-1].cancelled()
        for each in fetching:
            each.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        assert working_in(quarry.mirrors) == []


async def test_many_fetches_into_one_mirror_at_once_all_come_to_their_end(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    shas = [first, *(tree.commit(str(number)) for number in range(5))]
    tree.push()
    # Two bots on one directory, as after a deployment of ours.
    async with (
        a_quarry(github, bucket, tmp_path) as one,
        a_quarry(github, bucket, tmp_path) as other,
    ):
        asked = [
            quarry.sources.fetch(quarry.origin(), sha) for sha in shas for quarry in (one, other)
        ]
        found = await asyncio.gather(*asked)
    assert [fetched.commit for fetched in found] == [sha for sha in shas for _ in range(2)]


async def test_a_forced_push_back_brings_the_older_commit_again(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    tree.write({"index.html": "second"})
    second = tree.commit("Second")
    tree.push()
    for sha in (first, second):
        await quarry.sources.fetch(quarry.origin(), sha)
    tree.reset(first)
    tree.push(force=True)
    back = await quarry.sources.fetch(quarry.origin(), first)
    assert await quarry.sources.read(back, "index.html") == [b"<h1>Hi</h1>"]
    # What no ref names any more can be asked for yet, into a cold mirror too.
    async with a_quarry(quarry.github, quarry.bucket, tmp_path / "cold") as cold:
        lost = await cold.sources.fetch(cold.origin(), second)
        assert await cold.sources.read(lost, "index.html") == [b"second"]


async def test_a_source_over_its_cap_is_refused_while_it_comes(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    tree, small = pushed(github, tmp_path)
    tree.write({"noise": os.urandom(30_000_000)})
    large = tree.commit("Noise")
    tree.push()
    async with (
        a_quarry(github, bucket, tmp_path, max_bytes=1_000_000) as quarry,
        slowly(github) as url,
    ):
        with pytest.raises(BuildFailed, match="larger than 1 MB") as caught:
            await quarry.sources.fetch(replace(quarry.origin(), base_url=url), large)
        assert caught.value.code == "source_too_large"
        assert packs(quarry.mirror()) == {}
        assert (await quarry.sources.fetch(quarry.origin(), small)).commit == small
        # Of what was cut off nothing is left.
        assert [p.name for p in (quarry.mirror() / "objects/pack").glob("tmp_*")] == []


async def test_a_tree_that_git_itself_calls_unsafe_is_refused(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    blob = tree.git("rev-parse", "HEAD:index.html")
    entry = tmp_path / "entry"
    entry.write_bytes(b"100644 .git\0" + bytes.fromhex(blob))
    bad = tree.git("hash-object", "-t", "tree", "-w", "--literally", str(entry))
    sha = tree.git("commit-tree", bad, "-m", "Unsafe")
    tree.push_all(f"{sha}:refs/heads/unsafe")
    with pytest.raises(BuildFailed, match="unsafe") as caught:
        await quarry.sources.fetch(quarry.origin(), sha)
    assert caught.value.code == "source_refused"
