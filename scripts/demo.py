"""The demo: push a site to a stand-in for GitHub, see it live, change it, break it.

Everything but GitHub is the real thing: `pushlane up` with its Valkey and SeaweedFS, git over HTTP,
a signed webhook, an npm build in the sandbox, the gateway, the statuses on the commit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from rich.console import Console
from rich.markup import escape

from bot.cli.output import plain, seconds_in_words
from bot.embedded.ports import kept_ports
from tests.standin import Hook, StandIn, Worktree

REPOSITORY: Final = "acme/hello"
LONGEST: Final = 300.0
"""Seconds that one push may take; the first one may have to fetch Node."""

SITE: Final = {
    "package.json": json.dumps(
        {
            "name": "hello",
            "private": True,
            "type": "module",
            "scripts": {"build": "vite build"},
            "devDependencies": {"vite": "^7.0.0"},
        },
        indent=2,
    ),
    "index.html": (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Hello</title>\n"
        '<main id="greeting">%s</main>\n<script type="module" src="/main.js"></script>\n</html>\n'
    ),
    "main.js": "import './style.css';\nconsole.log('live');\n",
    "style.css": "main { font: 3rem system-ui; display: grid; place-items: center }\n",
    ".gitignore": "node_modules\ndist\n",
}


class DemoFailed(Exception):
    """Something did not come as it should; the message says what."""


@dataclass(slots=True)
class Stage:
    """Where the demo plays."""

    github: StandIn
    worktree: Worktree
    url: str
    token: str
    console: Console
    up: subprocess.Popen[bytes]
    log: Path
    client: httpx2.AsyncClient

    async def push(self, words: str, message: str, **changed: str) -> tuple[str, float]:
        """Pushes the site with these words on its page; answers the commit and when it began."""
        files = {**SITE, "index.html": SITE["index.html"] % words, **changed}
        self.worktree.write(files)
        sha = await asyncio.to_thread(self.worktree.commit, message)
        begun = time.monotonic()
        self.console.print(f"\n[bold]$ git push[/bold]   [dim]{message} ({sha[:7]})[/dim]")
        await asyncio.to_thread(self.worktree.push)
        return sha, begun

    async def page(self) -> str:
        """What production shows now, asked for by its Host as a proxy would."""
        host = f"hello.{httpx2.URL(self.url).netloc.decode().replace('127.0.0.1', 'localhost')}"
        answer = await self.client.get(self.url, headers={"Host": host})
        return answer.text if answer.is_success else ""

    async def deployment_of(self, sha: str) -> dict[str, Any]:
        """The newest deployment of a commit, or an empty record."""
        answer = await self.client.get(
            f"{self.url}/api/v1/deployments", headers={"Authorization": f"Bearer {self.token}"}
        )
        found = answer.json()["deployments"] if answer.is_success else []
        return next((each for each in found if each["commit"] == sha), {})

    async def live(self, words: str, sha: str, begun: float) -> float:
        """Waits until production shows the words; answers the seconds since the push began."""
        await self._until(lambda: self._shows(words), sha)
        return time.monotonic() - begun

    async def told(self, sha: str, state: str) -> None:
        """Waits until the commit bears this state on GitHub."""

        async def there() -> bool:
            found = self.github.statuses(sha)
            return bool(found) and found[-1].state == state

        await self._until(there, sha)
        last = self.github.statuses(sha)[-1]
        words = " → ".join(dict.fromkeys(each.state for each in self.github.statuses(sha)))
        self.console.print(f"  status on the commit: {words}   [dim]{last.description}[/dim]")
        self.console.print(f"  its link: {last.target_url}", highlight=False)

    async def _last_line(self, id_: str) -> str:
        """What its log says last, which tells what takes the time."""
        answer = await self.client.get(
            f"{self.url}/api/v1/deployments/{id_}/log",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        lines = answer.text.splitlines() if answer.is_success else []
        return plain(lines[-1])[:60] if lines else ""

    async def _shows(self, words: str) -> bool:
        return words in await self.page()

    async def _until(self, true: Callable[[], Awaitable[bool]], sha: str) -> None:
        begun = time.monotonic()
        end, look_at, line = begun + LONGEST, begun, ""
        with self.console.status("received") as spinner:
            while not await true():
                now = await self.deployment_of(sha)
                if now and time.monotonic() > look_at:
                    look_at, line = time.monotonic() + 0.5, await self._last_line(now["id"])
                if now:
                    seconds = f"{time.monotonic() - begun:.0f} s"
                    spinner.update(escape(f"{now['status']}, {seconds}   {line}"))
                if self.up.poll() is not None:
                    raise DemoFailed(f"`pushlane up` ended:\n{_tail(self.log)}")
                if time.monotonic() > end:
                    raise DemoFailed(f"{sha[:7]} did not come to that: {json.dumps(now)}")
                await asyncio.sleep(0.02)


async def play(console: Console, *, keep: bool) -> dict[str, Any]:
    """The whole demo; answers what `--json` prints."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pushlane-demo-")))
        port = kept_ports(directory / "ports.json", ("bot",))["bot"]
        secret, token = secrets.token_hex(32), secrets.token_urlsafe(32)
        url = f"http://127.0.0.1:{port}"
        hook = Hook(f"{url}/webhooks/github", secret)
        github = await stack.enter_async_context(StandIn(directory / "github", hook=hook))
        github.create_repository(REPOSITORY)
        log = directory / "up.log"
        console.print("[bold]$ pushlane up[/bold]   [dim]Valkey, SeaweedFS, bot, worker[/dim]")
        up = _up(directory, log, port=port, secret=secret, token=token, github=github)
        stack.callback(_end, up)
        client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=20))
        stage = Stage(
            github=github,
            worktree=Worktree(directory / "work", github.clone_url(REPOSITORY), token=github.token),
            url=url,
            token=token,
            console=console,
            up=up,
            log=log,
            client=client,
        )
        await _until_ready(stage)
        told = await _three_pushes(stage)
        console.print(
            f"\n[bold green]Live[/bold green] {told['url']}   "
            f"{told['push_to_live_seconds']:.2f} s from push to live, "
            f"{told['second_push_to_live_seconds']:.2f} s the second time",
            highlight=False,
        )
        if keep:
            command = await asyncio.to_thread(hand_over, stage.worktree, token=github.token)
            console.print(
                f"  Dashboard  {url.replace('127.0.0.1', 'localhost')}\n"
                f"  Token      {token}\n"
                f"  Push more  {command}\n"
                "The page there is changed already: change it further, or push it as it is.\n"
                "Ctrl-C ends it all.",
                highlight=False,
            )
            await _interrupted()
        else:
            console.print(
                "  It ends now, and that URL with it: scripts/demo --keep leaves it running."
            )
        return told


async def _three_pushes(stage: Stage) -> dict[str, Any]:
    console = stage.console
    sha, begun = await stage.push("Hello, world", "Say hello")
    first = await stage.live("Hello, world", sha, begun)
    console.print(f"  [green]live after {first:.2f} s[/green]")
    await stage.told(sha, "success")
    record = await stage.deployment_of(sha)
    took = (f"{each['name']} {seconds_in_words(each['seconds'])}" for each in record["stages"])
    console.print(
        f"  of it: {', '.join(took)}   [dim]building begins with npm install[/dim]",
        highlight=False,
    )
    states = [each.state for each in stage.github.statuses(sha)]

    again, begun = await stage.push("Hello again", "Say it again")
    second = await stage.live("Hello again", again, begun)
    console.print(f"  [green]live after {second:.2f} s[/green]")
    await stage.told(again, "success")

    broken, _ = await stage.push(
        "Never seen", "Break the build", **{"main.js": "import './is-not-there.js';\n"}
    )
    await stage.told(broken, "failure")
    if "Hello again" not in await stage.page():
        raise DemoFailed("a build that failed changed the site")
    console.print("  the site is as it was")
    return {
        "url": record["urls"]["production"],
        "deployment": record["id"],
        "status": record["status"],
        "states": states,
        "push_to_live_seconds": round(first, 3),
        "second_push_to_live_seconds": round(second, 3),
    }


def _up(
    directory: Path, log: Path, *, port: int, secret: str, token: str, github: StandIn
) -> subprocess.Popen[bytes]:
    inherited = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("PUSHLANE_", "AWS_")) and name not in ("REDIS_URL", "PORT")
    }
    environ = {
        **inherited,
        "PUSHLANE_DATA_DIR": str(directory / "data"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        "PUSHLANE_PORT": str(port),
        "PUSHLANE_WEBHOOK_SECRET": secret,
        "PUSHLANE_API_TOKEN": token,
        "PUSHLANE_GITHUB_URL": github.url,
        "PUSHLANE_GITHUB_API_URL": github.api_url,
        "PUSHLANE_GITHUB_TOKEN": github.token,
    }
    with log.open("wb") as file:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("pushlane")), "up"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


async def _until_ready(stage: Stage) -> None:
    begun = time.monotonic()
    with stage.console.status("starting"):
        while True:
            if stage.up.poll() is not None:
                raise DemoFailed(f"`pushlane up` ended:\n{_tail(stage.log)}")
            # It says so when the worker takes builds, which is after the bot serves.
            if "Pushlane is up." in stage.log.read_text(errors="replace"):
                break
            if time.monotonic() - begun > LONGEST:
                raise DemoFailed(f"`pushlane up` does not serve:\n{_tail(stage.log)}")
            await asyncio.sleep(0.05)
    stage.console.print(f"  up after {time.monotonic() - begun:.1f} s")


def hand_over(worktree: Worktree, *, token: str) -> str:
    """Lets anybody here commit in the work tree and push from it; answers the command for that.

    The site is whole again in it, with a page that is not committed yet: so there is something to
    push, and what is pushed is built.
    """
    url = worktree.remote_url
    worktree.git("remote", "add", "origin", url)
    worktree.git("push", "--quiet", "--set-upstream", "origin", "main")
    for name, value in {
        f"http.{url}.extraHeader": f"Authorization: Bearer {token}",
        f"http.{url}.proxy": "",  # one that the environment names does not lead to this machine
        "push.default": "simple",
        "user.name": "Ada Example",
        "user.email": "ada@example.com",
        "commit.gpgSign": "false",
    }.items():
        worktree.git("config", name, value)
    worktree.write({**SITE, "index.html": SITE["index.html"] % "Hello from you"})
    return f"cd {worktree.path} && git commit -am x && git push"


async def _interrupted() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def _end(up: subprocess.Popen[bytes]) -> None:
    if up.poll() is None:
        up.send_signal(signal.SIGINT)
    try:
        up.wait(10)
    except subprocess.TimeoutExpired:
        up.kill()
        up.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def main() -> int:
    """0 when all went as it should, else 1."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    arguments = parser.parse_args()
    console = Console(stderr=True, soft_wrap=True)  # a URL that is broken is none
    try:
        told = asyncio.run(play(console, keep=arguments.keep))
    except DemoFailed as error:
        console.print(f"the demo failed: {error}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(told) if arguments.json else told["url"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
