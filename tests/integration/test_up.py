"""`pushlane up`: everything from one command, and everything gone with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from bot.embedded.ports import kept_ports

UP = """
import asyncio, sys
from bot.core.errors import SettingInvalid
from bot.embedded import up
try:
    asyncio.run(up(echo=lambda line: print(line, flush=True)))
except SettingInvalid as error:
    print(error, flush=True)
    sys.exit(2)
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    port = kept_ports(tmp_path / "port.json", ("bot",))["bot"]
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("PUSHLANE_", "AWS_"))}
    inherited.pop("REDIS_URL", None)
    return {
        **inherited,
        "PUSHLANE_DATA_DIR": str(tmp_path / "kept"),
        "PUSHLANE_PORT": str(port),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


async def start(environ: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", UP, env=environ, stdout=subprocess.PIPE, start_new_session=True
    )


async def lines_until(process: asyncio.subprocess.Process, word: str) -> list[str]:
    assert process.stdout
    lines = []
    async with asyncio.timeout(60):
        async for line in process.stdout:
            lines.append(line.decode().rstrip())
            if word in lines[-1]:
                return lines
    raise AssertionError("\n".join(lines))


async def stop(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    return await process.wait()


@pytest.fixture
async def pushlane(environ: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start(environ)
    yield process
    await stop(process)


def children(pid: int) -> set[int]:
    """Of the main thread, which alone starts any."""
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def value(lines: list[str], label: str) -> str:
    return next(line.split()[-1] for line in lines if line.strip().startswith(label))


async def test_up_serves_says_where_and_ends_with_ctrl_c_within_five_seconds(
    pushlane: asyncio.subprocess.Process, environ: dict[str, str], tmp_path: Path
) -> None:
    lines = await lines_until(pushlane, "Or at once")
    url = f"http://127.0.0.1:{environ['PUSHLANE_PORT']}"
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/readyz")).status_code == 200
    assert value(lines, "Webhook URL").endswith("/webhooks/github")
    assert len(value(lines, "Webhook secret")) == 64

    stored = tmp_path / "config" / "pushlane" / "credentials.json"
    assert json.loads(stored.read_text()) == {"url": url, "token": value(lines, "Token")}
    assert stored.stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "kept"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert (kept / "secrets.env").stat().st_mode & 0o777 == 0o600

    started = children(pushlane.pid)
    assert len(started) == 4
    begun = time.monotonic()
    assert await stop(pushlane) == 0
    assert time.monotonic() - begun < 5
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


async def test_a_second_up_on_the_same_directory_says_who_holds_it(
    pushlane: asyncio.subprocess.Process, environ: dict[str, str]
) -> None:
    await lines_until(pushlane, "valkey serves")
    second = await start(environ)
    said, _ = await second.communicate()
    assert second.returncode == 2
    assert f"process {pushlane.pid}" in said.decode()


async def test_the_secrets_are_the_same_after_a_kill_9(
    pushlane: asyncio.subprocess.Process, environ: dict[str, str]
) -> None:
    first = await lines_until(pushlane, "Webhook secret")
    pushlane.kill()
    await pushlane.wait()
    again = await start(environ)
    try:
        second = await lines_until(again, "Webhook secret")
    finally:
        await stop(again)
    for label in ("Token", "Webhook secret"):
        assert value(first, label) == value(second, label)


async def test_only_what_is_not_given_is_embedded(environ: dict[str, str], valkey: str) -> None:
    process = await start({**environ, "PUSHLANE_REDIS_URL": valkey})
    try:
        lines = await lines_until(process, "bot serves")
    finally:
        await stop(process)
    assert not any("valkey" in line for line in lines)
    assert any(line.startswith("seaweedfs serves") for line in lines)


async def test_a_port_that_is_taken_is_one_line_and_exit_code_2(environ: dict[str, str]) -> None:
    async def nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nothing, "127.0.0.1", int(environ["PUSHLANE_PORT"]))
    async with server:
        process = await start(environ)
        said, _ = await process.communicate()
    assert process.returncode == 2
    assert said.decode().startswith(f"PUSHLANE_PORT: is {environ['PUSHLANE_PORT']}")
    assert len(said.decode().splitlines()) == 1
