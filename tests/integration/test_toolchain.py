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
from worker.tool import Tool, ToolName
from worker.toolchain import Toolchain, provide

WITHOUT_WANT = "20.18.0"
NODE = Tool(name="node", version=WITHOUT_WANT)


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


class Said(list[str]):
    """The lines of a build's log."""

    async def log(self, line: str) -> None:
        self.append(line)


async def have(
    cache: Path, *tools: Tool, environment: Mapping[str, str], said: Said | None = None
) -> Toolchain:
    heard = Said() if said is None else said
    return await provide(cache, tools, environment=environment, log=heard.log)


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
                environment={**toolchain.variables, "PATH": path},
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
    found = await have(cache, NODE, environment=bare)
    assert found.versions["node"] == WITHOUT_WANT
    script = "node -v; npm -v >/dev/null && npm init -y >/dev/null && npm install is-number"
    said = await inside(found, script, tmp_path)
    assert said.startswith(f"v{WITHOUT_WANT}\n")
    assert "added 1 package" in said


async def test_a_machine_without_node_gets_one_that_only_npm_has(
    cache: Path, bare: Mapping[str, str], tmp_path: Path
) -> None:
    said = Said()
    found = await have(cache, Tool(name="node", version="18.20.4"), environment=bare, said=said)
    assert await inside(found, "node -v; npm -v", tmp_path) >= "v18.20.4\n"
    assert any("18.20.4" in line for line in said)


@pytest.mark.parametrize("wanted", ["", "lts/*", ">=18"])
async def test_a_machine_without_node_gets_a_long_term_release(
    cache: Path, bare: Mapping[str, str], wanted: str
) -> None:
    found = await have(cache, Tool(name="node", version=wanted), environment=bare)
    assert int(found.versions["node"].split(".")[0]) % 2 == 0
    assert int(found.versions["node"].split(".")[0]) >= 20


async def test_the_machines_own_node_is_used_where_it_will_do(
    cache: Path, bare: Mapping[str, str], tmp_path: Path
) -> None:
    # One that was fetched plays the machine's own.
    other = await have(cache, NODE, environment=bare)
    environment = {**os.environ, "PATH": f"{other.paths[0]}:{os.environ['PATH']}"}
    own = tmp_path / "own"
    found = await have(own, Tool(name="node", version=WITHOUT_WANT), environment=environment)
    assert (await inside(found, "node -v", tmp_path)).strip() == f"v{WITHOUT_WANT}"
    assert not list(own.glob("node-*"))


@pytest.mark.parametrize(
    ("name", "version", "begins"),
    [
        ("pnpm", "", ""),
        ("pnpm", "8", "8."),
        ("pnpm", "9.15.4+sha512.abc", "9.15.4"),
        ("yarn", "", "1.22."),
        ("yarn", "4.5.0", "4.5.0"),
        ("npm", "9.9.3", "9.9.3"),
        ("npm", "", ""),
    ],
)
async def test_each_package_manager_comes_in_the_wanted_version(
    cache: Path,
    bare: Mapping[str, str],
    tmp_path: Path,
    name: ToolName,
    version: str,
    begins: str,
) -> None:
    found = await have(cache, NODE, Tool(name=name, version=version), environment=bare)
    said = await inside(found, f"{name} --version", tmp_path)
    assert said.strip().splitlines()[-1].startswith(begins)
    if name in found.versions:
        assert said.strip().splitlines()[-1] == found.versions[name]
    assert found.versions["node"] == WITHOUT_WANT


async def test_two_at_once_fetch_once(cache: Path, bare: Mapping[str, str]) -> None:
    said = Said()
    await have(cache, NODE, environment=bare)
    yarn = Tool(name="yarn", version="1.22.19")
    made = await asyncio.gather(
        *(have(cache, NODE, yarn, environment=bare, said=said) for _ in range(3))
    )
    assert len({each.paths for each in made}) == 1
    assert said == ["Fetching yarn 1.22.19"]


@pytest.mark.parametrize("wanted", ["999", "999.0.0", "banana", "--help", "lts/nosuch"])
async def test_a_node_that_does_not_exist_is_the_repositorys_fault(
    cache: Path, wanted: str
) -> None:
    with pytest.raises(BuildFailed):
        await have(cache, Tool(name="node", version=wanted), environment=os.environ)


async def test_a_package_manager_that_does_not_exist_is_the_repositorys_fault(
    cache: Path, bare: Mapping[str, str]
) -> None:
    for version in ("999", "999.0.0", "../../x", "git+ssh://x"):
        with pytest.raises(BuildFailed) as caught:
            await have(cache, NODE, Tool(name="pnpm", version=version), environment=bare)
        assert caught.value.code == "package_manager_unknown"


async def test_a_documentation_of_python_is_installed_and_built_through_the_proxy(
    cache: Path, tmp_path: Path
) -> None:
    tools = (Tool(name="python"), Tool(name="uv"))
    found = await have(cache, *tools, environment=os.environ)
    script = (
        "mkdir docs && echo '# Hello from MkDocs' > docs/index.md && echo 'site_name: x' "
        "> mkdocs.yml && uv venv -q /work/home/venv && uv pip install -q mkdocs && "
        "mkdocs build -q && cat site/index.html"
    )
    assert "Hello from MkDocs" in await inside(found, script, tmp_path)


async def test_hugo_of_a_version_that_is_not_to_be_had_is_the_nearest_and_is_extended(
    cache: Path, tmp_path: Path
) -> None:
    said = Said()
    asked = Tool(name="hugo", version="0.0.1", why="netlify.toml")
    found = await have(cache, asked, environment=os.environ, said=said)
    assert "extended" in await inside(found, "hugo version", tmp_path)
    assert "netlify.toml" in said[0]
    assert found.versions["hugo"] in said[0]
