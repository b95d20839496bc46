"""The embedded servers: durable, closed to strangers, supervised, and gone when they should be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from bot.core.errors import Errored
from bot.embedded import Program, Server, Supervisor, seaweedfs, start_seaweedfs, start_valkey
from bot.embedded import valkey as valkey_program
from bot.embedded.sigv4 import signed_headers

ACCESS = {"access_key": "an-access-key", "secret_key": "a-secret-key"}
BUCKET = "pushlane"


async def until(true: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        answer = true()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def listening(pid: int) -> set[tuple[str, int]]:
    """The address and port of each TCP socket on which the process listens."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile: it did not listen
            inodes.add(str(entry.readlink()).removeprefix("socket:[").rstrip("]"))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == "0A" and fields[9] in inodes:
                words = bytes.fromhex(address)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
                found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return found


async def s3(server: Server, method: str, key: str, body: bytes = b"") -> httpx2.Response:
    url = f"{server.environ['PUSHLANE_S3_ENDPOINT_URL']}/{BUCKET}/{key}"
    async with httpx2.AsyncClient(trust_env=False) as client:
        headers = signed_headers(method, url, **ACCESS, body=body)
        return await client.request(method, url, headers=headers, content=body)


def client_of(server: Server) -> Redis:
    return Redis.from_url(server.environ["PUSHLANE_REDIS_URL"], decode_responses=True)


@pytest.fixture
async def weed(tmp_path: Path) -> AsyncIterator[Server]:
    server = await start_seaweedfs(tmp_path / "seaweedfs", **ACCESS, bucket=BUCKET)
    yield server
    assert server.process
    server.process.kill()
    await server.process.wait()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Server]:
    server = await start_valkey(tmp_path / "valkey", password='with "quotes" \\ and /', port=0)
    yield server
    assert server.process
    server.process.kill()
    await server.process.wait()


@pytest.mark.parametrize("port", [None, 0], ids=["socket", "port"])
async def test_valkey_keeps_what_it_acknowledged_through_kill_9(
    tmp_path: Path, port: int | None
) -> None:
    environs = []
    for turn in range(3):
        server = await start_valkey(tmp_path, password="secret", port=port)
        assert server.process
        environs.append(server.environ)
        async with client_of(server) as client:
            assert await client.lrange("list", 0, -1) == [str(n) for n in range(turn * 50)]
            for number in range(turn * 50, turn * 50 + 50):
                await client.rpush("list", number)
            server.process.kill()
        await server.process.wait()
    assert environs[0] == environs[1] == environs[2]


async def test_valkey_is_set_up_so_that_no_acknowledged_write_is_lost(store: Server) -> None:
    async with client_of(store) as client:
        found = await client.config_get("append*", "maxmemory-policy")
    assert found["appendonly"] == "yes"
    assert found["appendfsync"] == "always"
    assert found["maxmemory-policy"] == "noeviction"


async def test_valkey_refuses_whoever_has_no_password(store: Server) -> None:
    url = store.environ["PUSHLANE_REDIS_URL"]
    async with Redis.from_url(f"redis://{url.partition('@')[2]}") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.get("list")


async def test_valkey_with_a_port_listens_on_loopback_only(store: Server) -> None:
    assert {address for address, _ in listening(store.pid)} == {"127.0.0.1"}


async def test_valkey_without_a_port_listens_on_a_socket_of_its_owner_only(tmp_path: Path) -> None:
    server = await start_valkey(tmp_path / "valkey")
    try:
        assert listening(server.pid) == set()
        assert (tmp_path / "valkey").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "valkey" / "valkey.sock").stat().st_mode & 0o777 == 0o700
    finally:
        await server.stop()


async def test_valkey_is_never_reached_by_a_port_without_a_password(tmp_path: Path) -> None:
    with pytest.raises(Errored) as caught:
        await start_valkey(tmp_path, port=0)
    assert caught.value.code == "embedded_open"


async def test_a_second_server_on_the_same_directory_is_refused(store: Server) -> None:
    with pytest.raises(Errored) as caught:
        await start_valkey(store.program.directory, password="another", port=0)
    assert caught.value.code == "embedded_held"


async def test_no_secret_is_in_an_argument_of_a_server(store: Server, weed: Server) -> None:
    arguments = " ".join((*store.program.argv, *weed.program.argv))
    for secret in ("quotes", *ACCESS.values()):
        assert secret not in arguments
    for server in (store, weed):
        readable = {p.name for p in server.program.directory.iterdir() if p.stat().st_mode & 0o077}
        assert server.program.directory.stat().st_mode & 0o777 == 0o700
        assert not readable & {"valkey.conf", "s3.json", "security.toml", "parts.key"}


async def test_seaweedfs_keeps_what_it_acknowledged_through_kill_9(tmp_path: Path) -> None:
    small, large = b"small", os.urandom(9_000_000)
    server = await start_seaweedfs(tmp_path, **ACCESS, bucket=BUCKET)
    assert server.process
    for number in range(20):
        assert (await s3(server, "PUT", f"small-{number}", small)).status_code == 200
    assert (await s3(server, "PUT", "large", large)).status_code == 200
    server.process.kill()
    await server.process.wait()
    again = await start_seaweedfs(tmp_path, **ACCESS, bucket=BUCKET)
    assert again.process
    try:
        assert again.environ == server.environ
        assert any(place.exists() for place in again.program.leftovers)
        for number in range(20):
            assert (await s3(again, "GET", f"small-{number}")).content == small
        assert (await s3(again, "GET", "large")).content == large
    finally:
        again.process.kill()
        await again.process.wait()
    assert not any(place.exists() for place in again.program.leftovers)


async def test_seaweedfs_finds_its_objects_again_where_its_ports_are_taken(tmp_path: Path) -> None:
    server = await start_seaweedfs(tmp_path, **ACCESS, bucket=BUCKET)
    assert (await s3(server, "PUT", "kept", b"kept")).status_code == 200
    await server.stop()
    ports = json.loads((tmp_path / "ports.json").read_text())
    with socket.create_server(("127.0.0.1", ports["master.port"])):
        again = await start_seaweedfs(tmp_path, **ACCESS, bucket=BUCKET)
    try:
        assert json.loads((tmp_path / "ports.json").read_text()) != ports
        assert (await s3(again, "GET", "kept")).content == b"kept"
    finally:
        assert again.process
        again.process.kill()
        await again.process.wait()


async def test_seaweedfs_listens_on_loopback_only(weed: Server) -> None:
    found = listening(weed.pid)
    assert len(found) >= 9
    assert {address for address, _ in found} == {"127.0.0.1"}


async def test_seaweedfs_lets_no_stranger_list_read_write_or_delete(weed: Server) -> None:
    assert (await s3(weed, "PUT", "mine", b"mine")).status_code == 200
    paths = ("/", "/buckets/", f"/buckets/{BUCKET}/", f"/buckets/{BUCKET}/mine", f"/{BUCKET}/mine")
    asked = ("/dir/assign", "/dir/status", "/dir/lookup?volumeId=1", "/vol/grow?count=1")
    allowed = []
    async with httpx2.AsyncClient(trust_env=False, timeout=5) as stranger:
        for _, port in sorted(listening(weed.pid)):
            for method in ("GET", "PUT", "POST", "DELETE"):
                for path in (*paths, *asked):
                    url = f"http://127.0.0.1:{port}{path}"
                    try:
                        answer = await stranger.request(method, url, content=b"not mine")
                    except httpx2.TransportError:  # gRPC with TLS
                        continue
                    if answer.is_success and (path != "/" or b"mine" in answer.content):
                        allowed.append((method, url, answer.text[:80]))
    assert allowed == []
    assert (await s3(weed, "GET", "mine")).content == b"mine"


async def test_seaweedfs_s3_refuses_a_wrong_key(weed: Server) -> None:
    url = f"{weed.environ['PUSHLANE_S3_ENDPOINT_URL']}/{BUCKET}/x"
    headers = signed_headers("GET", url, access_key=ACCESS["access_key"], secret_key="guess")
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(url, headers=headers)).status_code == 403


async def test_seaweedfs_own_shell_gets_nowhere_without_the_certificate(
    weed: Server, tmp_path: Path
) -> None:
    """The shell speaks gRPC, which by default lets anyone on the machine read and delete."""
    assert (await s3(weed, "PUT", "mine", b"mine")).status_code == 200
    ports = json.loads((weed.program.directory / "ports.json").read_text())
    master = f"127.0.0.1:{ports['master.port']}.{ports['master.port.grpc']}"
    filer = f"127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}"

    async def listed(directory: Path) -> bytes:
        shell = await asyncio.create_subprocess_exec(
            weed.program.argv[0],
            "shell",
            f"-master={master}",
            f"-filer={filer}",
            cwd=directory,
            env={"HOME": str(directory)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert shell.stdin
        assert shell.stdout
        shell.stdin.write(f"fs.ls /buckets/{BUCKET}\nexit\n".encode())
        try:
            async with asyncio.timeout(5):
                return await shell.stdout.read()
        except TimeoutError:
            return b""
        finally:
            if shell.returncode is None:
                shell.kill()
            await shell.wait()

    assert b"mine" in await listed(weed.program.directory)
    assert b"mine" not in await listed(tmp_path)


async def test_a_child_that_dies_is_started_again_and_said_so(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    server = valkey_program(tmp_path / "valkey")
    await supervisor.start(server.program)
    try:
        first = supervisor.pid("valkey")
        async with client_of(server) as client:
            await client.set("written", "before")
        os.kill(first, signal.SIGKILL)
        await until(lambda: any("is back" in line for line in said))
        assert supervisor.pid("valkey") != first
        assert "valkey ended (killed by SIGKILL)" in said[0]
        async with client_of(server) as client:
            assert await client.get("written") == "before"
    finally:
        await supervisor.stop_all()


async def test_a_child_that_dies_at_once_is_tried_less_and_less_often(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append)
    argv = (sys.executable, "-c", "raise SystemExit(3)")
    await supervisor.start(Program(name="poor", argv=argv, directory=tmp_path, environ={}))
    await until(lambda: len([line for line in said if "ended (exit code 3)" in line]) == 3)
    await supervisor.stop_all()
    delays = [line.rpartition(" in ")[2] for line in said if "ended" in line]
    assert delays == ["0.5 s", "1 s", "2 s"]


async def test_everything_ends_within_five_seconds_the_engines_last(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None)
    engines = [
        valkey_program(tmp_path / "valkey"),
        seaweedfs(tmp_path / "seaweedfs", **ACCESS, bucket=BUCKET),
    ]
    await asyncio.gather(*(supervisor.start(engine.program) for engine in engines))
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    ended = tmp_path / "ended"
    # Ends well only when the engine still answers while it is being stopped.
    asks = (
        "import pathlib, signal, socket, sys, time\n"
        "def stop(*_):\n"
        "    engine = socket.socket(socket.AF_UNIX)\n"
        f"    engine.connect({str(tmp_path / 'valkey' / 'valkey.sock')!r})\n"
        "    engine.sendall(b'PING\\r\\n')\n"
        f"    pathlib.Path({str(ended)!r}).write_bytes(engine.recv(7))\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('set', flush=True)\n"
        "time.sleep(600)\n"
    )
    log = tmp_path / "asks.log"
    for name, code in (("stubborn", stubborn), ("asks", asks)):
        await supervisor.start(
            Program(
                name=name,
                argv=(sys.executable, "-c", code),
                directory=tmp_path,
                environ={},
                log=log,
            )
        )
    await until(lambda: "set" in log.read_text())
    pids = [supervisor.pid(name) for name in ("valkey", "seaweedfs", "stubborn", "asks")]
    begun = time.monotonic()
    await supervisor.stop_all()
    assert time.monotonic() - begun < 5
    assert not any(map(alive, pids))
    assert ended.read_bytes() == b"+PONG\r\n"


PARENT = """
import asyncio, sys
from pathlib import Path
from bot.embedded import Program, Supervisor, seaweedfs, valkey

async def main():
    here = Path(sys.argv[1])
    supervisor = Supervisor(print)
    keys = {"access_key": "a", "secret_key": "b"}
    for server in (valkey(here / "v"), seaweedfs(here / "s", **keys, bucket="pushlane")):
        await supervisor.start(server.program)
    forever = (sys.executable, "-c", "import time; time.sleep(600)")
    await supervisor.start(Program(name="child", argv=forever, directory=here, environ={}))
    print(*(supervisor.pid(name) for name in ("valkey", "seaweedfs", "child")), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_no_orphan_survives_a_kill_9_of_the_parent(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=subprocess.PIPE
    )
    assert parent.stdout
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == 3
    assert all(map(alive, pids))
    parent.kill()
    await parent.wait()
    await until(lambda: not any(map(alive, pids)), seconds=5)


async def test_a_server_is_started_by_the_main_thread_only(tmp_path: Path) -> None:
    """The kernel would kill it when the thread that started it ends."""
    with pytest.raises(Errored) as caught:
        await asyncio.to_thread(asyncio.run, start_valkey(tmp_path))
    assert caught.value.code == "embedded_thread"
