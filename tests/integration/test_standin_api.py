"""The GitHub stand-in's API answers as GitHub's does, where we lean on it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import jwt
import pytest

from tests.onlookers import client_of, pushed
from tests.standin import StandIn
from tests.standin.description import answer_errors

REPO = "/repos/{owner}/{repo}"


async def test_a_status_is_kept_and_its_answer_is_as_described(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    _, sha = pushed(github, tmp_path)
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
    _, sha = pushed(github, tmp_path)
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
    _, sha = pushed(github, tmp_path)
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
    _, sha = pushed(github, tmp_path)
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
    async with client_of(github, statuses_only) as client:
        assert (await client.post(post, json=body)).status_code == 201
        assert (await client.get("/repos/octo/secret/commits/main")).status_code == 404
    async with client_of(github, nothing) as client:
        assert (await client.post(post, json=body)).status_code == 403
    github.access.revoke(statuses_only)
    async with client_of(github, statuses_only) as client:
        assert (await client.post(post, json=body)).status_code == 401


async def test_reading_answers_are_as_described(
    github: StandIn, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    tree, sha = pushed(github, tmp_path)
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
    _, sha = pushed(github, tmp_path)
    app, now = github.app, int(time.time())

    def signed(**claims: int | str) -> str:
        whole = {"iat": now - 60, "exp": now + 540, "iss": str(app.id)} | claims
        return jwt.encode(whole, app.private_key, algorithm="RS256")

    async with client_of(github, signed()) as client:
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
    async with client_of(github, made.json()["token"]) as client:
        body = {"state": "success"}
        posted = await client.post(f"/repos/octo/site/statuses/{sha}", json=body)
        assert posted.status_code == 201
        assert github.statuses(sha)[0].login == "pushlane-test[bot]"
    for bad in (signed(exp=now + 3600), signed(exp=now - 120), signed(iss="1"), signed()[:-9]):
        async with client_of(github, bad) as client:
            assert (await client.get("/app")).status_code == 401


async def test_a_spent_rate_limit_refuses(github: StandIn, client: httpx2.AsyncClient) -> None:
    github.create_repository("octo/site")
    allowance = github.access.allowance(f"Bearer {github.token}")
    allowance.used = allowance.limit - 1
    assert (await client.get("/repos/octo/site")).headers["x-ratelimit-remaining"] == "0"
    refused = await client.get("/repos/octo/site")
    assert refused.status_code == 403
    assert "rate limit" in refused.json()["message"]
    assert (await client.get("/rate_limit")).json()["rate"]["remaining"] == 0
