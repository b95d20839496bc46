"""The GitHub stand-in behaves as GitHub does, where we lean on it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import Any
from urllib.parse import parse_qs

import httpx2
import jwt
import pytest

from tests.standin import ZERO, StandIn, Worktree, push_payload, sign
from tests.standin.certificates import make_certificates
from tests.standin.description import answer_errors
from tests.standin.git import environment

SECRET = "It's a Secret to Everybody"
REPO = "/repos/{owner}/{repo}"


@dataclass
class Receiver:
    """A tiny webhook receiver that keeps what it got."""

    url: str
    status: int = 202
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def payloads(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(kept.status)
            self.end_headers()
            self.wfile.write(b'{"deployment":"one"}')

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept = Receiver(f"http://127.0.0.1:{server.server_port}/webhooks/github")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
async def github(tmp_path: Path, receiver: Receiver) -> AsyncIterator[StandIn]:
    async with StandIn(tmp_path / "github") as standin:
        standin.hook.url, standin.hook.secret = receiver.url, SECRET
        yield standin


@pytest.fixture
async def client(github: StandIn) -> AsyncIterator[httpx2.AsyncClient]:
    async with _client(github) as client:
        yield client


def _client(github: StandIn, token: str | None = None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        base_url=github.api_url,
        headers={"authorization": f"Bearer {token or github.token}", "user-agent": "tests"},
        trust_env=False,
    )


def _pushed(github: StandIn, tmp_path: Path, name: str = "octo/site") -> tuple[Worktree, str]:
    github.create_repository(name)
    tree = Worktree(tmp_path / name, github.clone_url(name))
    tree.write({"index.html": "<h1>Hi</h1>", "docs/a.md": "a"})
    sha = tree.commit("First")
    tree.push()
    return tree, sha


def _git(
    directory: Path, *arguments: str, **extra: str
) -> tuple[subprocess.CompletedProcess[str], str]:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=environment(extra),
        capture_output=True,
        text=True,
        check=False,
    )
    return done, done.stderr


async def test_a_real_push_sends_a_signed_event_of_the_whole_shape(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = _pushed(github, tmp_path)
    tree.write({"index.html": "<h1>Ho</h1>", "docs/a.md": None, "new file.txt": "é"})
    second = tree.commit("Second\n\nwith a body")
    tree.push()
    await github.settled()

    assert len(receiver.got) == 2
    headers, body = receiver.got[1]
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["x-hub-signature"].startswith("sha1=")
    assert headers["x-github-event"] == "push"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert headers["content-type"] == "application/json"
    created, changed = receiver.payloads()
    assert (created["before"], created["after"], created["created"]) == (ZERO, first, True)
    assert (changed["ref"], changed["before"], changed["after"]) == (
        "refs/heads/main",
        first,
        second,
    )
    assert not changed["forced"]
    assert not changed["deleted"]
    assert changed["base_ref"] is None
    [commit] = changed["commits"]
    assert commit == changed["head_commit"]
    assert (commit["added"], commit["removed"], commit["modified"]) == (
        ["new file.txt"],
        ["docs/a.md"],
        ["index.html"],
    )
    assert commit["message"] == "Second\n\nwith a body"
    assert commit["tree_id"] == tree.git("rev-parse", "HEAD^{tree}")
    repository = changed["repository"]
    assert repository["id"] == github.repository("octo/site").id
    assert isinstance(repository["pushed_at"], int)
    assert isinstance(repository["created_at"], int)
    assert repository["owner"]["login"] == "octo"
    assert repository["master_branch"] == "main"
    assert len(repository) > 80
    assert [each.status_code for each in github.deliveries] == [202, 202]
    assert github.deliveries[1].answer == {"deployment": "one"}


def test_the_signature_is_the_one_of_githubs_documentation() -> None:
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign(b"Hello, World!", SECRET) == expected


async def test_branches_tags_forced_pushes_and_deletions_are_told_apart(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = _pushed(github, tmp_path)
    tree.switch("feat/x")
    tree.push("feat/x")
    tree.commit("Second")
    tree.push("feat/x")
    tree.reset(first)
    tree.push("feat/x", force=True)
    tree.delete_branch("feat/x")
    tree.tag("v1", message="One")
    tree.push("refs/tags/v1", source="v1")
    await github.settled()

    _, made, forward, forced, deleted, tag = receiver.payloads()
    assert (made["ref"], made["created"], made["commits"]) == ("refs/heads/feat/x", True, [])
    assert made["base_ref"] == "refs/heads/main"
    assert made["head_commit"]["id"] == first
    assert not forward["forced"]
    assert forced["forced"]
    assert forced["after"] == first
    assert forced["commits"] == []
    assert deleted["deleted"]
    assert deleted["after"] == ZERO
    assert deleted["head_commit"] is None
    assert tag["ref"] == "refs/tags/v1"
    assert tag["head_commit"]["id"] == first
    assert tag["after"] == tree.git("rev-parse", "v1") != first


async def test_a_refused_push_is_no_event(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = _pushed(github, tmp_path)
    tree.commit("Second")
    tree.push()
    tree.reset(first)
    with pytest.raises(subprocess.CalledProcessError):
        tree.push()
    await github.settled()
    assert len(receiver.got) == 2


async def test_a_large_push_streams_through(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, _ = _pushed(github, tmp_path)
    noise = os.urandom(8 << 20)
    tree.write({"noise.bin": noise})
    sha = tree.commit("Noise")
    tree.push()
    await github.settled()
    assert receiver.payloads()[-1]["after"] == sha
    clone = tmp_path / "clone"
    done, error = _git(tmp_path, "clone", "--quiet", f"{github.url}/octo/site", str(clone))
    assert done.returncode == 0, error
    assert (clone / "noise.bin").read_bytes() == noise


async def test_deliveries_are_redelivered_held_reordered_doubled_and_form_encoded(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = _pushed(github, tmp_path)
    await github.settled()
    again = await github.redeliver(github.deliveries[0].guid)
    assert again.redelivery
    assert receiver.got[1][1] == receiver.got[0][1]
    assert receiver.got[1][0]["x-github-delivery"] == receiver.got[0][0]["x-github-delivery"]

    github.hook.hold = True
    second, third = [(tree.commit(str(n)), tree.push())[0] for n in range(2)]
    await github.settled()
    assert len(receiver.got) == 2
    github.hook.hold = False
    await github.release("reversed")
    assert [each["after"] for each in receiver.payloads()[2:]] == [third, second]

    github.hook.form, github.hook.duplicates = True, 1
    fourth = tree.commit("form")
    tree.push()
    await github.settled()
    (headers, body), (doubled, _) = receiver.got[4:]
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["x-hub-signature-256"] == sign(body, SECRET)
    assert headers["x-github-delivery"] == doubled["x-github-delivery"]
    assert json.loads(parse_qs(body.decode())["payload"][0])["after"] == fourth

    github.hook.enabled = False
    tree.commit("unheard")
    tree.push()
    await github.settled()
    assert len(receiver.got) == 6
    assert first != fourth


async def test_an_event_can_be_sent_as_one_likes(github: StandIn, receiver: Receiver) -> None:
    github.create_repository("octo/site")
    github.repository("octo/site").pushed_at_override = 1_700_000_000
    sent = await github.send_push("octo/site", after="b" * 40, guid="one", message="Made up")
    payload = receiver.payloads()[0]
    assert payload["repository"]["pushed_at"] == 1_700_000_000
    assert payload["head_commit"]["message"] == "Made up"
    assert sent.guid == "one"
    await github.send_push("octo/site", after="c" * 40, pushed_at=5)
    assert receiver.payloads()[1]["repository"]["pushed_at"] == 5
    raw = json.dumps(push_payload(repository="octo/other", after=ZERO, before="d" * 40)).encode()
    await github.send_event("push", raw, headers={"X-Hub-Signature-256": None})
    assert "x-hub-signature-256" not in receiver.got[2][0]
    assert receiver.payloads()[2]["deleted"]
    ping = await github.send_ping("octo/site")
    assert ping is not None
    assert receiver.got[3][0]["x-github-event"] == "ping"
    receiver.status = 500
    failed = await github.send_ping()
    assert failed is not None
    assert failed.status_code == 500
    assert failed.status != "OK"
    github.hook.url = "http://127.0.0.1:9/"
    unreached = await github.send_ping()
    assert unreached is not None
    assert unreached.status_code == 502


async def test_a_status_is_kept_and_its_answer_is_as_described(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = _pushed(github, tmp_path)
    body = {
        "state": "pending",
        "description": "x" * 140,
        "context": "pushlane/site",
        "target_url": "http://localhost/x",
    }
    answer = await client.post(f"/repos/octo/site/statuses/{sha}", json=body)
    assert answer.status_code == 201
    assert answer_errors("post", f"{REPO}/statuses/{{sha}}", 201, answer.json()) == []
    assert answer.headers["x-ratelimit-limit"] == "5000"
    assert answer.headers["x-ratelimit-remaining"] == "4999"
    assert answer.headers["x-ratelimit-resource"] == "core"
    [kept] = github.statuses(sha)
    assert (kept.state, kept.context, kept.description) == ("pending", "pushlane/site", "x" * 140)
    assert kept.headers["authorization"] == f"Bearer {github.token}"
    root = await client.get(f"{github.url}/repos/octo/site/commits/{sha}/statuses")
    assert [each["state"] for each in root.json()] == ["pending"]
    read = await client.get(f"{github.url}/_standin/statuses", params={"sha": sha})
    assert read.json()[0]["target_url"] == "http://localhost/x"
    assert github.token not in read.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"description": "x" * 141}, "description"),
        ({"state": "queued"}, "state"),
        ({"state": None}, "state"),
        ({"context": "c" * 256}, "context"),
        ({"target_url": "javascript:alert(1)"}, "target_url"),
        ({"description": 5}, "description"),
    ],
)
async def test_a_bad_status_is_refused_as_github_does(
    github: StandIn,
    client: httpx2.AsyncClient,
    tmp_path: Path,
    change: dict[str, object],
    field: str,
) -> None:
    _, sha = _pushed(github, tmp_path)
    answer = await client.post(
        f"/repos/octo/site/statuses/{sha}", json={"state": "success"} | change
    )
    assert answer.status_code == 422
    assert answer.json()["message"] == "Validation Failed"
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert github.statuses() == []


async def test_a_status_needs_its_state_a_known_commit_and_room(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = _pushed(github, tmp_path)
    missing = await client.post(f"/repos/octo/site/statuses/{sha}", json={})
    assert missing.status_code == 422
    assert missing.json()["errors"][0]["code"] == "missing_field"
    assert missing.json()["errors"][0]["field"] == "state"
    unknown = await client.post(f"/repos/octo/site/statuses/{'a' * 40}", json={"state": "error"})
    assert (unknown.status_code, unknown.json()["message"]) == (
        422,
        f"No commit found for SHA: {'a' * 40}",
    )
    malformed = await client.post(f"/repos/octo/site/statuses/{sha}", content=b"{")
    assert malformed.status_code == 400
    ok = await client.post(f"/repos/octo/site/statuses/{sha}", json={"state": "error"})
    assert ok.status_code == 201
    github.world.statuses.extend(github.statuses() * 999)
    full = await client.post(f"/repos/octo/site/statuses/{sha}", json={"state": "error"})
    assert full.status_code == 422
    assert "maximum" in full.json()["errors"][0]["message"]


async def test_tokens_reach_what_their_scopes_allow(github: StandIn, tmp_path: Path) -> None:
    _, sha = _pushed(github, tmp_path)
    github.create_repository("octo/secret", private=True)
    statuses_only = github.access.allow(scopes=["repo:status"])
    nothing = github.access.allow(scopes=[])
    async with httpx2.AsyncClient(base_url=github.api_url, trust_env=False) as anyone:
        post, body = f"/repos/octo/site/statuses/{sha}", {"state": "success"}
        assert (await anyone.get("/repos/octo/site")).status_code == 200
        assert (await anyone.get("/repos/octo/secret")).status_code == 404
        assert (await anyone.post(post, json=body)).status_code == 401
        bad = await anyone.get("/repos/octo/site", headers={"authorization": "token nonsense"})
        assert (bad.status_code, bad.json()["message"]) == (401, "Bad credentials")
    async with _client(github, statuses_only) as client:
        assert (await client.post(post, json=body)).status_code == 201
        assert (await client.get("/repos/octo/secret/commits/main")).status_code == 404
    async with _client(github, nothing) as client:
        assert (await client.post(post, json=body)).status_code == 403
    github.access.revoke(statuses_only)
    async with _client(github, statuses_only) as client:
        assert (await client.post(post, json=body)).status_code == 401


async def test_reading_answers_are_as_described(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    tree, sha = _pushed(github, tmp_path)
    tree.push("feat/x")
    await client.post(f"/repos/octo/site/statuses/{sha}", json={"state": "success"})
    await github.settled()
    number = github.deliveries[0].id
    hook = f"/repos/octo/site/hooks/{github.hook.id}"
    asked = {
        "/repos/octo/site": REPO,
        f"/repositories/{github.repository('octo/site').id}": REPO,
        "/repos/octo/site/branches": f"{REPO}/branches",
        "/repos/octo/site/branches/feat/x": f"{REPO}/branches/{{branch}}",
        "/repos/octo/site/branches/feat%2Fx": f"{REPO}/branches/{{branch}}",
        "/repos/octo/site/commits/main": f"{REPO}/commits/{{ref}}",
        f"/repos/octo/site/commits/{sha}/status": f"{REPO}/commits/{{ref}}/status",
        f"/repos/octo/site/commits/{sha}/statuses": f"{REPO}/commits/{{ref}}/statuses",
        "/rate_limit": "/rate_limit",
        "/repos/octo/site/hooks": f"{REPO}/hooks",
        f"{hook}/deliveries": f"{REPO}/hooks/{{hook_id}}/deliveries",
        f"{hook}/deliveries/{number}": f"{REPO}/hooks/{{hook_id}}/deliveries/{{delivery_id}}",
    }
    for path, template in asked.items():
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert answer_errors("get", template, 200, answer.json()) == [], path
    assert (await client.get("/repos/octo/site/commits/main")).json()["sha"] == sha
    assert (await client.get("/repos/octo/site/branches/none")).status_code == 404
    assert (await client.get("/repos/octo/none")).status_code == 404
    assert (await client.get("/user")).json()["login"] == "pushlane-bot"
    assert (await client.get(f"{hook}/deliveries?status=maybe")).status_code == 422
    page = await client.get("/repos/octo/site/branches?per_page=1")
    assert len(page.json()) == 1
    assert 'rel="next"' in page.headers["link"]


async def test_an_app_gets_a_token_by_its_jwt_and_works_with_it(
    github: StandIn, tmp_path: Path
) -> None:
    _, sha = _pushed(github, tmp_path)
    app, now = github.app, int(time.time())

    def signed(**claims: int | str) -> str:
        whole = {"iat": now - 60, "exp": now + 540, "iss": str(app.id)} | claims
        return jwt.encode(whole, app.private_key, algorithm="RS256")

    async with _client(github, signed()) as client:
        described = await client.get("/app")
        assert answer_errors("get", "/app", 200, described.json()) == []
        installation = (await client.get("/repos/octo/site/installation")).json()
        assert answer_errors("get", f"{REPO}/installation", 200, installation) == []
        path = f"/app/installations/{installation['id']}/access_tokens"
        too_much = await client.post(path, json={"permissions": {"contents": "write"}})
        assert too_much.status_code == 422
        wrong = await client.post(path, json={"permissions": {"contents": "all"}})
        assert wrong.json()["message"] == "Validation Failed"
        made = await client.post(path, json={"repositories": ["site"]})
        template = "/app/installations/{installation_id}/access_tokens"
        assert answer_errors("post", template, 201, made.json()) == []
        await github.settled()
        [delivery] = (await client.get("/app/hook/deliveries")).json()
        again = await client.post(f"/app/hook/deliveries/{delivery['id']}/attempts")
        assert again.status_code == 202
        assert github.deliveries[-1].redelivery
    async with _client(github, made.json()["token"]) as client:
        body = {"state": "success"}
        posted = await client.post(f"/repos/octo/site/statuses/{sha}", json=body)
        assert posted.status_code == 201
        assert github.statuses(sha)[0].login == "pushlane-test[bot]"
    for bad in (signed(exp=now + 3600), signed(exp=now - 120), signed(iss="1"), signed()[:-9]):
        async with _client(github, bad) as client:
            assert (await client.get("/app")).status_code == 401


async def test_an_exact_commit_is_fetched_shallow_over_protocol_v2(
    github: StandIn, tmp_path: Path
) -> None:
    tree, first = _pushed(github, tmp_path)
    tree.commit("Second")
    tree.push()
    mirror = tmp_path / "mirror"
    _git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    fetch = ("-c", "protocol.version=2", "fetch", "--depth=1", github.clone_url("octo/site"))
    done, error = _git(mirror, *fetch, f"+{first}:refs/x", GIT_TRACE_PACKET="1")
    assert done.returncode == 0, error
    assert "version 2" in error
    assert "command=fetch" in error
    listed, _ = _git(mirror, "rev-list", "refs/x")
    assert listed.stdout.split() == [first]


async def test_a_commit_can_be_unfetchable_for_a_while(github: StandIn, tmp_path: Path) -> None:
    _, sha = _pushed(github, tmp_path)
    mirror = tmp_path / "mirror"
    _git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    github.faults.hide_commit(sha, requests=2)
    for version in ("2", "0"):
        fetch = ("-c", f"protocol.version={version}", "fetch", github.clone_url("octo/site"), sha)
        done, error = _git(mirror, *fetch)
        assert done.returncode == 128
        assert f"not our ref {sha}" in error
    done, error = _git(mirror, "fetch", github.clone_url("octo/site"), sha)
    assert done.returncode == 0, error


async def test_a_compressed_request_is_read_too(github: StandIn, tmp_path: Path) -> None:
    tree, _ = _pushed(github, tmp_path)
    shas = []
    for number in range(30):
        shas.append(tree.commit(str(number)))
        tree.git("branch", f"b{number}")
    tree.push_all("refs/heads/*:refs/heads/*")
    mirror = tmp_path / "mirror"
    _git(tmp_path, "init", "--quiet", "--bare", str(mirror))
    fetch = ("fetch", github.clone_url("octo/site"), "+refs/heads/*:refs/heads/*")
    github.faults.hide_commit(shas[7], requests=1)
    done, error = _git(mirror, *fetch, GIT_TRACE_CURL="1")
    assert "Content-Encoding: gzip" in error
    assert f"not our ref {shas[7]}" in error
    done, error = _git(mirror, *fetch)
    assert done.returncode == 0, error
    assert _git(mirror, "rev-parse", "b7")[0].stdout.strip() == shas[7]


async def test_a_private_or_missing_repository_shows_itself_to_nobody(
    github: StandIn, tmp_path: Path
) -> None:
    github.create_repository("octo/secret", private=True)
    url = github.clone_url("octo/secret")
    tree = Worktree(tmp_path / "tree", url, token=github.token)
    sha = tree.commit("First")
    tree.push()
    for hidden in (url, github.clone_url("octo/none")):
        done, error = _git(tmp_path, "ls-remote", hidden)
        assert done.returncode == 128
        assert "could not read Username" in error
    header = "http.extraHeader=Authorization: Bearer"
    done, error = _git(tmp_path, "-c", f"{header} nonsense", "ls-remote", url)
    assert done.returncode == 128
    assert "could not read Username" in error
    unseen = github.access.allow(scopes=["repo:status"])
    done, error = _git(tmp_path, "-c", f"{header} {unseen}", "ls-remote", url)
    assert done.returncode == 128
    assert "not found" in error
    good = f"{header} {github.token}"
    done, error = _git(tmp_path, "-c", good, "ls-remote", github.clone_url("octo/none"))
    assert done.returncode == 128
    assert "not found" in error
    done, error = _git(tmp_path, "-c", good, "ls-remote", url)
    assert sha in done.stdout
    with_login = url.replace("://", f"://x-access-token:{github.token}@")
    done, error = _git(tmp_path, "ls-remote", with_login)
    assert sha in done.stdout


async def test_a_renamed_repository_redirects_and_keeps_its_number(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = _pushed(github, tmp_path)
    number = github.repository("octo/site").id
    github.world.rename("octo/site", "octo/renamed")
    moved = await client.get("/repos/octo/site")
    assert moved.status_code == 301
    found = await client.get(moved.headers["location"])
    assert (found.json()["id"], found.json()["full_name"]) == (number, "octo/renamed")
    done, error = _git(tmp_path, "ls-remote", github.clone_url("octo/site"))
    assert sha in done.stdout, error


async def test_faults_come_as_ordered_and_then_end(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = _pushed(github, tmp_path)
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
    done, error = _git(tmp_path, "ls-remote", github.clone_url("octo/site"))
    assert done.returncode == 128
    assert "503" in error


async def test_a_spent_rate_limit_refuses(github: StandIn, client: httpx2.AsyncClient) -> None:
    github.create_repository("octo/site")
    allowance = github.access.allowance(f"Bearer {github.token}")
    allowance.used = allowance.limit - 1
    assert (await client.get("/repos/octo/site")).headers["x-ratelimit-remaining"] == "0"
    refused = await client.get("/repos/octo/site")
    assert refused.status_code == 403
    assert "rate limit" in refused.json()["message"]
    assert (await client.get("/rate_limit")).json()["rate"]["remaining"] == 0


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
        done, error = _git(tmp_path, "-c", curl, "ls-remote", url, GIT_SSL_CAINFO=str(made.ca))
        assert sha in done.stdout, error
        distrusted, _ = _git(tmp_path, "-c", curl, "ls-remote", url)
        assert distrusted.returncode == 128
        import ssl

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
    async with StandIn(tmp_path / "github") as github:
        github.create_repository("octo/site")
        github.faults.add("GET", "/repos", hang=True)
        async with _client(github) as client:
            waiting = asyncio.create_task(client.get("/repos/octo/site"))
            while not github.faults._faults[0].hits:  # noqa: ASYNC110  set in another thread
                await asyncio.sleep(0.005)
            began = time.monotonic()
            await github.__aexit__(None, None, None)
            assert time.monotonic() - began < 1
            with pytest.raises(httpx2.TransportError):
                await waiting
            assert not [each for each in enumerate_threads() if each.name == "standin"]


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
