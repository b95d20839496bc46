"""Toolchains from the real registries, with and without a Node.js on the machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.core.errors import BuildFailed
from worker.sandbox import Limits, Sandbox
from worker.toolchain import Toolchain, node, package_manager

WITHOUT_WANT = "20.18.0"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests of this file, whatever their order: that is what a cache is for."""
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    return closed / "toolchains"


@pytest.fixture
def bare(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a machine that has no Node.js at all."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "env", "uname"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    return {**os.environ, "PATH": str(programs)}


async def quiet(_: str) -> None:
    pass


async def inside(toolchain: Toolchain, command: str, tmp_path: Path) -> str:
    """What `command` says in a sandbox that has this toolchain."""
    said = bytearray()

    async def hear(chunk: bytes) -> None:
        said.extend(chunk)

    made = Sandbox(
        kind="bubblewrap", scratch=tmp_path / "scratch", egress="public", environment=os.environ
    )
    await made.start()
    try:
        async with made.workspace() as workspace:
            path = ":".join([*(str(each) for each in toolchain.paths), "/usr/bin:/bin"])
            outcome = await made.execute(
                command,
                workspace=workspace,
                environment={"PATH": path},
                limits=Limits(timeout_seconds=90, memory_mb=1024),
                mounts=toolchain.mounts,
                on_output=hear,
            )
    finally:
        await made.aclose()
    assert outcome.exit_code == 0, said.decode(errors="replace")
    return said.decode()


async def test_a_machine_without_node_gets_the_wanted_one_and_can_install_with_it(
    cache: Path, bare: Mapping[str, str], tmp_path: Path
) -> None:
    found = await node(cache, wanted=WITHOUT_WANT, environment=bare, log=quiet)
    assert found.versions["node"] == WITHOUT_WANT
    script = "node -v; npm -v >/dev/null && npm init -y >/dev/null && npm install is-number"
    said = await inside(found, script, tmp_path)
    assert said.startswith(f"v{WITHOUT_WANT}\n")
    assert "added 1 package" in said


async def test_a_machine_without_node_gets_one_that_only_npm_has(
    cache: Path, bare: Mapping[str, str], tmp_path: Path
) -> None:
    said: list[str] = []

    async def log(line: str) -> None:
        said.append(line)

    found = await node(cache, wanted="18.20.4", environment=bare, log=log)
    assert await inside(found, "node -v; npm -v", tmp_path) >= "v18.20.4\n"
    assert any("18.20.4" in line for line in said)


@pytest.mark.parametrize("wanted", [None, "lts/*", ">=18"])
async def test_a_machine_without_node_gets_a_long_term_release(
    cache: Path, bare: Mapping[str, str], wanted: str | None
) -> None:
    found = await node(cache, wanted=wanted, environment=bare, log=quiet)
    assert int(found.versions["node"].split(".")[0]) % 2 == 0
    assert int(found.versions["node"].split(".")[0]) >= 20


async def test_the_machines_own_node_is_used_where_it_will_do(
    cache: Path, bare: Mapping[str, str], tmp_path: Path
) -> None:
    environment = dict(os.environ)
    if shutil.which("node") is None:
        # Then one that was fetched plays the machine's own.
        other = await node(tmp_path / "own", wanted=">=20", environment=bare, log=quiet)
        environment["PATH"] = f"{other.paths[0]}:{environment['PATH']}"
    found = await node(cache, wanted=">=4", environment=environment, log=quiet)
    version = (await inside(found, "node -v", tmp_path)).strip()
    assert version == f"v{found.versions['node']}"
    assert not any(str(each.source).startswith(str(cache)) for each in found.mounts)


@pytest.mark.parametrize(
    ("name", "version", "begins"),
    [
        ("pnpm", None, ""),
        ("pnpm", "8", "8."),
        ("pnpm", "9.15.4+sha512.abc", "9.15.4"),
        ("yarn", None, "1.22."),
        ("yarn", "4.5.0", "4.5.0"),
        ("npm", "9.9.3", "9.9.3"),
        ("npm", None, ""),
    ],
)
async def test_each_package_manager_comes_in_the_wanted_version(
    cache: Path,
    bare: Mapping[str, str],
    tmp_path: Path,
    name: str,
    version: str | None,
    begins: str,
) -> None:
    first = await node(cache, wanted=WITHOUT_WANT, environment=bare, log=quiet)
    found = await package_manager(
        cache,
        name=name,  # type: ignore[arg-type]
        version=version,
        toolchain=first,
        environment=bare,
        log=quiet,
    )
    said = await inside(found, f"{name} --version", tmp_path)
    assert said.strip().splitlines()[-1].startswith(begins)
    if name in found.versions:
        assert said.strip().splitlines()[-1] == found.versions[name]
    assert found.versions["node"] == WITHOUT_WANT


async def test_two_at_once_fetch_once(cache: Path, bare: Mapping[str, str]) -> None:
    said: list[str] = []

    async def log(line: str) -> None:
        said.append(line)

    first = await node(cache, wanted=WITHOUT_WANT, environment=bare, log=quiet)
    made = await asyncio.gather(
        *(
            package_manager(
                cache,
                name="yarn",
                version="1.22.19",
                toolchain=first,
                environment=bare,
                log=log,
            )
            for _ in range(3)
        )
    )
    assert len({each.paths for each in made}) == 1
    assert said == ["Fetching yarn 1.22.19"]


@pytest.mark.parametrize("wanted", ["999", "999.0.0", "banana", "--help", "lts/nosuch"])
async def test_a_node_that_does_not_exist_is_the_repositorys_fault(
    cache: Path, wanted: str
) -> None:
    with pytest.raises(BuildFailed):
        await node(cache, wanted=wanted, environment=os.environ, log=quiet)


async def test_a_package_manager_that_does_not_exist_is_the_repositorys_fault(
    cache: Path, bare: Mapping[str, str]
) -> None:
    first = await node(cache, wanted=WITHOUT_WANT, environment=bare, log=quiet)
    for version in ("999", "999.0.0", "../../x", "git+ssh://x"):
        with pytest.raises(BuildFailed):
            await package_manager(
                cache,
                name="pnpm",
                version=version,
                toolchain=first,
                environment=bare,
                log=quiet,
            )
