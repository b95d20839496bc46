"""Trees made to hurt: they end as the repository's fault, at once, with one line that says why."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from tests.onlookers import pushed
from tests.sources import Quarry, a_quarry, tampered_git
from tests.standin import StandIn, Worktree

Listed: TypeAlias = Mapping[str, tuple[str, str]]
"""Name -> mode and id."""


def stored(tree: Worktree, kind: str, body: bytes) -> str:
    """Stores an object, however odd it is, and answers its id."""
    done = subprocess.run(
        ["git", "hash-object", "-t", kind, "--literally", "-w", "--stdin"],
        cwd=tree.path, input=body, capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


def tree_of(tree: Worktree, entries: Listed) -> str:
    """Stores a tree of these entries, in their order."""
    body = b"".join(
        f"{mode} {name}\0".encode() + bytes.fromhex(sha) for name, (mode, sha) in entries.items()
    )
    return stored(tree, "tree", body)


def commit_of(github: StandIn, tree: Worktree, root: str) -> str:
    """A commit of that tree, laid into the stand-in as no push would get it there."""
    person = "A <a@example.com> 1 +0000"
    words = f"tree {root}\nauthor {person}\ncommitter {person}\n\nOdd\n"
    sha = stored(tree, "commit", words.encode())
    bare = github.repository("octo/site").bare
    subprocess.run(["cp", "-rn", f"{tree.path}/.git/objects/.", f"{bare}/objects/"], check=True)
    ref = bare / f"refs/heads/odd-{sha}"
    ref.write_text(f"{sha}\n")
    return sha


def bomb(tree: Worktree, *, width: int, depth: int) -> str:
    """The id of a tree of width ** depth files, which are all one."""
    blob = stored(tree, "blob", b"x")
    below = tree_of(tree, {f"f{number:04}": ("100644", blob) for number in range(width)})
    for _ in range(depth - 1):
        below = tree_of(tree, {f"d{number:04}": ("40000", below) for number in range(width)})
    return below


async def refused(quarry: Quarry, sha: str) -> BuildFailed:
    """The error that archiving ends with; nothing is left in the bucket."""
    with pytest.raises(BuildFailed) as caught:
        await quarry.archived(sha)
    assert "\n" not in caught.value.message
    assert await quarry.bucket.list("") == []
    return caught.value


async def test_a_tree_of_very_many_files_is_not_listed_to_its_end(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    tree, _ = pushed(github, tmp_path)
    sha = commit_of(github, tree, bomb(tree, width=150, depth=3))
    listed = tmp_path / "listed"
    path = tampered_git(
        tmp_path / "bin",
        f'case " $* " in *" ls-tree "*) $GIT "$@"; echo $? > {listed} ;; *) exec $GIT "$@" ;; esac',
    )
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        error = await refused(quarry, sha)
    assert error.code == "source_too_large"
    assert "too many files" in error.message
    # Git was killed, with all its group, before it had written everything.
    assert not listed.exists()


async def test_submodules_count_to_the_files_of_a_source(quarry: Quarry, tmp_path: Path) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    part = commit_of(quarry.github, tree, bomb(tree, width=500, depth=2))
    blob = stored(tree, "blob", b"".join(
        b'[submodule "%d"]\n\tpath = m%d\n\turl = ../site.git\n' % (n, n) for n in range(3)
    ))  # fmt: skip
    links = {f"m{number}": ("160000", part) for number in range(3)}
    sha = commit_of(quarry.github, tree, tree_of(tree, {".gitmodules": ("100644", blob), **links}))
    with pytest.raises(BuildFailed) as caught:
        await quarry.archived(sha)
    assert caught.value.code == "source_too_large"


async def test_what_changed_is_not_told_when_it_is_too_much_to_compare(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    sha = commit_of(quarry.github, tree, bomb(tree, width=700, depth=2))
    await quarry.sources.fetch(quarry.origin(), first)
    fetched = await quarry.sources.fetch(quarry.origin(), sha)
    assert await quarry.sources.changed(fetched, first) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("n" * 256, "longer than 255 bytes"), ("/".join(["d" * 250] * 16), "longer than 4,000 bytes")],
    ids=["name", "path"],
)
async def test_a_name_that_no_disk_takes_is_refused_before_a_build(
    quarry: Quarry, tmp_path: Path, name: str, words: str
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    root = stored(tree, "blob", b"x")
    mode = "100644"
    for part in reversed(name.split("/")):
        root, mode = tree_of(tree, {part: (mode, root)}), "40000"
    error = await refused(quarry, commit_of(quarry.github, tree, root))
    assert error.code == "source_refused"
    assert words in error.message


async def test_names_as_long_as_a_disk_takes_are_kept(quarry: Quarry, tmp_path: Path) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    name = "/".join(["d" * 255] * 3 + ["ü" * 127])
    tree.write({name: "deep", "s" * 98: "98", "s" * 99: "99", "s" * 100: "100", "8        8": "8"})
    tree.write({}, symlinks={"l" * 120: "t" * 200})
    sha = tree.commit("Long")
    tree.push()
    place = await quarry.laid_out((await quarry.archived(sha))[1])
    assert (place / name).read_text() == "deep"
    assert (place / "8        8").read_text() == "8"
    for length in (98, 99, 100):
        assert (place / ("s" * length)).read_text() == str(length)
    assert str((place / ("l" * 120)).readlink()) == "t" * 200


@pytest.mark.parametrize("aim", [b"", b"a\0b", b"t" * 4096], ids=["none", "nul", "long"])
async def test_a_link_that_cannot_be_made_is_refused(
    quarry: Quarry, tmp_path: Path, aim: bytes
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    root = tree_of(tree, {"link": ("120000", stored(tree, "blob", aim))})
    error = await refused(quarry, commit_of(quarry.github, tree, root))
    assert error.code == "source_refused"
    assert "is a link with" in error.message


async def test_a_tree_that_git_cannot_read_is_no_fault_of_the_mirror(
    quarry: Quarry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    blob = stored(tree, "blob", b"x")
    error = await refused(
        quarry, commit_of(quarry.github, tree, tree_of(tree, {"": ("100644", blob)}))
    )
    assert error.code == "source_refused"
    assert "made anew" not in caplog.text


async def test_what_the_server_itself_cannot_read_is_no_fault_of_the_mirror(
    quarry: Quarry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    sha = commit_of(quarry.github, tree, tree_of(tree, {"lost": ("100644", "1" * 40)}))
    with pytest.raises(Errored, match="unable to read") as caught:
        await quarry.archived(sha)
    assert caught.value.code == "github_unreachable"
    assert "made anew" not in caplog.text


async def test_what_a_new_mirror_has_too_is_the_repositorys_own(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    path = tampered_git(
        tmp_path / "bin",
        'case " $* " in *" ls-tree "*) echo "fatal: bad object" >&2; exit 128 ;; esac\n'
        'exec $GIT "$@"',
    )
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        error = await refused(quarry, sha)
    assert error.code == "source_unreadable"
    assert "bad object" in error.message


async def test_patterns_of_attributes_are_never_matched_however_long_that_would_take(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    tree, _ = pushed(github, tmp_path)
    below = tree_of(tree, {"c": ("100644", stored(tree, "blob", b"c"))})
    for _ in range(58):
        below = tree_of(tree, {"a": ("40000", below)})
    pattern = b"/**/a" * 12 + b"/**/b x\n"
    root = {".gitattributes": ("100644", stored(tree, "blob", pattern)), "a": ("40000", below)}
    sha = commit_of(github, tree, tree_of(tree, root))
    async with a_quarry(github, bucket, tmp_path, timeout_seconds=10) as quarry:
        place = await quarry.laid_out((await quarry.archived(sha))[1])
    assert (place / ("a/" * 59 + "c")).read_text() == "c"
