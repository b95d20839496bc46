"""What a build leaves for later ones, by the whole worker: real installations, real layers."""

from __future__ import annotations

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from bot.core.deployment import Status
from bot.core.lease import held
from bot.core.ledger import Request
from tests.builders import a_push
from tests.caching import LISTING, SPOIL, built, published, site
from tests.conftest import S3
from tests.workshop import Bench, a_bench


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


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


async def test_what_may_be_a_forks_finds_nothing_and_leaves_nothing(bench: Bench) -> None:
    mine, _ = await built(bench, site(LISTING))
    pull = Request(project=mine.project, ref="refs/pull/5/head")
    for _ in range(2):
        claimed = await bench.asked(site(LISTING), pull)
        await bench.worker.loop().attend(claimed)
        said = await bench.log(claimed)
        assert (await bench.record(claimed.id)).status is Status.READY, said
        assert "$ npm ci" in said
    # A preview looks at its own level first: nothing of theirs lies there.
    _, said = await built(bench, site(LISTING), branch="other")
    assert f"Packages: kept from {mine.id}" in said


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


async def test_a_cache_with_a_secret_in_a_url_is_not_kept(bench: Bench) -> None:
    secret = quote(base64.b64encode(bench.worker.secrets[0].encode()).decode(), safe="")
    cache = "node_modules/.cache"
    leak = f"mkdir -p dist {cache}; echo x > dist/x; echo 'key={secret}&x=1' > {cache}/url"
    for _ in range(2):
        ended, said = await built(bench, site(leak))
        assert (ended.status, "Kept from the last build" in said) == (Status.READY, False)


async def test_what_a_build_edits_reaches_no_later_one_but_by_its_own_cache(bench: Bench) -> None:
    cache = "node_modules/.cache"
    edits = (
        f"mkdir -p dist {cache}; cat .git/config node_modules/ms/index.js > dist/read; "
        f"(cat {cache}/n || echo none) > dist/cache; {SPOIL}; "
        f"cp -r node_modules/ms ~/.npm/_cacache/content-v2/; echo $BRANCH >> {cache}/n"
    )
    found = []
    for branch in ("other", "main", "other", "main"):
        ended, said = await built(bench, site(edits), branch=branch)
        assert ended.status is Status.READY, said
        found.append(await published(bench, ended))
    assert {each["read"] for each in found} == {found[0]["read"]}
    assert found[0]["read"].startswith(b"[core]\n")
    assert b"spoilt" not in found[0]["read"]
    caches = [each["cache"].decode().split() for each in found]
    assert caches == [["none"], ["none"], ["other"], ["main"]]


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


async def test_packages_that_one_build_user_made_are_given_to_another(bench: Bench) -> None:
    files = site(f"{LISTING}; {SPOIL}")
    cold, _ = await built(bench, files)
    async with AsyncExitStack() as rooms:
        # A workspace that is held takes the first build user, so the next is another one.
        await rooms.enter_async_context(bench.sandbox.workspace())
        warm, said = await built(bench, {**files, "README.md": "x"})
    assert f"Packages: kept from {cold.id}" in said
    assert await published(bench, warm) == await published(bench, cold)


async def test_a_claim_that_breaks_off_after_its_build_leaves_no_half_of_anything(
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
