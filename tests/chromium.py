"""A real browser without a window: Chromium loads a page and hands over what became of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_VIRTUAL_MS = 5000
_SECONDS = 60


class Browser:
    """One load of one page, in a profile of its own below `directory`."""

    def __init__(self, directory: Path) -> None:
        found = [path for name in _NAMES if (path := shutil.which(name))]
        assert found, "install chromium: scripts/setup --dev does, as root"
        self._command = (
            found[0],
            "--headless",
            "--no-sandbox",  # as root it does not start with it; it sees pages of ours only
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={directory / 'profile'}",
        )

    async def dom(self, url: str) -> str:
        """The document as HTML, after its scripts have had five seconds of their own time.

        That time stands still while a request is open, so a page that listens to a stream is
        handed over when the stream has ended.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command,
            "--dump-dom",
            f"--virtual-time-budget={_VIRTUAL_MS}",
            url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_SECONDS):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, err.decode("utf-8", "replace")[-2000:]
        return out.decode("utf-8")
