"""The GitHub stand-in fails when it is told to, speaks TLS, and ends at once."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from threading import enumerate as enumerate_threads
from typing import Any

import httpx2
import pytest

from tests.onlookers import SECRET, Receiver, client_of, git, pushed
from tests.standin import StandIn, Worktree, sign
from tests.standin.certificates import make_certificates


async def test_faults_come_as_ordered_and_then_end(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
    path, body = f"/repos/octo/site/statuses/{sha}", {"state": "success"}
    github.faults.add("POST", "/statuses/", 502, times=2)
    github.faults.secondary_limit(7)
    github.faults.primary_limit(30)
    github.faults.add("POST", "/statuses/", 429, {"Retry-After": "3"})
    answers = [await client.post(path, json=body) for _ in range(6)]
    assert [each.status_code for each in answers] == [502, 502, 403, 403, 429, 201]
    assert answers[2].headers["retry-after"] == "7"
    assert answers[3].headers["x-ratelimit-remaining"] == "0"
    assert int(answers[3].headers["x-ratelimit-reset"]) > time.time() + 20
    assert answers[4].headers["retry-after"] == "3"
    assert len(github.statuses()) == 1

    github.faults.add("POST", "/statuses/", drop_connection=True)
    with pytest.raises(httpx2.TransportError):
        await client.post(path, json=body)
    assert len(github.statuses()) == 1
    github.faults.add("POST", "/statuses/", drop_connection="after")
    with pytest.raises(httpx2.TransportError):
        await client.post(path, json=body)
    assert len(github.statuses()) == 2

    github.faults.add("POST", "/statuses/", hang=True)
    with pytest.raises(httpx2.ReadTimeout):
        await client.post(path, json=body, timeout=0.2)
    fault = github.faults.add("POST", "/statuses/", delay=0.3)
    began = time.monotonic()
    assert (await client.post(path, json=body)).status_code == 201
    assert time.monotonic() - began >= 0.3
    assert fault.hits == 1

    github.faults.add("GET", "info/refs", 503)
    done, error = git(tmp_path, "ls-remote", github.clone_url("octo/site"))
    assert done.returncode == 128
    assert "503" in error


async def test_it_serves_https_under_githubs_names_by_a_private_ca(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls", ["github.com", "api.github.com", "127.0.0.1"])
    async with StandIn(
        tmp_path / "github",
        tls=made.tls,
        url="https://github.com",
        api_url="https://api.github.com",
    ) as github:
        github.create_repository("octo/site")
        here = f"https://127.0.0.1:{github.port}"
        tree = Worktree(tmp_path / "tree", f"{here}/octo/site.git", ca=made.ca)
        sha = tree.commit("First")
        tree.push()
        curl = f"http.curloptResolve=github.com:{github.port}:127.0.0.1"
        url = f"https://github.com:{github.port}/octo/site.git"
        done, error = git(tmp_path, "-c", curl, "ls-remote", url, GIT_SSL_CAINFO=str(made.ca))
        assert sha in done.stdout, error
        distrusted, _ = git(tmp_path, "-c", curl, "ls-remote", url)
        assert distrusted.returncode == 128
        context = ssl.create_default_context(cafile=made.ca)
        async with httpx2.AsyncClient(verify=context, trust_env=False) as client:
            request = client.build_request(
                "GET",
                f"{here}/repos/octo/site",
                headers={"host": "api.github.com"},
                extensions={"sni_hostname": "api.github.com"},
            )
            shape = (await client.send(request)).json()
        assert shape["url"] == "https://api.github.com/repos/octo/site"
        assert shape["clone_url"] == "https://github.com/octo/site.git"


async def test_it_ends_at_once_in_the_middle_of_a_request(tmp_path: Path) -> None:
    before = set(enumerate_threads())
    async with StandIn(tmp_path / "github") as github:
        github.create_repository("octo/site")
        github.faults.add("GET", "/repos", hang=True)
        async with client_of(github) as client:
            waiting = asyncio.create_task(client.get("/repos/octo/site"))
            while not github.faults._faults[0].hits:
                await asyncio.sleep(0.005)
            began = time.monotonic()
            await github.__aexit__(None, None, None)
            assert time.monotonic() - began < 1
            with pytest.raises(httpx2.TransportError):
                await waiting
            left = set(enumerate_threads()) - before
            assert not [each for each in left if each.name == "standin"]


def test_as_a_process_it_is_driven_over_http_and_ends_when_told(
    receiver: Receiver, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.standin", "--root", str(tmp_path / "github")]
    command += ["--hook-url", receiver.url, "--hook-secret", SECRET, "--token", "let-me-in"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as process:
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["token"] == "let-me-in"
            with httpx2.Client(base_url=ready["url"], trust_env=False) as client:
                wanted = {"name": "octo/site", "private": True, "default_branch": "trunk"}
                made = client.post("/_standin/repositories", json=wanted).json()
                tree = Worktree(tmp_path / "tree", made["clone_url"], token="let-me-in")
                sha = tree.commit("First")
                tree.push("trunk")
                deliveries: list[Any] = []
                until = time.monotonic() + 10
                while not deliveries and time.monotonic() < until:
                    deliveries = client.get("/_standin/deliveries").json()
                assert deliveries[0]["request"]["payload"]["after"] == sha
                assert deliveries[0]["status_code"] == 202
                fault = {"method": "POST", "path_regex": "/statuses/", "status": 503}
                assert client.post("/_standin/faults", json=fault).status_code == 200
                path = f"{ready['api_url']}/repos/octo/site/statuses/{sha}"
                headers = {"authorization": "Bearer let-me-in"}
                codes = [
                    client.post(path, json={"state": "success"}, headers=headers).status_code
                    for _ in range(2)
                ]
                assert codes == [503, 201]
                statuses = client.get("/_standin/statuses", params={"sha": sha}).json()
                assert [each["state"] for each in statuses] == ["success"]
                assert client.post("/_standin/hook", json={"colour": 1}).status_code == 400
            assert receiver.got[0][0]["x-hub-signature-256"] == sign(receiver.got[0][1], SECRET)
        finally:
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
            assert time.monotonic() - began < 1
