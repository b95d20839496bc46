"""The egress proxy beside slow names and registries that are away."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes import shell
from worker.sandbox import Sandbox, Workspace


class SlowNames:
    """A resolver that answers nothing about `*.slow.example` until it is let."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.let = threading.Event()
        self._real = socket.getaddrinfo

    def __call__(self, host: str, *args: object, **named: object) -> object:
        if str(host).endswith(".slow.example"):
            self.asked.add(host)
            self.let.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return self._real(host, *args, **named)  # type: ignore[arg-type]


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNames]:
    """In place of the machine's resolver."""
    made = SlowNames()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.let.set()


def asks(*targets: str) -> str:
    """Asks the proxy for a tunnel to each, all at once; says what it answered."""
    one = (
        "exec 3<>/dev/tcp/127.0.0.1/3128; "
        'printf "CONNECT $1 HTTP/1.1\\r\\n\\r\\n" >&3; head -n 1 <&3'
    )
    return "; ".join(f"bash -c '{one}' x {each} &" for each in targets).replace("&;", "&") + " wait"


async def test_a_stop_does_not_wait_for_slow_names_nor_does_anybody_else(
    sandbox: Sandbox, workspace: Workspace, slow_names: SlowNames
) -> None:
    stop = asyncio.Event()
    script = asks(*(f"n{number}.slow.example:443" for number in range(60)))
    async with sandbox.workspace() as other:
        try:
            async with asyncio.timeout(30):
                running = asyncio.ensure_future(shell(sandbox, workspace, script, stop=stop))
                while len(slow_names.asked) < 6:
                    await asyncio.sleep(0.01)
                _, said = await shell(sandbox, other, asks("localhost:1"))
                assert await asyncio.to_thread(os.getpid) == os.getpid()
                stop.set()
                outcome, _ = await running
        finally:
            slow_names.let.set()
    assert outcome.killed == "stopped"
    assert "403" in said


async def test_a_build_asks_for_a_few_names_at_a_time(
    sandbox: Sandbox, workspace: Workspace, slow_names: SlowNames
) -> None:
    script = asks(*(f"n{number}.slow.example:443" for number in range(30)))
    running = asyncio.ensure_future(shell(sandbox, workspace, script))
    while len(slow_names.asked) < 8:
        await asyncio.sleep(0.01)
    assert sum(each.name == "lookup" for each in threading.enumerate()) == 8
    slow_names.let.set()
    _, said = await running
    assert said.count("502") == 30
    assert len(slow_names.asked) == 30


async def test_only_a_registry_that_was_away_at_last_is_said_to_be(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as here,
        socket.create_server(("127.0.0.1", 0)) as b,
    ):
        port, gone = here.getsockname()[1], b.getsockname()[1]
        b.close()
        made = Sandbox(
            kind="bubblewrap",
            scratch=tmp_path,
            egress="public",
            environment={
                **os.environ,
                "npm_config_registry": f"http://127.0.0.1:{port}/",
                "PIP_INDEX_URL": f"http://127.0.0.1:{gone}/simple",
            },
        )
        await made.start()
        try:
            async with made.workspace() as workspace:
                script = asks(f"127.0.0.1:{port}", f"127.0.0.1:{gone}", "nowhere.invalid:443")
                away, said = await shell(made, workspace, script)
                assert (said.count("200"), said.count("502")) == (1, 2)
                with socket.create_server(("127.0.0.1", gone)):
                    script = f"{asks(f'127.0.0.1:{gone}')}; exit 1"
                    back, _ = await shell(made, workspace, script)
        finally:
            await made.aclose()
    assert away.away_registries == (f"127.0.0.1:{gone}",)
    assert back.away_registries == ()
