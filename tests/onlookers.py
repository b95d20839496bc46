"""Who meets the GitHub stand-in: a webhook's receiver, an API client, a git without settings."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2

from tests.standin import StandIn, Worktree
from tests.standin.git import environment

SECRET = "It's a Secret to Everybody"


@dataclass
class Receiver:
    """A tiny webhook receiver that keeps what it got."""

    url: str
    status: int = 202
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def payloads(self) -> list[dict[str, Any]]:
        """The bodies, in the order of their coming."""
        return [json.loads(body) for _, body in self.got]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens while the body lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(kept.status)
            self.end_headers()
            self.wfile.write(b'{"deployment":"one"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks/github")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(github: StandIn, token: str | None = None) -> httpx2.AsyncClient:
    """A client of the API, let in by `token` (default: the stand-in's own)."""
    return httpx2.AsyncClient(
        base_url=github.api_url,
        headers={"authorization": f"Bearer {token or github.token}", "user-agent": "tests"},
        trust_env=False,
    )


def pushed(github: StandIn, directory: Path, name: str = "octo/site") -> tuple[Worktree, str]:
    """A new repository with a first commit on main: its working copy below `directory`, the sha."""
    github.create_repository(name)
    tree = Worktree(directory / name, github.clone_url(name))
    tree.write({"index.html": "<h1>Hi</h1>", "docs/a.md": "a"})
    sha = tree.commit("First")
    tree.push()
    return tree, sha


def git(
    directory: Path, *arguments: str, **extra: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    """What git did in `directory`, and what it said to stderr. `extra` are variables for it."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=environment(extra),
        capture_output=True,
        text=True,
        check=False,
    )
    return done, done.stderr
