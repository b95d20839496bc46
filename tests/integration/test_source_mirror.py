"""Mirrors hold no secret, obey no name, and get over whatever happened to their files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed
from tests.onlookers import pushed
from tests.sources import Quarry, a_quarry, said, tampered_git, token_of
from tests.standin import StandIn, Worktree


async def test_a_token_is_in_no_url_argument_mirror_or_archive(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    github.create_repository("octo/site", private=True)
    token = github.token
    tree = Worktree(tmp_path / "tree", github.clone_url("octo/site"), token=token)
    tree.write({"index.html": "secret page"})
    sha = tree.commit("First")
    tree.push()
    seen = tmp_path / "seen"
    path = tampered_git(tmp_path / "bin", f'printf "%s\\n" "$@" >> {seen}\nexec $GIT "$@"')
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        origin = quarry.origin(token=partial(token_of, value=token))
        assert (await quarry.sources.resolve(origin, "HEAD")).commit == sha
        fetched = await quarry.sources.fetch(origin, sha)
        place = await quarry.laid_out(await quarry.sources.archive(fetched))
        assert token not in repr(fetched)
        secrets = (token.encode(), base64.b64encode(f"x-access-token:{token}".encode()))
        written = [seen, *quarry.mirrors.rglob("*"), *place.rglob("*")]
        for file in (path for path in written if path.is_file()):
            assert not any(secret in file.read_bytes() for secret in secrets), file
    assert "fetch" in seen.read_text()
    assert origin.url in seen.read_text()


async def test_git_sees_nothing_of_our_own_environment(
    github: StandIn, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sha = pushed(github, tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.sshCommand=false'")
    seen = tmp_path / "seen"
    path = tampered_git(tmp_path / "bin", f'env >> {seen}\nexec $GIT "$@"')
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        assert (await quarry.archived(sha))[0].commit == sha
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "open-sesame" not in seen.read_text()
    assert not names & {"GIT_DIR", "GIT_CONFIG_PARAMETERS", "PUSHLANE_API_TOKEN"}


async def test_a_branch_that_looks_like_an_option_is_a_name(
    quarry: Quarry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree, _ = pushed(quarry.github, tmp_path)
    tree.write({"index.html": "hostile"})
    sha = tree.commit("Hostile")
    for name in ("--output=pwn", "--upload-pack=touch pwn;", "-u", "$(touch${IFS}pwn)"):
        branch = name.replace(" ", "_")
        ref = f"refs/heads/{branch}"
        tree.push_all(f"{sha}:{ref}")
        assert (await quarry.sources.resolve(quarry.origin(), ref)).commit == sha
        quarry.github.faults.hide_commit(sha, requests=4)
        async with a_quarry(quarry.github, quarry.bucket, tmp_path / f"for-{branch}") as cold:
            fetched = await cold.sources.fetch(cold.origin(), sha, ref=ref)
            assert await cold.sources.read(fetched, "index.html") == [b"hostile"]
    assert list(tmp_path.rglob("pwn*")) == []


async def test_refs_are_resolved_as_git_means_them(quarry: Quarry, tmp_path: Path) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    tree.tag("v1", message="One")
    tree.push("refs/tags/v1", source="v1")
    tree.switch("fix/api")
    second = tree.commit("Second")
    tree.push("fix/api")
    origin = quarry.origin()
    head = await quarry.sources.resolve(origin, "HEAD")
    assert (head.commit, head.ref, head.default_branch) == (first, "refs/heads/main", "main")
    branch = await quarry.sources.resolve(origin, "refs/heads/fix/api")
    assert (branch.commit, branch.ref, branch.default_branch) == (
        second,
        "refs/heads/fix/api",
        "main",
    )
    # A tag that is an object of its own leads to its commit.
    assert (await quarry.sources.resolve(origin, "refs/tags/v1")).commit == first
    assert (await quarry.sources.resolve(origin, second)).commit == second


@pytest.mark.parametrize(
    "ref",
    ["refs/heads/none", "refs/heads/*", "refs/heads/a..b", "refs/heads/a b", "main", "--all", ""],
)
async def test_a_ref_that_is_not_there_or_none_is_not_found(
    quarry: Quarry, tmp_path: Path, ref: str
) -> None:
    pushed(quarry.github, tmp_path)
    with pytest.raises(BuildFailed) as caught:
        await quarry.sources.resolve(quarry.origin(), ref)
    assert caught.value.code == "ref_not_found"


async def test_files_of_a_commit_are_read_without_an_archive(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    tree.write(
        {"pushlane.toml": "spa", "large": b"x" * 300_000, "name with missing": "here"},
        symlinks={"linked": "docs/a.md", "astray": "/etc/passwd", "round": "round"},
    )
    sha = tree.commit("Files")
    tree.push()
    fetched = await quarry.sources.fetch(quarry.origin(), sha)
    names = ("pushlane.toml", "none", "docs", "linked/x", "name with missing", "docs/a.md")
    found = await quarry.sources.read(fetched, *names)
    assert found == [b"spa", None, None, None, b"here", b"a"]
    for link in ("linked", "astray", "round"):
        with pytest.raises(BuildFailed, match=f"{link} is a link") as refused:
            await quarry.sources.read(fetched, "pushlane.toml", link)
        assert refused.value.code == "source_refused"
    with pytest.raises(BuildFailed, match="shorten it") as caught:
        await quarry.sources.read(fetched, "large")
    assert caught.value.code == "source_refused"


async def test_what_changed_is_told_of_commits_that_are_at_hand(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    tree.write({"docs/b ü.md": "b", "index.html": None})
    second = tree.commit("Second")
    tree.push()
    before = await quarry.sources.fetch(quarry.origin(), first)
    fetched = await quarry.sources.fetch(quarry.origin(), second)
    assert set(await quarry.sources.changed(fetched, first) or ()) == {"docs/b ü.md", "index.html"}
    assert await quarry.sources.changed(before, first) == ()
    for other in ("a" * 40, "", "--output=x"):
        assert await quarry.sources.changed(fetched, other) is None


def _cut_packs(mirror: Path) -> None:
    for pack in (mirror / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:40])


def _garble_packs(mirror: Path) -> None:
    for pack in (mirror / "objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        body = pack.read_bytes()
        pack.write_bytes(body[:12] + bytes(byte ^ 0xFF for byte in body[12:-20]) + body[-20:])


def _lose_packs(mirror: Path) -> None:
    for path in (mirror / "objects/pack").iterdir():
        path.unlink()


def _lose_indexes(mirror: Path) -> None:
    for path in (mirror / "objects/pack").glob("*.idx"):
        path.unlink()


def _empty_head(mirror: Path) -> None:
    (mirror / "HEAD").write_text("")


def _garble_config(mirror: Path) -> None:
    (mirror / "config").write_text("[core\n")


def _garble_shallow(mirror: Path) -> None:
    (mirror / "shallow").write_text("not a commit\n")


DAMAGES = (
    _cut_packs,
    _garble_packs,
    _lose_packs,
    _lose_indexes,
    _empty_head,
    _garble_config,
    _garble_shallow,
)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_mirror_is_made_anew(
    quarry: Quarry, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    await quarry.sources.fetch(quarry.origin(), first)
    tree.write({"index.html": "second"})
    second = tree.commit("Second")
    tree.push()
    damage(quarry.mirror())
    for sha in (first, second):
        fetched, archive = await quarry.archived(sha)
        place = await quarry.laid_out(archive)
        assert said(place, "rev-parse", "HEAD") == fetched.commit == sha


async def test_a_file_that_cannot_be_read_any_more_is_fetched_anew_while_it_is_archived(
    quarry: Quarry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    # Stored as it is, since nothing of it compresses: its bytes can be found in the pack.
    noise = bytes(range(256)) * 8
    tree.write({"noise": base64.b85encode(noise)})
    sha = tree.commit("Noise")
    tree.push()
    fetched = await quarry.sources.fetch(quarry.origin(), sha)
    blob = said(quarry.mirror(), "rev-parse", f"{sha}:noise")
    index = next((quarry.mirror() / "objects/pack").glob("*.idx"))
    listed = said(quarry.mirror(), "verify-pack", "-v", str(index))
    offset = next(int(line.split()[4]) for line in listed.splitlines() if line.startswith(blob))
    pack = index.with_suffix(".pack")
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(offset + 8)
        file.write(b"\0" * 16)
    place = await quarry.laid_out(await quarry.sources.archive(fetched))
    assert (place / "noise").read_bytes() == base64.b85encode(noise)
    assert caplog.text.count("made anew") == 1


async def test_what_a_killed_git_left_stands_in_nobodys_way(quarry: Quarry, tmp_path: Path) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    await quarry.sources.fetch(quarry.origin(), first)
    tree.write({"index.html": "second"})
    second = tree.commit("Second")
    tree.push()
    mirror = quarry.mirror()
    left = [
        mirror / "shallow.lock",
        mirror / "packed-refs.lock",
        mirror / "config.lock",
        mirror / f"refs/pushlane/{first}.lock",
        mirror / f"refs/pushlane/{second}.lock",
        mirror / "objects/pack/tmp_pack_aBcDeF",
        mirror / "objects/pack/tmp_idx_aBcDeF",
        mirror / "objects/pack/.tmp-77-pack-1.pack",
    ]
    for path in left:
        path.write_bytes(b"left")
    fetched, archive = await quarry.archived(second)
    assert fetched.commit == second
    assert said(await quarry.laid_out(archive), "rev-parse", "HEAD") == second
    assert [path.name for path in left if path.exists()] == []


async def test_a_mirror_that_was_made_by_halves_is_made_whole(
    quarry: Quarry, tmp_path: Path
) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    (quarry.mirror() / "objects").mkdir(parents=True)
    (quarry.mirror() / "config").write_text("[core]\n")
    assert (await quarry.archived(sha))[0].commit == sha


async def test_mirrors_are_for_their_owner_only(quarry: Quarry, tmp_path: Path) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    await quarry.sources.fetch(quarry.origin(), sha)
    assert quarry.mirrors.stat().st_mode & 0o077 == 0


async def test_a_mirror_of_many_packs_is_laid_into_one_and_keeps_what_it_has(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    shas = [first, *(tree.commit(str(number)) for number in range(50))]
    tree.push()
    for sha in shas:
        await quarry.sources.fetch(quarry.origin(), sha)

    def packs() -> int:
        return len(list((quarry.mirror() / "objects/pack").glob("*.pack")))

    async with asyncio.timeout(30):
        while packs() > 1:
            await asyncio.sleep(0.02)
    down = quarry.github.faults.add("*", "", 500, times=None)
    for sha in shas:
        fetched, archive = await quarry.archived(sha)
        assert said(await quarry.laid_out(archive), "rev-parse", "HEAD") == fetched.commit == sha
    assert down.hits == 0
