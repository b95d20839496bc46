"""Serve the stand-in as a process of its own: `python -m tests.standin --port 0 --root DIR`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path

from .access import App
from .hooks import Hook
from .standin import StandIn


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.standin", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, help="directory of the bare repositories")
    parser.add_argument("--hook-url")
    parser.add_argument("--hook-secret", default="")
    parser.add_argument("--hook-form", action="store_true", help="send form-encoded bodies")
    parser.add_argument("--token", help="a token to let in, instead of a random one")
    parser.add_argument("--url", help="what the stand-in calls itself, e.g. https://github.com")
    parser.add_argument("--api-base", help="likewise for the API, e.g. https://api.github.com")
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--app-id", type=int, default=4242)
    parser.add_argument("--app-key-file", type=Path, help="read, or made and written there")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent has ended")
    return parser.parse_args()


def _app(arguments: argparse.Namespace) -> App:
    file: Path | None = arguments.app_key_file
    if file is None or not file.exists():
        app = App(arguments.app_id)
        if file is not None:
            file.touch(mode=0o600)
            file.write_text(app.private_key)
        return app
    return App(arguments.app_id, private_key=file.read_text())


def _warm() -> None:
    import httpx2  # noqa: F401  (after the ready line: the first delivery then need not wait)
    import jsonschema  # noqa: F401


async def _ended(end: asyncio.Event, parent: int | None) -> None:
    """Wait for `end`, or for the end of the process `parent`."""
    while not end.is_set() and parent in (None, os.getppid()):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await end.wait()


async def main() -> None:
    """Serve until told to end; one JSON line on stdout says where, once it is ready."""
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    arguments = _arguments()
    parent = os.getppid() if arguments.with_parent else None
    tls = None
    if arguments.tls_certificate is not None and arguments.tls_key is not None:
        tls = (arguments.tls_certificate, arguments.tls_key)
    if arguments.root is not None:
        arguments.root.mkdir(parents=True, exist_ok=True)
    standin = StandIn(
        arguments.root,
        hook=Hook(arguments.hook_url, arguments.hook_secret, form=arguments.hook_form),
        host=arguments.host,
        port=arguments.port,
        url=arguments.url,
        api_url=arguments.api_base,
        tls=tls,
        token=arguments.token,
        app=_app(arguments),
    )
    async with standin:
        ready = {
            "url": standin.url,
            "api_url": standin.api_url,
            "port": standin.port,
            "token": standin.token,
            "app_id": standin.app.id,
            "root": str(standin.root),
            "pid": os.getpid(),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        threading.Thread(target=_warm, daemon=True).start()
        await _ended(end, parent)


if __name__ == "__main__":
    asyncio.run(main())
