"""A commit's archive is its tree, byte for byte, with a .git that builds can ask; or it is none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import boto3
import pytest

from bot.core.bucket import Bucket
from bot.core.errors import BuildFailed, Errored
from bot.source import Archive, Options
from tests.conftest import S3
from tests.onlookers import pushed
from tests.sources import Quarry, a_quarry, said, tampered_git
from tests.standin import StandIn, Worktree

LARGE = 12_000_000
"""More than goes up in one part."""


def commits(tree: Worktree, count: int) -> list[str]:
    """So many commits, each changing a file; pushed."""
    shas = []
    for number in range(count):
        tree.write({"counter": str(number)})
        shas.append(tree.commit(f"Number {number}"))
    tree.push()
    return shas


async def test_builds_can_ask_the_unpacked_source_what_it_is(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, first = pushed(quarry.github, tmp_path)
    second = commits(tree, 2)[-1]
    for sha, title in ((first, "First"), (second, "Number 1")):
        _, archive = await quarry.archived(sha)
        place = await quarry.laid_out(archive)
        assert said(place, "rev-parse", "HEAD") == sha
        assert said(place, "log", "-1", "--format=%H %s %an") == f"{sha} {title} Ada Example"
        assert said(place, "log", "--oneline").count("\n") == 0
        assert sha.startswith(said(place, "describe", "--always"))
        assert said(place, "status", "--porcelain", "--ignored") == ""
        assert said(place, "ls-files") == tree.git("ls-tree", "-r", "--name-only", sha)
        assert said(place, "diff", "--stat", "HEAD") == ""


async def test_an_archive_says_what_it_is_and_where(quarry: Quarry, tmp_path: Path) -> None:
    _, sha = pushed(quarry.github, tmp_path)
    fetched, archive = await quarry.archived(sha)
    assert archive.name.startswith(f"sources/{fetched.origin.key}/")
    assert archive.name.endswith(".tar.zst")
    assert archive.bytes == await quarry.bucket.size(archive.name)
    assert (archive.files, archive.notes, archive.reused) == (2, (), False)


async def test_files_modes_links_and_odd_names_are_kept(quarry: Quarry, tmp_path: Path) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    long = "/".join(["a-long-directory-name-of-forty-characters"] * 6) + "/file"
    files: dict[str, str | bytes | None] = {
        "run.sh": "#!/bin/sh\n",
        "empty": "",
        "noise": os.urandom(100_000),
        "with space and ü.txt": "ü",
        "new\nline": "n",
        "-dash": "d",
        "~tilde": "t",
        long: "deep",
    }
    links = {"link": "docs/a.md", "astray": "../../etc/passwd", "folder": "docs"}
    tree.write(files, executable=["run.sh"], symlinks=links)
    (tree.path / os.fsdecode(b"latin-\xe9")).write_bytes(b"l")
    sha = tree.commit("Odd")
    tree.push()
    place = await quarry.laid_out((await quarry.archived(sha))[1])
    for name in files:
        assert (place / name).read_bytes() == (tree.path / name).read_bytes(), name
    assert (place / os.fsdecode(b"latin-\xe9")).read_bytes() == b"l"
    for name, aim in links.items():
        assert str((place / name).readlink()) == aim
    assert (place / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (place / "empty").stat().st_mode & 0o777 == 0o644
    assert said(place, "status", "--porcelain") == ""


async def test_attributes_leave_nothing_out_and_rewrite_nothing(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    tree.write(
        {
            ".gitattributes": "docs export-ignore\n*.txt export-subst\nhidden/** export-ignore\n",
            "version.txt": "$Format:%H$",
            "hidden/.gitattributes": "* export-ignore export-subst\n",
            "hidden/x.txt": "$Format:%an$",
        }
    )
    sha = tree.commit("Attributes")
    tree.push()
    place = await quarry.laid_out((await quarry.archived(sha))[1])
    assert (place / "docs/a.md").read_text() == "a"
    assert (place / "version.txt").read_text() == "$Format:%H$"
    assert (place / "hidden/x.txt").read_text() == "$Format:%an$"
    assert said(place, "status", "--porcelain") == ""


async def test_files_are_what_they_are_in_the_repository_whatever_attributes_say(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    files = {"a.bat": b"one\ntwo\n", "b.txt": b"one\r\n", "wide": b"wide\n", "id": b"$Id: 1$\n"}
    tree.write(dict(files))
    tree.commit("Files")
    tree.write(
        {
            ".gitattributes": "*.bat text eol=crlf\n*.txt text\n"
            "wide working-tree-encoding=UTF-16\nid ident\n* filter=lfs\n"
        }
    )
    tree.git("add", ".gitattributes")
    tree.git("commit", "--quiet", "--message=Attributes")
    sha = tree.head()
    tree.push()
    place = await quarry.laid_out((await quarry.archived(sha))[1])
    assert {name: (place / name).read_bytes() for name in files} == files
    assert said(place, "status", "--porcelain") == ""
    assert said(place, "diff", "--stat", "HEAD") == ""


async def test_a_fetch_depth_of_none_brings_the_whole_history(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    shas = commits(tree, 15)
    place = await quarry.laid_out((await quarry.archived(shas[-1], depth=0))[1])
    assert said(place, "rev-list", "--count", "HEAD") == "16"
    assert said(place, "show", f"{shas[3]}:counter") == "3"
    assert said(place, "rev-parse", "--is-shallow-repository") == "false"
    assert said(place, "fsck", "--no-dangling") == ""
    assert said(place, "status", "--porcelain") == ""


async def test_a_fetch_depth_brings_at_least_so_many_commits(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    shas = commits(tree, 30)
    place = await quarry.laid_out((await quarry.archived(shas[-1], depth=5))[1])
    assert 5 <= int(said(place, "rev-list", "--count", "HEAD")) < 31
    assert said(place, "show", f"{shas[-5]}:counter") == "25"
    assert said(place, "rev-parse", "--is-shallow-repository") == "true"
    assert said(place, "fsck", "--no-dangling") == ""
    assert said(place, "status", "--porcelain") == ""


async def test_an_older_commit_keeps_its_depth_when_a_newer_one_was_fetched(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    shas = commits(tree, 30)
    older, newer = shas[20], shas[25]
    for sha in (older, newer):
        await quarry.sources.fetch(quarry.origin(), sha, depth=10)
    for sha, number in ((older, 20), (newer, 25)):
        place = await quarry.laid_out((await quarry.archived(sha, depth=10))[1])
        assert int(said(place, "rev-list", "--count", "HEAD")) >= 10
        assert said(place, "show", "HEAD~9:counter") == str(number - 9)
        assert said(place, "fsck", "--no-dangling") == ""


async def test_depths_of_one_commit_are_archives_of_their_own(
    quarry: Quarry, tmp_path: Path
) -> None:
    tree, _ = pushed(quarry.github, tmp_path)
    sha = commits(tree, 3)[-1]
    names = {(await quarry.archived(sha, depth=depth))[1].name for depth in (0, 1, 5)}
    assert len(names) == 3


async def test_an_object_that_is_there_already_is_not_written_again(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    async with a_quarry(github, bucket, tmp_path / "one") as one:
        _, first = await one.archived(sha)
    # Another bot, whose git could not archive anything.
    path = tampered_git(
        tmp_path / "bin", 'case " $* " in *" --buffer "*) exit 9 ;; esac\nexec $GIT "$@"'
    )
    async with a_quarry(github, bucket, tmp_path / "two", path=path) as two:
        fetched, again = await two.archived(sha)
        assert again == Archive(name=first.name, bytes=first.bytes, reused=True)
        with pytest.raises(Errored) as caught:
            await two.sources.archive(fetched, options=Options(submodules=False))
    assert caught.value.code == "mirror_broken"


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("kill -9 $$", "source_cut"),
        ("exit 0", "source_cut"),
        ("exit 1", "mirror_broken"),
        ("kill -15 $$", "source_cut"),
    ],
)
async def test_a_git_that_ends_in_the_middle_leaves_no_object(
    github: StandIn, bucket: Bucket, seaweedfs: S3, tmp_path: Path, end: str, code: str, size: int
) -> None:
    tree, _ = pushed(github, tmp_path)
    tree.write({"noise": os.urandom(size)})
    sha = tree.commit("Noise")
    tree.push()
    cut = size * 9 // 10
    path = tampered_git(
        tmp_path / "bin",
        f'case " $* " in *" --buffer "*) $GIT "$@" | head -c {cut}; {end} ;; esac\nexec $GIT "$@"',
    )
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        with pytest.raises(Errored) as caught:
            await quarry.archived(sha)
    assert caught.value.code == code
    assert caught.value.retryable
    await nothing_is_left(bucket, seaweedfs)


async def test_a_git_that_fails_after_its_last_byte_leaves_no_object(
    github: StandIn, bucket: Bucket, seaweedfs: S3, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    path = tampered_git(
        tmp_path / "bin", 'case " $* " in *" --buffer "*) $GIT "$@"; exit 1 ;; esac\nexec $GIT "$@"'
    )
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        with pytest.raises(Errored):
            await quarry.archived(sha)
    await nothing_is_left(bucket, seaweedfs)


async def test_an_archive_that_is_called_off_leaves_no_object_and_no_process(
    github: StandIn, bucket: Bucket, seaweedfs: S3, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    begun = tmp_path / "begun"
    path = tampered_git(
        tmp_path / "bin",
        f'case " $* " in *" --buffer "*) echo $$ > {begun}; exec sleep 60 ;; esac\nexec $GIT "$@"',
    )
    async with a_quarry(github, bucket, tmp_path, path=path) as quarry:
        fetched = await quarry.sources.fetch(quarry.origin(), sha)
        archiving = asyncio.create_task(quarry.sources.archive(fetched))
        async with asyncio.timeout(20):
            while not begun.exists() or not begun.read_text():
                await asyncio.sleep(0.01)
            archiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await archiving
            while Path(f"/proc/{int(begun.read_text())}").exists():
                await asyncio.sleep(0.01)
    await nothing_is_left(bucket, seaweedfs)


async def test_an_archive_that_takes_too_long_is_ended(
    github: StandIn, bucket: Bucket, seaweedfs: S3, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    path = tampered_git(
        tmp_path / "bin", 'case " $* " in *" --buffer "*) exec sleep 60 ;; esac\nexec $GIT "$@"'
    )
    async with a_quarry(github, bucket, tmp_path, path=path, timeout_seconds=2) as quarry:
        with pytest.raises(BuildFailed) as caught:
            async with asyncio.timeout(20):
                await quarry.archived(sha)
    assert caught.value.code == "source_too_slow"
    await nothing_is_left(bucket, seaweedfs)


async def test_a_bucket_that_fails_is_no_fault_of_the_source(
    github: StandIn, tmp_path: Path
) -> None:
    tree, _ = pushed(github, tmp_path)
    tree.write({"noise": os.urandom(LARGE)})
    sha = tree.commit("Noise")
    tree.push()
    credentials = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    away = Bucket("b", endpoint_url="http://127.0.0.1:1", credentials=credentials)
    async with a_quarry(github, away, tmp_path) as quarry:
        with pytest.raises(Errored) as caught:
            await quarry.archived(sha)
    await away.aclose()
    assert caught.value.code == "bucket_unreachable"


async def test_a_tree_over_the_cap_is_refused_however_well_it_compresses(
    github: StandIn, bucket: Bucket, tmp_path: Path
) -> None:
    tree, _ = pushed(github, tmp_path)
    tree.write({f"zeros-{number}": b"\0" * 1_000_000 for number in range(3)})
    sha = tree.commit("Zeros")
    tree.push()
    async with a_quarry(github, bucket, tmp_path, max_bytes=2_500_000) as quarry:
        with pytest.raises(BuildFailed, match="larger than 2 MB") as caught:
            await quarry.archived(sha)
    assert caught.value.code == "source_too_large"
    assert await bucket.list("") == []


async def nothing_is_left(bucket: Bucket, s3: S3) -> None:
    """Neither an object nor an upload under way lies below this test's prefix."""
    assert await bucket.list("") == []
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
    )
    found = await asyncio.to_thread(client.list_multipart_uploads, Bucket=s3.bucket)
    client.close()
    assert [
        up["Key"] for up in found.get("Uploads", []) if up["Key"].startswith(bucket.prefix)
    ] == []
