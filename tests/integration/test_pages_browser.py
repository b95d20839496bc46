"""A page in a real browser: it fills while it is open, and what a stranger wrote stays text."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.core.deployment import Status
from tests.chromium import Browser
from tests.conftest import S3
from tests.hosting import served
from tests.pages import HOSTILE, Reading, a_reading


class Watched:
    """An application whose event streams are noticed when they are asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.listened = asyncio.Event()
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(scope["path"])
        if scope["path"].endswith("/events"):
            self.listened.set()
        await self._app(scope, receive, send)


@pytest.fixture
async def reading(valkey: str, seaweedfs: S3, prefix: str) -> AsyncIterator[Reading]:
    async with a_reading(valkey, seaweedfs, prefix) as found:
        yield found


def lines_in(dom: str) -> list[str]:
    found = re.findall(r'id="L\d+">\s*<a [^>]*>(\d+)</a>\s*<span>(.*?)</span>\s*</div>', dom)
    return [f"{n} {html.unescape(re.sub('<[^>]*>', '', text))}" for n, text in found]


async def test_a_page_fills_while_it_is_open_and_runs_nothing_that_a_stranger_wrote(
    reading: Reading, tmp_path: Path
) -> None:
    held = await reading.building("A", "one", HOSTILE, message=f"Say {HOSTILE}", author=HOSTILE)
    watched = Watched(reading.app)
    async with served(watched) as port:
        url = f"http://localhost:{port}/deployments/{held.id}"
        looking = asyncio.create_task(Browser(tmp_path).dom(url))
        listening = asyncio.create_task(watched.listened.wait())
        await asyncio.wait({looking, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        await reading.ledger.logs.append(held, [f"\x1b[32mlater\x1b[0m {HOSTILE}", "last"])
        await reading.ended(
            held, Status.FAILED, error_code="build_failed", error_message=f"Broken: {HOSTILE}"
        )
        dom = await looking
    assert lines_in(dom) == ["1 one", f"2 {HOSTILE}", f"3 later {HOSTILE}", "4 last"]
    assert '<span class="fg-green">later</span>' in dom
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title
    assert re.fullmatch(r"Failed after \d+\.\d s · site @ main · Pushlane", title[1])
    assert re.search(r'id="said"[^>]*>Failed after', dom)
    assert "Broken: &lt;script&gt;" in dom
    assert re.findall(r"<script[^>]*>", dom) == re.findall(r"<script type=\"module\"[^>]*>", dom)


async def test_the_page_of_one_that_has_ended_listens_to_nothing(
    reading: Reading, tmp_path: Path
) -> None:
    held = await reading.building("A", "one")
    await reading.ended(held)
    watched = Watched(reading.app)
    async with served(watched) as port:
        dom = await Browser(tmp_path).dom(f"http://localhost:{port}/deployments/{held.id}")
    assert lines_in(dom) == ["1 one"]
    assert not watched.listened.is_set()
    assert any(path.endswith(".js") for path in watched.asked)
