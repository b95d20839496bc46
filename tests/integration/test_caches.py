"""What a build leaves for later ones, by the whole worker: real installations, real layers."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from bot.core import release
from bot.core.deployment import Deployment, Status
from bot.core.lease import held
from tests.builders import a_push
from tests.conftest import S3
from tests.workshop import Bench, a_bench

LOCK = {
    "name": "site",
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "site", "dependencies": {"ms": "2.1.3"}},
        "node_modules/ms": {"version": "2.1.3"},
    },
}
LISTING = (
    "mkdir -p dist && find node_modules -name '.package-lock.json' -prune -o "
    "-printf '%p %y %m %l\\n' | sort > dist/tree.txt && "
    "cat node_modules/ms/index.js > dist/ms.js"
)
SPOIL = "echo spoilt > node_modules/ms/index.js; echo x > node_modules/x; echo x >> .git/config"


def site(build: str, *, scripts: Mapping[str, str] | None = None) -> dict[str, str | bytes]:
    package = {
        "name": "site",
        "dependencies": {"ms": "2.1.3"},
        "scripts": {"build": build, **(scripts or {})},
    }
    return {
        "package.json": json.dumps(package),
        "package-lock.json": json.dumps(LOCK),
        "index.html": "<title>Hi</title>",
        ".git/config": "[core]\n",
        "README.md": secrets.token_hex(4),
    }


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def built(
    bench: Bench, files: Mapping[str, str | bytes], *, branch: str = "main"
) -> tuple[Deployment, str]:
    """The record as it ended, and its log, after all that it leaves is kept."""
    claimed = await bench.held(files, a_push(secrets.token_hex(4), branch=branch))
    loop = bench.worker.loop()
    await loop.attend(claimed)
    return await bench.record(claimed.id), await bench.log(claimed)


async def published(bench: Bench, deployment: Deployment) -> dict[str, bytes]:
    manifest = release.decode(await bench.bucket.get(deployment.release))
    found = {}
    for path, file in manifest.files.items():
        at = manifest.contents[file.sha256].identity
        found[path] = await bench.bucket.get_range(
            manifest.packs[at.pack], offset=at.offset, length=at.length
        )
    return found


async def test_a_warm_build_installs_nothing_and_gives_what_a_cold_one_gives(
    bench: Bench,
) -> None:
    files = site(f"{LISTING}; {SPOIL}")
    cold, said = await built(bench, files)
    assert (cold.status, "$ npm ci" in said) == (Status.READY, True), said
    warm, said = await built(bench, {**files, "README.md": "another"})
    assert warm.status is Status.READY, said
    assert f"Packages: kept from {cold.id}" in said
    assert "npm ci" not in said.partition("Packages:")[2]
    assert await published(bench, warm) == await published(bench, cold)
    third, said = await built(bench, {**files, "package.json": files["package.json"] + " "})  # type: ignore[operator]
    assert "package.json changed since" in said
    assert await published(bench, third) == await published(bench, cold)


async def test_a_preview_uses_what_production_kept_and_never_the_other_way_round(
    bench: Bench,
) -> None:
    preview, said = await built(bench, site(LISTING), branch="other")
    assert "$ npm ci" in said, said
    production, said = await built(bench, site(LISTING))
    assert "Packages: kept" not in said, said
    assert "$ npm ci" in said
    lower, said = await built(bench, site(LISTING), branch="third")
    assert f"Packages: kept from {preview.id}" in said
    assert {each.status for each in (preview, production, lower)} == {Status.READY}


async def test_a_script_that_may_read_the_source_binds_the_packages_to_it(bench: Bench) -> None:
    def files(text: str) -> dict[str, str | bytes]:
        scripts = {"postinstall": "cp text.txt node_modules/ms/text.txt"}
        build = "mkdir -p dist && cp node_modules/ms/text.txt dist/"
        return {**site(build, scripts=scripts), "text.txt": text}

    for text in ("one", "two"):
        ended, said = await built(bench, files(text))
        assert ended.status is Status.READY, said
        assert (await published(bench, ended))["text.txt"].decode() == text
    assert "by the script `postinstall` of package.json" in said


async def test_a_repeatable_script_is_executed_over_kept_packages(bench: Bench) -> None:
    files = site(LISTING, scripts={"postinstall": "echo prepared"})
    await built(bench, files)
    ended, said = await built(bench, {**files, "README.md": "x"})
    assert ended.status is Status.READY
    assert "npm run postinstall" in said.partition("Packages: kept")[2]


async def test_packages_with_a_secret_in_them_are_not_kept(bench: Bench) -> None:
    secret = bench.worker.secrets[0]
    script = f"echo {secret} | base64 > node_modules/ms/leak"
    files = site(LISTING, scripts={"postinstall": script})
    for _ in range(2):
        ended, said = await built(bench, files)
        assert (ended.status, "Packages: kept" in said) == (Status.READY, False)


async def test_a_framework_finds_its_cache_again_once_a_build_was_accepted(bench: Bench) -> None:
    cache = "node_modules/.cache"
    write = (
        f"mkdir -p dist {cache} && (cat {cache}/n || echo none) > dist/n.txt; echo $? >> {cache}/n"
    )
    failed, _ = await built(bench, site(f"mkdir -p {cache}; echo bad > {cache}/n; exit 1"))
    assert failed.status is Status.FAILED
    seen = []
    for _ in range(3):
        ended, said = await built(bench, {**site(write), "README.md": secrets.token_hex(4)})
        assert ended.status is Status.READY, said
        seen.append((await published(bench, ended))["n.txt"].decode().split())
    assert seen == [["none"], ["0"], ["0", "0"]]
    assert f"Kept from the last build: {cache}" in said


async def test_what_was_kept_before_the_caches_were_cleared_is_not_found(bench: Bench) -> None:
    cold, _ = await built(bench, site(LISTING))
    await bench.ledger.projects.change(
        cold.project, lambda before: msgspec.structs.replace(before, cache_epoch=1)
    )
    for found in (False, True):
        _, said = await built(bench, site(LISTING))
        assert ("Packages: kept" in said) is found, said


async def test_a_link_in_the_place_of_a_cache_is_neither_kept_nor_followed(bench: Bench) -> None:
    steal = "mkdir -p dist && echo x > dist/x; rm -rf node_modules/.cache; "
    await built(bench, site(steal + "ln -s /etc node_modules/.cache"))
    ended, said = await built(bench, site(steal))
    assert (ended.status, "Kept from the last build" in said) == (Status.READY, False)


async def test_two_builds_use_the_same_packages_at_once(bench: Bench) -> None:
    files = site(f"{LISTING}; {SPOIL}")
    cold, _ = await built(bench, files)
    async with AsyncExitStack() as rooms:
        # A workspace that is held takes the first build user, so the next is another one.
        await rooms.enter_async_context(bench.sandbox.workspace())
        warm, said = await built(bench, {**files, "README.md": "x"})
    assert f"Packages: kept from {cold.id}" in said
    assert await published(bench, warm) == await published(bench, cold)


async def test_a_build_that_is_given_back_leaves_no_half_of_anything(
    bench: Bench, tmp_path: Path
) -> None:
    claimed = await bench.held(site(LISTING), a_push(secrets.token_hex(4)))

    async def ended() -> None:
        async with AsyncExitStack() as rooms, held(bench.ledger, claimed) as lease:
            await bench.worker._work(claimed, lease, rooms)
            raise RuntimeError("ended")

    with pytest.raises(RuntimeError, match="ended"):
        await ended()
    left = [each.name for each in (tmp_path / "caches").rglob("*") if each.name.startswith(".part")]
    assert left == []
