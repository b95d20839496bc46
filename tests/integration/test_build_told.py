"""What the repository's own files ask of a real build, and what a failed one teaches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.core import release
from bot.core.deployment import Status, state
from tests.builders import a_push
from tests.conftest import S3
from tests.workshop import Bench, a_bench

PAGE = "<!doctype html><title>Hi</title>"
NETLIFY = """
[build]
base = "site"
publish = "../public"
command = "mkdir ../public && echo $GREETING > ../public/index.html"
environment = { GREETING = "build" }
[context.branch-deploy.environment]
GREETING = "branch"
[[plugins]]
package = "@netlify/plugin-nextjs"
"""


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, lease_seconds=10) as made:
        yield made


@pytest.mark.parametrize(("branch", "word"), [("main", b"build"), ("other", b"branch")])
async def test_a_netlify_toml_builds_and_its_contexts_count(
    bench: Bench, branch: str, word: bytes
) -> None:
    held = await bench.held({"netlify.toml": NETLIFY, "site/x": ""}, a_push("A", branch=branch))
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    log = await bench.log(held)
    assert ended.status is Status.READY, log
    manifest = release.decode(await bench.bucket.get(ended.release))
    assert set(manifest.files) == {"index.html"}
    place = manifest.contents[manifest.files["index.html"].sha256].identity
    pack = manifest.packs[place.pack]
    body = await bench.bucket.get_range(pack, offset=place.offset, length=place.length)
    assert body.strip() == word
    assert "by netlify.toml" in log
    assert "netlify.toml says root, output, command, the variable GREETING" in log
    assert "netlify.toml: `plugins` is not executed" in log


async def test_a_vercel_json_publishes_what_it_names(bench: Bench) -> None:
    held = await bench.held(
        {
            "vercel.json": '{"buildCommand": null, "outputDirectory": "web", "surprise": 1}',
            "index.html": "not this",
            "web/index.html": PAGE,
        }
    )
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.files) == (Status.READY, 1)
    assert "vercel.json: `surprise` is not understood" in await bench.log(held)


async def test_a_publish_directory_that_is_the_base_itself_is_the_source(bench: Bench) -> None:
    held = await bench.held({"netlify.toml": "[build]\npublish = '/'", "index.html": PAGE})
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.files) == (Status.READY, 1), await bench.log(held)


async def test_a_failed_build_ends_its_log_and_its_status_with_what_to_do(bench: Bench) -> None:
    held = await bench.held({"netlify.toml": "[build]\ncommand = 'vite-of-nobody build'"})
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "command_missing")
    last = (await bench.log(held)).splitlines()[-1]
    assert last == f"Failed: {ended.error_message}"
    assert state(ended)[1] == last
    assert "there is no command `vite-of-nobody`: put its package into package.json" in last


async def test_an_import_that_differs_by_case_is_looked_up_in_the_source(bench: Bench) -> None:
    words = 'Could not resolve "./Card.js" from "src/main.js"'
    held = await bench.held(
        {"pushlane.toml": f"[build]\ncommand = '''echo '{words}'; exit 1'''", "src/card.js": ""}
    )
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert ended.error_code == "import_case"
    assert ended.error_message.startswith(
        "`./Card.js` is imported, and the file is spelt `card.js`"
    )


async def test_a_root_that_is_not_there_names_the_file_that_asks_for_it(bench: Bench) -> None:
    held = await bench.held({"netlify.toml": "[build]\nbase = 'nowhere'", "index.html": PAGE})
    await bench.worker.loop().attend(held)
    ended = await bench.record(held.id)
    assert (ended.status, ended.error_code) == (Status.FAILED, "root_missing")
    assert ended.error_message.startswith("netlify.toml says to work in 'nowhere'")
