"""What of a build's output says why it failed, and how much of it goes where."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import zstandard

from worker.buildlog import LIVE, BuildLog

VITE = """\
vite v7.0.0 building for production...
x Build failed in 21ms
error during build:
Could not resolve "./is-not-there.js" from "main.js"
file: /work/source/main.js
    at getRollupError (file:///work/node_modules/rollup/dist/es/shared/parseAst.js:285:41)
    at file:///work/source/node_modules/rollup/dist/es/shared/node-entry.js:23654:26
    at async Promise.all (index 0)
"""
NODE = """\
/work/source/build.js:1
throw new Error('the sky is falling');
^

Error: the sky is falling
    at Object.<anonymous> (/work/source/build.js:1:7)
    at node:internal/main/run_main_module:28:49 {
  code: 'X'
}

Node.js v20.20.2
"""
NPM = """\
npm error code E404
npm error 404 Not Found - GET https://registry.example/nothing - Not found
npm error A complete log of this run can be found in: /work/home/.npm/_logs/x.log
"""
PYTHON = """\
Traceback (most recent call last):
  File "build.py", line 3, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
"""


async def _taken(_: Sequence[str]) -> bool:
    return True


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (VITE, 'Could not resolve "./is-not-there.js" from "main.js"'),
        (NODE, "Error: the sky is falling"),
        (PYTHON, "ModuleNotFoundError: No module named 'nothing'"),
        ("one\ntwo\n", "two"),
        ("\x1b[31merror: \x1b[0mred\nnpm error Lifecycle script `build` failed\n", "error: red"),
        ("", ""),
    ],
)
async def test_the_last_words_of_a_build_say_why_it_failed(output: str, words: str) -> None:
    async with BuildLog(_taken, max_mb=1) as log:
        await log.write(output.encode())
        assert log.last_words == words


async def test_where_only_npm_speaks_it_is_npm_that_says_why() -> None:
    async with BuildLog(_taken, max_mb=1) as log:
        await log.write(NPM.encode())
        assert log.last_words.startswith("npm error 404 Not Found")


async def test_the_ledger_gets_the_first_megabytes_and_what_we_say_and_the_bucket_gets_all() -> (
    None
):
    live: list[str] = []

    async def append(lines: Sequence[str]) -> bool:
        live.extend(lines)
        return True

    async with BuildLog(append, max_mb=16) as log:
        await log.say("$ make")
        for number in range(3000):
            await log.write(f"{number:02000}\n".encode())
        await log.say("Failed: no rule")
        whole = zstandard.decompress(await log.whole()).decode().splitlines()
    assert sum(len(line) for line in live) < LIVE
    assert [live[0], live[-1]] == ["$ make", "Failed: no rule"]
    assert "the whole log" in live[-2]
    assert len([line for line in live if "the whole log" in line]) == 1
    assert live[:-2] == whole[: len(live) - 2]
    assert len(whole) == 3002


async def test_lines_that_say_nothing_count_too() -> None:
    live: list[str] = []

    async def append(lines: Sequence[str]) -> bool:
        live.extend(lines)
        return True

    async with BuildLog(append, max_mb=16) as log:
        await log.write(b"\n" * 150_000)
    assert len(live) < 100_000
