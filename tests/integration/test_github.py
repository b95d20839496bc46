"""GitHub's API as we call it, against the stand-in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from github.Requester import HTTPRequestsConnectionClass

from bot.core.deployment import State
from bot.core.errors import Errored, SettingInvalid
from bot.core.github import GitHub, Limited, Refused, Untellable
from tests.standin import App, StandIn, Worktree
from tests.standin.certificates import make_certificates

NAME = "acme/site"


@pytest.fixture
async def standin(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with StandIn(tmp_path / "github") as found:
        yield found


@pytest.fixture
def sha(standin: StandIn, tmp_path: Path) -> str:
    return a_commit(standin, tmp_path)


@pytest.fixture
async def github(standin: StandIn) -> AsyncIterator[GitHub]:
    found = a_client(standin)
    yield found
    await found.aclose()


def a_commit(standin: StandIn, directory: Path, name: str = NAME, *, ca: Path | None = None) -> str:
    standin.create_repository(name)
    tree = Worktree(directory / name, standin.clone_url(name), ca=ca)
    sha = tree.commit()
    tree.push()
    return sha


def a_client(standin: StandIn, **changes: Any) -> GitHub:
    given: dict[str, Any] = {
        "api_url": standin.api_url,
        "token": standin.token,
        "environment": {},
        "timeout_seconds": 1,
    }
    return GitHub(**given | changes)


def an_app(standin: StandIn, **changes: Any) -> GitHub:
    given = {
        "token": "",
        "app_id": str(standin.app.id),
        "app_private_key": standin.app.private_key,
    }
    return a_client(standin, **given | changes)


async def post(github: GitHub, sha: str, **changes: Any) -> None:
    given: dict[str, Any] = {
        "state": State.SUCCESS,
        "context": "pushlane/site",
        "description": "Ready in 1.0 s",
        "target_url": "https://site.example.com",
    }
    repository = changes.pop("repository", NAME)
    await github.post_status(repository, sha, **given | changes)


async def test_a_status_is_posted_as_asked_in_one_request(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    every = standin.faults.add("*", "", times=None)
    await post(github, sha)
    [status] = standin.statuses()
    assert (status.repository, status.sha, status.state) == (NAME, sha, "success")
    assert (status.context, status.description) == ("pushlane/site", "Ready in 1.0 s")
    assert status.target_url == "https://site.example.com"
    assert status.headers["authorization"] == f"Bearer {standin.token}"
    assert status.headers["x-github-api-version"] == "2022-11-28"
    assert every.hits == 1


async def test_scope_repo_status_is_enough_for_private_code(standin: StandIn, sha: str) -> None:
    standin.repository(NAME).private = True
    github = a_client(standin, token=standin.access.allow(scopes=["repo:status"]))
    await post(github, sha)
    assert len(standin.statuses()) == 1
    await github.aclose()


async def test_posts_at_once_never_mix(
    standin: StandIn, github: GitHub, sha: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = HTTPRequestsConnectionClass.request

    def slowly_noted(*arguments: Any, **named: Any) -> None:
        noted(*arguments, **named)
        time.sleep(0.01)  # before it is sent, where another thread's may take its place

    monkeypatch.setattr(HTTPRequestsConnectionClass, "request", slowly_noted)
    contexts = [f"pushlane/{number}" for number in range(24)]
    await asyncio.gather(*(post(github, sha, context=context) for context in contexts))
    assert sorted(status.context for status in standin.statuses()) == sorted(contexts)


@pytest.mark.parametrize(
    "description",
    [
        "🚀 " * 100,
        "é" * 141,
        "line one\nline two\r\n\ttab\x00nul\u2028next \u202ereversed",
        "half a pair \ud83d of one",
        "",
    ],
)
async def test_any_description_is_made_to_fit(
    standin: StandIn, github: GitHub, sha: str, description: str
) -> None:
    await post(github, sha, description=description)
    [status] = standin.statuses()
    assert status.description is not None
    assert len(status.description) <= 140
    assert status.description.isprintable()


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_failure_is_not_repeated_here(
    standin: StandIn, github: GitHub, sha: str, status: int
) -> None:
    fault = standin.faults.add("POST", "/statuses/", status, times=None)
    with pytest.raises(Errored) as raised:
        await post(github, sha)
    assert (raised.value.code, raised.value.retryable) == ("github_failed", True)
    assert fault.hits == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"hang": True}, "github_unreachable"),
        ({"drop_connection": "before"}, "github_unreachable"),
        ({"drop_connection": "after"}, "github_unreachable"),
        ({"status": 502, "body": "<html>Unicorn!</html>"}, "github_failed"),
        ({"status": 200, "body": "{", "headers": {"x-ratelimit-limit": "x"}}, "github_unreachable"),
        ({"status": 302, "headers": {"location": "https://elsewhere.example"}}, "github_failed"),
    ],
)
async def test_what_may_pass_by_itself_may_be_retried(
    standin: StandIn, github: GitHub, sha: str, fault: dict[str, Any], code: str
) -> None:
    fault = {"times": None, **fault}
    standin.faults.add("POST", "/statuses/", **fault)
    begun = time.monotonic()
    with pytest.raises(Errored) as raised:
        await post(github, sha)
    assert (raised.value.code, raised.value.retryable) == (code, True)
    assert not isinstance(raised.value, Limited | Refused | Untellable)
    assert time.monotonic() - begun < 3


@pytest.mark.parametrize("status", [403, 429])
async def test_a_limit_holds_every_later_request_back_until_its_time(
    standin: StandIn, github: GitHub, sha: str, status: int
) -> None:
    fault = standin.faults.add("POST", "", status, {"retry-after": "1"}, times=None)
    with pytest.raises(Limited) as raised:
        await post(github, sha)
    assert 0.9 < raised.value.seconds <= 1
    with pytest.raises(Limited) as raised:
        await post(github, sha, repository="acme/other")
    assert 0 < raised.value.seconds <= 1
    assert fault.hits == 1
    standin.faults.clear()
    await asyncio.sleep(raised.value.seconds)
    await post(github, sha)


async def test_a_spent_allowance_lasts_until_its_reset(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    standin.faults.primary_limit(100)
    with pytest.raises(Limited) as raised:
        await post(github, sha)
    assert 99 <= raised.value.seconds <= 102


async def test_a_limit_that_says_no_time_lasts_a_minute(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    standin.faults.add(
        "POST", "", 403, body={"message": "You have exceeded a secondary rate limit"}
    )
    with pytest.raises(Limited) as raised:
        await post(github, sha)
    assert raised.value.seconds == 60


async def test_what_github_will_never_take_is_told_apart(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    async def code(sha: str, **changes: Any) -> str:
        with pytest.raises(Untellable) as raised:
            await post(github, sha, **changes)
        assert not raised.value.retryable
        return raised.value.code

    assert await code("a" * 40) == "github_commit_gone"
    assert await code(sha, repository="acme/none") == "github_repository_gone"
    assert await code(sha, target_url="javascript:alert(1)") == "github_status_refused"
    standin.faults.add(
        "POST", "", 403, body={"message": "Repository was archived so is read-only."}
    )
    assert await code(sha) == "github_repository_gone"
    await post(github, sha)
    standin.world.statuses.extend(standin.statuses() * 999)
    assert await code(sha) == "github_statuses_full"


async def test_a_token_without_the_scope_is_refused_by_name_and_others_go_on(
    standin: StandIn, sha: str, tmp_path: Path
) -> None:
    other = a_commit(standin, tmp_path, "acme/other")
    token = standin.access.allow(scopes=["repo:status"], repositories=["acme/other"])
    github = a_client(standin, token=token)
    with pytest.raises(Refused, match="scope repo:status") as raised:
        await post(github, sha)
    assert raised.value.code == "github_forbidden"
    await post(github, other, repository="acme/other")
    await github.aclose()


async def test_a_bad_token_is_not_tried_again_at_once(standin: StandIn, sha: str) -> None:
    github = a_client(standin, token="ghp_" + "0" * 36)
    every = standin.faults.add("*", "", times=None)
    for _ in range(3):
        with pytest.raises(Refused, match="PUSHLANE_GITHUB_TOKEN") as raised:
            await post(github, sha)
        assert raised.value.code == "github_credentials_unknown"
    assert every.hits == 1
    await github.aclose()


async def test_a_renamed_repository_is_followed_once_and_to_the_same_host_only(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    standin.world.rename(NAME, "acme/renamed")
    await post(github, sha)
    assert standin.statuses()[0].repository == "acme/renamed"
    elsewhere = {"location": "http://127.0.0.1:9/repositories/1/statuses/x"}
    standin.faults.add("POST", "^/repos/", 307, elsewhere)
    with pytest.raises(Errored, match=r"redirects to 127\.0\.0\.1:9"):
        await post(github, sha)
    round_and_round = {"location": f"{standin.api_url}/repos/acme/site/statuses/x"}
    loop = standin.faults.add("POST", "", 307, round_and_round, times=None)
    with pytest.raises(Errored):
        await post(github, sha)
    assert loop.hits == 2


async def test_a_request_is_not_begun_after_its_time(
    standin: StandIn, github: GitHub, sha: str
) -> None:
    with pytest.raises(Errored, match="too late"):
        await post(github, sha, begin_by=time.monotonic() - 0.01)
    assert standin.statuses() == []


async def test_a_company_ca_and_a_proxy_are_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path / "tls")
    async with StandIn(tmp_path / "secure", tls=made.tls) as standin:
        sha = await asyncio.to_thread(a_commit, standin, tmp_path, ca=made.ca)
        trusting = a_client(standin, environment={"SSL_CERT_FILE": str(made.ca)})
        await post(trusting, sha)
        await trusting.aclose()
        strange = a_client(standin)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(Errored, match="certificate verify failed"):
            await post(strange, sha)
        await strange.aclose()
        assert len(standin.statuses()) == 1
    async with StandIn(tmp_path / "proxied") as standin:
        sha = a_commit(standin, tmp_path / "proxied-tree")
        monkeypatch.setenv("http_proxy", standin.url)
        github = a_client(standin, api_url="http://api.github.invalid")
        await post(github, sha)
        await github.aclose()
        assert len(standin.statuses()) == 1


async def test_nobody_has_no_token_and_a_token_is_everyones(standin: StandIn) -> None:
    nobody = a_client(standin, token="")
    assert not nobody.configured
    assert await nobody.token_for(NAME) is None
    somebody = a_client(standin)
    assert somebody.configured
    assert await somebody.token_for(NAME) == standin.token
    for github in (nobody, somebody):
        await github.aclose()


async def test_an_app_gets_a_token_for_each_repository_and_purpose_and_keeps_it(
    standin: StandIn, sha: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    calls = standin.faults.add("*", "^/(app|repos/[^/]*/[^/]*/installation)", times=None)
    github = an_app(standin)
    assert github.configured
    tokens = await asyncio.gather(*(github.token_for(NAME) for _ in range(5)))
    [token] = set(tokens)
    assert token is not None
    assert calls.hits == 2
    known = standin.access.token(f"Bearer {token}")
    assert known is not None
    assert dict(known.permissions) == {"contents": "read", "metadata": "read"}
    assert known.repositories == frozenset({NAME})

    await post(github, sha)
    await post(github, sha, state=State.FAILURE)
    assert calls.hits == 4
    assert [status.login for status in standin.statuses()] == ["pushlane-test[bot]"] * 2
    told = standin.statuses()[0].headers["authorization"].removeprefix("Bearer ")
    known = standin.access.token(f"Bearer {told}")
    assert known is not None
    assert dict(known.permissions) == {"statuses": "write", "metadata": "read"}
    for secret in (token, told, standin.app.private_key.splitlines()[1]):
        assert secret not in caplog.text
    await github.aclose()


async def test_a_token_is_renewed_before_it_expires_and_after_it_was_revoked(
    standin: StandIn, sha: str
) -> None:
    github = an_app(standin)
    first = await github.token_for(NAME)
    assert github._app is not None
    for key, token in github._app._tokens.items():
        assert 2900 < token.fresh_until - time.monotonic() <= 3000
        github._app._tokens[key] = type(token)(token.value, time.monotonic())
    assert await github.token_for(NAME) != first

    await post(github, sha)
    standin.access.revoke(standin.statuses()[0].headers["authorization"].removeprefix("Bearer "))
    with pytest.raises(Refused):
        await post(github, sha)
    await post(github, sha)
    await github.aclose()


async def test_where_the_app_is_not_installed_it_has_no_token_and_posts_nothing(
    standin: StandIn, sha: str
) -> None:
    standin.app.repositories = frozenset({"acme/other"})
    github = an_app(standin)
    assert await github.token_for(NAME) is None
    with pytest.raises(Untellable, match="not installed"):
        await post(github, sha)
    with_both = an_app(standin, token=standin.token)
    assert await with_both.token_for(NAME) == standin.token
    await post(with_both, sha)
    for each in (github, with_both):
        await each.aclose()


async def test_an_app_that_github_does_not_know_or_that_lacks_a_permission_says_so(
    standin: StandIn, sha: str
) -> None:
    strange = an_app(standin, app_private_key=App().private_key)
    with pytest.raises(Refused, match="PUSHLANE_GITHUB_APP_ID"):
        await strange.token_for(NAME)
    standin.app.permissions.pop("statuses")
    poor = an_app(standin)
    with pytest.raises(Refused, match="Commit statuses"):
        await post(poor, sha)
    assert await poor.token_for(NAME)
    for github in (strange, poor):
        await github.aclose()


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n"])
def test_a_key_that_cannot_sign_is_a_wrong_setting(key: str) -> None:
    with pytest.raises(SettingInvalid, match="PUSHLANE_GITHUB_APP_PRIVATE_KEY"):
        GitHub(api_url="http://127.0.0.1:9", app_id="1", app_private_key=key)
