"""The GitHub stand-in serves git over HTTP as GitHub does."""

from __future__ import annotations

from pathlib import Path

import httpx2

from tests.onlookers import git, pushed
from tests.standin import StandIn, Worktree


async def test_an_exact_commit_is_fetched_shallow_over_protocol_v2(
    github: StandIn, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    tree.commit("Second")
    tree.push()
    mirror = tmp_path / "mirror"
    git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    fetch = ("-c", "protocol.version=2", "fetch", "--depth=1", github.clone_url("octo/site"))
    done, error = git(mirror, *fetch, f"+{first}:refs/x", GIT_TRACE_PACKET="1")
    assert done.returncode == 0, error
    assert "version 2" in error
    assert "command=fetch" in error
    listed, _ = git(mirror, "rev-list", "refs/x")
    assert listed.stdout.split() == [first]


async def test_a_commit_can_be_unfetchable_for_a_while(github: StandIn, tmp_path: Path) -> None:
    _, sha = pushed(github, tmp_path)
    mirror = tmp_path / "mirror"
    git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    github.faults.hide_commit(sha, requests=2)
    for version in ("2", "0"):
        fetch = ("-c", f"protocol.version={version}", "fetch", github.clone_url("octo/site"), sha)
        done, error = git(mirror, *fetch)
        assert done.returncode == 128
        assert f"not our ref {sha}" in error
    done, error = git(mirror, "fetch", github.clone_url("octo/site"), sha)
    assert done.returncode == 0, error


async def test_a_compressed_request_is_read_too(github: StandIn, tmp_path: Path) -> None:
    tree, _ = pushed(github, tmp_path)
    shas = []
    for number in range(30):
        shas.append(tree.commit(str(number)))
        tree.git("branch", f"b{number}")
    tree.push_all("refs/heads/*:refs/heads/*")
    mirror = tmp_path / "mirror"
    git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    fetch = ("fetch", github.clone_url("octo/site"), "+refs/heads/*:refs/heads/*")
    github.faults.hide_commit(shas[7], requests=1)
    done, error = git(mirror, *fetch, GIT_TRACE_CURL="1")
    assert "Content-Encoding: gzip" in error
    assert f"not our ref {shas[7]}" in error
    done, error = git(mirror, *fetch)
    assert done.returncode == 0, error
    assert git(mirror, "rev-parse", "b7")[0].stdout.strip() == shas[7]


async def test_a_private_or_missing_repository_shows_itself_to_nobody(
    github: StandIn, tmp_path: Path
) -> None:
    github.create_repository("octo/secret", private=True)
    url = github.clone_url("octo/secret")
    tree = Worktree(tmp_path / "tree", url, token=github.token)
    sha = tree.commit("First")
    tree.push()
    for hidden in (url, github.clone_url("octo/none")):
        done, error = git(tmp_path, "ls-remote", hidden)
        assert done.returncode == 128
        assert "could not read Username" in error
    header = "http.extraHeader=Authorization: Bearer"
    done, error = git(tmp_path, "-c", f"{header} nonsense", "ls-remote", url)
    assert done.returncode == 128
    assert "could not read Username" in error
    unseen = github.access.allow(scopes=["repo:status"])
    done, error = git(tmp_path, "-c", f"{header} {unseen}", "ls-remote", url)
    assert done.returncode == 128
    assert "not found" in error
    good = f"{header} {github.token}"
    done, error = git(tmp_path, "-c", good, "ls-remote", github.clone_url("octo/none"))
    assert done.returncode == 128
    assert "not found" in error
    done, error = git(tmp_path, "-c", good, "ls-remote", url)
    assert sha in done.stdout
    with_login = url.replace("://", f"://x-access-token:{github.token}@")
    done, error = git(tmp_path, "ls-remote", with_login)
    assert sha in done.stdout


async def test_a_renamed_repository_redirects_and_keeps_its_number(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    number = github.repository("octo/site").id
    github.world.rename("octo/site", "octo/renamed")
    moved = await client.get("/repos/octo/site")
    assert moved.status_code == 301
    found = await client.get(moved.headers["location"])
    assert (found.json()["id"], found.json()["full_name"]) == (number, "octo/renamed")
    done, error = git(tmp_path, "ls-remote", github.clone_url("octo/site"))
    assert sha in done.stdout, error
