"""What npm is asked, and what it is told, by a program in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.errors import BuildFailed
from worker.tool import Tool
from worker.toolchain import provide
from worker.toolchain.registry import npm_view

ENVIRONMENT = {
    "HOME": "/home/of-the-worker",
    "SSL_CERT_FILE": "/etc/ca.pem",
    "HTTPS_PROXY": "http://proxy.example",
    "npm_config_//mirror.example/:_authToken": "for-the-mirror",
    "PUSHLANE_GITHUB_TOKEN": "open-sesame",
    "AWS_SECRET_ACCESS_KEY": "open-sesame",
    "NODE_OPTIONS": "--require=/tmp/x",
}


async def quiet(_: str) -> None:
    pass


async def test_npm_is_told_where_its_registry_is_and_no_secret_of_ours(tmp_path: Path) -> None:
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\ncat /proc/$$/environ > {tmp_path}/told\necho '\"1.0.0\"'\n")
    npm.chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": "/usr/bin:/bin"}
    assert await npm_view(tmp_path, "x@1", "version", [npm.parent], environment) == ["1.0.0"]
    told = (tmp_path / "told").read_text()
    assert "open-sesame" not in told
    assert "NODE_OPTIONS" not in told
    for part in ("HOME=/home/of-the-worker", "SSL_CERT_FILE", "HTTPS_PROXY", "for-the-mirror"):
        assert part in told


@pytest.mark.parametrize(
    "version", ["1" * 5000 + ".0.0", "9" * 300 + ".0.0", "1 || " * 50_000 + "1", "1" * 5000]
)
async def test_a_version_longer_than_any_is_the_repositorys_fault(
    tmp_path: Path, version: str
) -> None:
    tools = [Tool(name="npm", version=version)]
    with pytest.raises(BuildFailed) as caught:
        await provide(tmp_path, tools, environment={}, log=quiet)
    assert caught.value.code == "package_manager_unknown"
    assert len(caught.value.message) < 400
