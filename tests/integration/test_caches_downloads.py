"""What package managers downloaded is at hand for later installations, and cannot be spoilt."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core.deployment import Status
from tests.caching import LISTING, built, published, site
from tests.conftest import S3
from tests.workshop import Bench, a_bench

AT_HAND = "What was downloaded for earlier builds is at hand"
OFFLINE = {".npmrc": "offline=true\n"}
"""An installation with it fetches nothing, and decides something else than one without."""


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def a_site(bench: Bench, *, postinstall: str = "") -> dict[str, str | bytes]:
    """A site whose lock file is npm's own; a preview has made it."""
    files = site(f"{LISTING}; cp package-lock.json dist/lock")
    del files["package-lock.json"]
    ended, said = await built(bench, files, branch="other")
    assert ended.status is Status.READY, said
    lock = json.loads((await published(bench, ended))["lock"])
    scripts = {"postinstall": postinstall} if postinstall else {}
    if postinstall:
        lock["packages"][""]["hasInstallScript"] = True
    return {**site(LISTING, scripts=scripts), "package-lock.json": json.dumps(lock)}


async def test_an_installation_fetches_nothing_that_one_of_its_level_fetched(bench: Bench) -> None:
    files = await a_site(bench)
    ended, said = await built(bench, {**files, **OFFLINE})
    assert (ended.status, AT_HAND in said) == (Status.FAILED, False), "a preview's was read"
    cold, said = await built(bench, files)
    assert (cold.status, AT_HAND in said) == (Status.READY, False), said
    warm, said = await built(bench, {**files, **OFFLINE})
    assert (warm.status, AT_HAND in said, "$ npm ci" in said) == (Status.READY, True, True), said
    assert await published(bench, warm) == await published(bench, cold)


async def test_downloads_that_a_commits_own_script_spoils_are_fetched_anew(
    bench: Bench, tmp_path: Path
) -> None:
    spoil = "find ~/.npm/_cacache/content-v2 -type f -exec sh -c 'echo spoilt > $0' {} ';'"
    files = await a_site(bench, postinstall=spoil)
    seen = []
    for number in range(2):
        ended, said = await built(bench, {**files, "README.md": str(number)})
        assert (ended.status, AT_HAND in said) == (Status.READY, number == 1), said
        seen.append(await published(bench, ended))
        kept = (tmp_path / "caches").glob("*/*/production/downloads-*/tree/home/.npm/_cacache/**/*")
        assert {each.read_text() for each in kept if each.is_file()} == {"spoilt\n"}
    assert seen[0] == seen[1]
    assert b"spoilt" not in seen[1]["ms.js"]
