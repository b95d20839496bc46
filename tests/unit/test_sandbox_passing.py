"""What of the worker's environment a build is told."""

from __future__ import annotations

import os
from pathlib import Path

from worker.sandbox.kernel import remove_tree, size_of_tree
from worker.sandbox.passing import survey


async def test_certificates_and_indexes_pass_and_secrets_do_not(tmp_path: Path) -> None:
    authority = tmp_path / "deep" / "ca.pem"
    authority.parent.mkdir()
    authority.write_text("x")
    passing = await survey(
        {
            "PATH": "/nowhere",
            "SSL_CERT_FILE": str(authority),
            "PIP_INDEX_URL": "http://mirror.example:8080/simple",
            "npm_config_registry": "https://npm.example/",
            "npm_config__auth": "secret",
            "npm_config_//npm.example/:_authToken": "secret",
            "npm_config_cache": "/root/.npm",
            "PIP_CACHE_DIR": "/root/.cache",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "HTTPS_PROXY": "http://proxy.example:3128",
            "PUSHLANE_SECRET_KEY": "secret",
        }
    )
    assert "secret" not in passing.variables.values()
    assert passing.variables["SSL_CERT_FILE"] == str(authority)
    assert passing.variables["npm_config_registry"] == "https://npm.example/"
    assert not {"npm_config_cache", "PIP_CACHE_DIR", "HTTPS_PROXY"} & set(passing.variables)
    assert authority in passing.paths
    assert "http://proxy.example:3128" in passing.urls
    assert "http://mirror.example:8080/simple" in passing.urls


async def test_uv_is_told_what_pip_is_configured_to() -> None:
    passing = await survey(
        {
            "PATH": "/nowhere",
            "PIP_INDEX_URL": "http://mirror.example:8080/simple",
            "PIP_EXTRA_INDEX_URL": "http://more.example/simple",
            "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        }
    )
    assert passing.variables["UV_DEFAULT_INDEX"] == "http://mirror.example:8080/simple"
    assert passing.variables["UV_INDEX"] == "http://more.example/simple"
    assert passing.variables["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    chosen = {"PATH": "/nowhere", "PIP_INDEX_URL": "http://a/", "UV_INDEX_URL": "http://b/"}
    assert "UV_DEFAULT_INDEX" not in (await survey(chosen)).variables


def test_a_tree_is_removed_whatever_its_modes_and_depth(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    top = tmp_path / "top"
    top.mkdir()
    (top / "link").symlink_to(outside)
    locked = top / "locked"
    locked.mkdir()
    (locked / "file").write_text("x")
    locked.chmod(0)
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(top)
    assert not top.exists()
    assert (outside / "kept").exists()


def test_the_size_of_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/usr")
    size, count = size_of_tree(tmp_path, most_bytes=10**9, most_files=10**9)
    assert 100_000 <= size < 200_000
    assert count == 2


def test_a_tree_is_read_no_further_than_to_the_most(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).write_bytes(b"x" * 10_000)
    assert size_of_tree(tmp_path, most_bytes=10**9, most_files=4)[1] == 4
    assert size_of_tree(tmp_path, most_bytes=30_000, most_files=10**9)[0] < 50_000


def test_a_place_too_deep_to_look_at_hides_no_size(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=at)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    assert size_of_tree(tmp_path, most_bytes=10**9, most_files=10**9) == (10**9, 10**9)
