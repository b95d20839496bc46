"""`pushlane up`: everything on one machine, with whatever the settings do not give embedded."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from bot.core.errors import SettingInvalid
from bot.core.settings import Settings, load, read_dotenv
from bot.embedded.ports import is_free, is_local
from bot.embedded.process import (
    Program,
    Server,
    private_directory,
    write_private,
)
from bot.embedded.seaweedfs import seaweedfs
from bot.embedded.supervisor import Supervisor
from bot.embedded.valkey import valkey

SECRETS_FILE = "secrets.env"
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_MADE = {
    "PUSHLANE_WEBHOOK_SECRET": partial(secrets.token_hex, 32),
    "PUSHLANE_API_TOKEN": partial(secrets.token_urlsafe, 32),
    "PUSHLANE_SECRET_KEY": partial(secrets.token_urlsafe, 32),
    "EMBEDDED_REDIS_PASSWORD": partial(secrets.token_urlsafe, 24),
    "EMBEDDED_S3_ACCESS_KEY": partial(secrets.token_hex, 10),
    "EMBEDDED_S3_SECRET_KEY": partial(secrets.token_urlsafe, 32),
}
"""Each secret that is made when it is not given, and how."""


async def up(
    *,
    environ: Mapping[str, str] | None = None,
    echo: Callable[[str], None] = print,
    ready: Callable[[Settings, str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Starts everything, tells where it is, and keeps it alive until SIGINT, SIGTERM or `stop`.

    `environ` are the settings (default: the process's own). A Redis or an S3 that they name is
    used; else one is embedded in the data directory. `echo` gets one line at a time, and `ready`
    once, when all serve, the settings and the URL by which this machine reaches the bot. That URL
    and the token are kept for the command in `credentials_file(environ)`. Must be called in the
    main thread.

    Raises:
        SettingInvalid: A setting cannot be used, its port is taken, or another `up` holds the
            data directory. The process is to exit with 2.
        Errored: A part does not come to serve.
    """
    given = dict(os.environ if environ is None else environ)
    settings = load(given)
    data_dir = private_directory(settings.data_dir)
    with _held(data_dir):
        if not is_local(settings.host):
            raise SettingInvalid(
                "PUSHLANE_HOST",
                f"is {settings.host!r}, which is no address of this machine; it takes 127.0.0.1, "
                "0.0.0.0 or another of its own",
            )
        if not is_free(settings.port, host=settings.host):
            raise SettingInvalid(
                "PUSHLANE_PORT",
                f"is {settings.port}, where another process listens already; name a free one",
            )
        stop = stop or _at_signals()
        (data_dir / "worker.ready").unlink(missing_ok=True)
        made = _kept_secrets(data_dir, {**read_dotenv(data_dir / ".env"), **given})
        servers = _embedded(settings, data_dir, made)
        children = _children_environ(given, data_dir, made, servers)
        programs = [
            *(server.program for server in servers),
            *(_python(name, settings, children) for name in ("bot", "worker")),
        ]
        supervisor = Supervisor(echo)
        starting = asyncio.create_task(_start(supervisor, programs, echo))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                settings = load(children)
                _keep_credentials(credentials_file(given), settings)
                for line in _greeting(settings, given):
                    echo(line)
                if ready:
                    ready(settings, loopback_url(settings))
                await stopped
            echo("stopping")
        finally:
            starting.cancel()
            stopped.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)
            await supervisor.stop_all()


def credentials_file(environ: Mapping[str, str]) -> Path:
    """Where the command finds the server and its token: `{"url", "token"}`, mode 0600."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~") / ".config")
    return Path(home).expanduser() / "pushlane" / "credentials.json"


@contextlib.contextmanager
def _held(data_dir: Path) -> Iterator[None]:
    """Holds the data directory; the file says who does."""
    with (data_dir / "lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SettingInvalid(
                "PUSHLANE_DATA_DIR",
                f"is {str(data_dir)!r}, held by another `pushlane up` (process "
                f"{file.read().strip() or 'unknown'}); stop that one, or name another directory",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _at_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _kept_secrets(data_dir: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The secrets that nobody gave: those of the data directory's file, made where missing."""
    file = data_dir / SECRETS_FILE
    kept = read_dotenv(file)
    missing = {name: make() for name, make in _MADE.items() if not kept.get(name)}
    if missing:
        kept |= missing
        lines = [f"{name}={value}\n" for name, value in kept.items()]
        write_private(
            file, "# Made by `pushlane up`. Keep it: it opens everything.\n" + "".join(lines)
        )
    return {
        name: value
        for name, value in kept.items()
        if not (given.get(name) or given.get(f"{name}_FILE"))
    }


def _embedded(settings: Settings, data_dir: Path, made: Mapping[str, str]) -> list[Server]:
    """A server for each of the two that the settings do not name."""
    servers = []
    if not settings.redis_url:
        password = made["EMBEDDED_REDIS_PASSWORD"]
        servers.append(valkey(data_dir / "valkey", password=password))
    named = settings.sources["PUSHLANE_S3_BUCKET"] != "default"
    if not named and not settings.s3_endpoint_url:
        servers.append(
            seaweedfs(
                data_dir / "seaweedfs",
                access_key=made["EMBEDDED_S3_ACCESS_KEY"],
                secret_key=made["EMBEDDED_S3_SECRET_KEY"],
                bucket=settings.s3_bucket,
            )
        )
    return servers


def _children_environ(
    given: Mapping[str, str], data_dir: Path, made: Mapping[str, str], servers: list[Server]
) -> dict[str, str]:
    """What the bot and the worker see: the given settings, the made secrets, the servers."""
    secrets_ = {name: value for name, value in made.items() if name.startswith("PUSHLANE_")}
    children = {**given, **secrets_, "PUSHLANE_DATA_DIR": str(data_dir)}
    # Ctrl-C is to end everything within 5 s, so that no build can be waited for: it is given back.
    children["PUSHLANE_STOP_GRACE_SECONDS"] = "0"
    for server in servers:
        if "AWS_ACCESS_KEY_ID" in server.environ:
            # A profile or session of the user's own would win over the embedded server's keys.
            for name in [n for n in children if n.startswith("AWS_") and n != "AWS_CA_BUNDLE"]:
                del children[name]
            for name in ("NO_PROXY", "no_proxy"):
                without = [*filter(None, [given.get(name)]), "127.0.0.1", "localhost"]
                children[name] = ",".join(without)
        children |= server.environ
    return children


def _python(name: str, settings: Settings, environ: Mapping[str, str]) -> Program:
    builds = Path(environ["PUSHLANE_DATA_DIR"]) / "worker.ready"

    async def takes_builds() -> bool:
        return builds.exists()

    async def ready() -> bool:
        try:
            async with httpx2.AsyncClient(trust_env=False, verify=_NO_TLS, timeout=5) as client:
                answer = await client.get(f"{loopback_url(settings)}/readyz")
        except httpx2.TransportError:
            return False
        return answer.status_code == httpx2.codes.OK

    return Program(
        name=name,
        argv=(sys.executable, "-m", name),
        # `-m` looks in the working directory first: there must be nothing but our packages.
        directory=Path(__file__).resolve().parents[2],
        environ={**environ, "PUSHLANE_READY_FILE": str(builds)},
        ready=ready if name == "bot" else takes_builds,
        # The worker proves its sandbox first, which takes some seconds.
        ready_seconds=60.0,
        leftovers=(builds,) if name == "worker" else (),
    )


async def _start(
    supervisor: Supervisor, programs: list[Program], echo: Callable[[str], None]
) -> None:
    for program in programs:
        await supervisor.start(program)
        echo(f"{program.name} serves (process {supervisor.pid(program.name)})")


def loopback_url(settings: Settings) -> str:
    """Where this machine reaches the bot, whatever stands in front of it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _keep_credentials(file: Path, settings: Settings) -> None:
    private_directory(file.parent)
    kept = {"url": loopback_url(settings), "token": settings.api_token}
    write_private(file, json.dumps(kept, indent=2) + "\n")


def _greeting(settings: Settings, given: Mapping[str, str]) -> list[str]:
    secret = settings.webhook_secrets[0].decode()
    url = settings.public_url
    if given.get("PUSHLANE_WEBHOOK_SECRET") or given.get("PUSHLANE_WEBHOOK_SECRET_FILE"):
        secret = "the one that you set"
    lines = [
        "",
        "Pushlane is up.",
        f"  Dashboard       {url}",
        f"  Token           {settings.api_token}",
        f"  Webhook URL     {url}/webhooks/github",
        f"  Webhook secret  {secret}",
        "",
        "Next: on GitHub, in the repository's Settings → Webhooks → Add webhook, paste the URL",
        "and the secret; content type application/json, just the push event. Then git push.",
        "Or at once, without a webhook: pushlane deploy OWNER/NAME",
        "",
    ]
    if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
        lines[-1:] = [
            "GitHub cannot reach this machine by that URL: put a proxy or a tunnel in front, and",
            "name its address by PUSHLANE_PUBLIC_URL.",
            "",
        ]
    return lines
