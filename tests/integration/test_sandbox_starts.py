"""Sandboxes that start: where they cannot, beside others, after a crash, as a stranger."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bot.core.errors import SettingInvalid
from tests.sandboxes import Zombies, alive, lasting, shell
from worker.sandbox import Finding, Limits, Sandbox, Workspace

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]


async def test_a_sandbox_starts_in_less_than_a_tenth_of_a_second(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    seconds = sorted([(await shell(sandbox, workspace, "true"))[0].seconds for _ in range(9)])
    print(f"median start and end of a sandbox: {seconds[4] * 1000:.1f} ms")  # noqa: T201
    assert seconds[4] < 0.1


async def test_a_missing_bubblewrap_is_one_line_with_the_cure(tmp_path: Path) -> None:
    made = Sandbox(
        kind="bubblewrap", scratch=tmp_path, egress="public", environment={"PATH": "/nowhere"}
    )
    with pytest.raises(SettingInvalid, match="apt-get install bubblewrap") as caught:
        await made.start()
    assert "\n" not in str(caught.value)


async def test_a_bubblewrap_that_fails_is_one_line_with_what_it_said(tmp_path: Path) -> None:
    false = tmp_path / "bin" / "bwrap"
    false.parent.mkdir()
    false.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    false.chmod(0o755)
    path = f"{false.parent}:{os.environ['PATH']}"
    made = Sandbox(
        kind="bubblewrap",
        scratch=tmp_path / "scratch",
        egress="public",
        environment={**os.environ, "PATH": path},
    )
    tmp_path.chmod(0o755)
    with pytest.raises(SettingInvalid, match="unprivileged_userns") as caught:
        await made.start()
    assert "\n" not in str(caught.value)


async def test_without_bubblewrap_a_build_is_still_a_stranger_within_limits(
    tmp_path: Path,
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    environment = {**os.environ, "PUSHLANE_SECRET_KEY": "open-sesame"}
    made = Sandbox(kind="none", scratch=closed, egress="public", environment=environment)
    await made.start()
    mark, zombies = lasting(57), Zombies()
    try:
        async with made.workspace() as workspace:
            script = f"id -u; env; setsid {mark} >/dev/null 2>&1 & sleep 0.3; touch here"
            outcome, said = await shell(made, workspace, script)
            assert outcome.exit_code == 0, said
            assert said.split()[0] != "0"
            assert "open-sesame" not in said
            assert (workspace.path / "source" / "here").exists()
            assert alive(mark) == []
            eat = "x=$(head -c 400000000 /dev/zero | tr '\\0' x)"
            limits = Limits(timeout_seconds=20, memory_mb=96)
            outcome, _ = await shell(made, workspace, eat, limits=limits)
            assert outcome.killed == "memory"
        findings = await made.self_test()
        assert [each.name for each in findings if not each.ok][:1] == ["bubblewrap"]
    finally:
        await made.aclose()
    assert zombies.found() == []


_ABANDONED = """
import asyncio, os, sys
from pathlib import Path
from worker.sandbox import Limits, Sandbox
async def main():
    made = Sandbox(kind=sys.argv[1], scratch=Path(sys.argv[2]), egress="public",
                   environment=os.environ)
    await made.start()
    async with made.workspace() as workspace:
        await made.execute(sys.argv[3] + " & " + sys.argv[3], workspace=workspace, environment={},
                           limits=Limits(timeout_seconds=90, memory_mb=128), on_output=None)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["bubblewrap", "none"])
async def test_what_a_killed_worker_left_is_gone_when_the_next_has_started(
    tmp_path: Path, kind: str
) -> None:
    mark = lasting(58)
    left = subprocess.Popen(
        [sys.executable, "-c", _ABANDONED, kind, str(tmp_path), mark], cwd=REPOSITORY
    )
    while len(alive(mark)) < 2:
        assert left.poll() is None
        await asyncio.sleep(0.02)
    left.kill()
    left.wait()
    made = Sandbox(kind="bubblewrap", scratch=tmp_path, egress="public", environment=os.environ)
    await made.start()
    try:
        assert alive(mark) == []
        assert [each.name for each in (tmp_path / "worker-0").iterdir()] == [".lock"]
    finally:
        await made.aclose()


async def test_two_workers_on_one_scratch_do_not_touch_each_other(tmp_path: Path) -> None:
    made = [
        Sandbox(kind="bubblewrap", scratch=tmp_path, egress="public", environment=os.environ)
        for _ in range(2)
    ]
    await made[0].start()
    try:
        async with made[0].workspace() as workspace:
            running = asyncio.ensure_future(shell(made[0], workspace, "sleep 1.5; echo through"))
            await made[1].start()
            await made[1].aclose()
            outcome, said = await running
            assert (outcome.exit_code, said) == (0, "through\n")
    finally:
        await made[0].aclose()


_STRANGER = """
import asyncio, json, os, sys, time
from pathlib import Path
from worker.sandbox import Limits, Sandbox
async def main():
    made = Sandbox(kind="bubblewrap", scratch=Path(sys.argv[1]), egress="public",
                   environment=os.environ)
    await made.start()
    killed = {}
    async with made.workspace() as workspace:
        async def told(command, **limits):
            limits = {"timeout_seconds": 20, "memory_mb": 256, **limits}
            outcome = await made.execute(command, workspace=workspace, environment={},
                                         limits=Limits(**limits), on_output=None)
            return outcome.killed
        killed["memory"] = await told("x=$(head -c 400000000 /dev/zero | tr '\\\\0' x)",
                                      memory_mb=96)
        killed["timeout"] = await told(f"setsid {sys.argv[2]} & {sys.argv[2]}", timeout_seconds=1)
        killed["processes"] = await told(
            "bash -c 'f() { f | f & }; f; sleep 15; exit 1' 2>/dev/null", processes=80)
        killed["disk"] = await told(
            "while head -c 9000000 /dev/zero >> /tmp/f; do sleep 0.05; done; exit 3", work_mb=50)
    findings = [[each.name, each.ok, each.detail] for each in await made.self_test()]
    await made.aclose()
    print(json.dumps({"killed": killed, "findings": findings}))
asyncio.run(main())
"""


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A directory that every user may pass; pytest closes its own, each session anew."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _stranger(directory: Path) -> tuple[list[str], str]:
    """An interpreter that an unprivileged user can start, and the path to import from."""
    packages = directory / "packages"
    for name in ("bot", "worker"):
        shutil.copytree(REPOSITORY / name, packages / name)
    assert msgspec.__file__
    shutil.copytree(Path(msgspec.__file__).parent, packages / "msgspec")
    subprocess.run(["chmod", "-R", "a+rX", str(packages)], check=True)
    # Who is not root is a stranger already.
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if ROOT else []
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    probe = "import sys; open(sys.executable).close()"
    for candidate in (os.path.realpath(sys.executable), f"/usr/bin/{version}"):
        found = subprocess.run([*drop, candidate, "-c", probe], capture_output=True, check=False)
        if found.returncode == 0:
            return [*drop, candidate], str(packages)
    pytest.fail(f"only root may start this Python: install {version} for everyone, too")


async def test_a_worker_that_is_not_root_holds_the_same_walls(everyones: Path) -> None:
    prefix, packages = _stranger(everyones)
    mark = lasting(50)
    scratch = everyones / "scratch"
    scratch.mkdir(mode=0o700)
    if ROOT:
        os.chown(scratch, 65534, 65534)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": packages, "HOME": str(scratch)}
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *("-c", _STRANGER, str(scratch), mark),
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found = msgspec.json.decode(out)
    findings = [Finding(*each) for each in found["findings"]]
    assert [each.name for each in findings if not each.ok] == ["limits by cgroup"]
    assert found["killed"] == {
        "memory": "memory",
        "timeout": "timeout",
        "processes": "processes",
        "disk": "disk",
    }
    assert alive(mark) == []
