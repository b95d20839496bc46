"""GitHub's own word on repositories and deliveries, as we ask for it, against the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import Errored
from bot.core.github import GitHub, Hook, Limited, Refused
from tests.standin import StandIn

NAME = "acme/site"
SCOPES = ("repo", "admin:repo_hook")
YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
async def standin(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with StandIn(tmp_path / "github") as found:
        found.create_repository(NAME)
        # Nobody is there: each delivery fails.
        found.hook.url = "http://127.0.0.1:1/webhooks/github"
        yield found


@pytest.fixture
async def github(standin: StandIn) -> AsyncIterator[GitHub]:
    found = a_client(standin)
    yield found
    await found.aclose()


def a_client(standin: StandIn, **changes: Any) -> GitHub:
    given: dict[str, Any] = {
        "api_url": standin.api_url,
        "token": standin.access.allow(scopes=SCOPES),
        "environment": {},
        "timeout_seconds": 2,
    }
    return GitHub(**given | changes)


async def hook_of(github: GitHub) -> Hook:
    [hook] = await github.hooks.of_repository(NAME)
    return hook


async def test_a_repository_is_described_as_it_is_now_also_after_a_rename(
    standin: StandIn, github: GitHub
) -> None:
    standin.repository(NAME).pushed_at_override = 1_790_000_000
    described = await github.describe(NAME)
    assert described
    assert (described.id, described.full_name) == (standin.repository(NAME).id, NAME)
    assert (described.private, described.default_branch) == (False, "main")
    assert described.pushed_at == datetime.fromtimestamp(1_790_000_000, UTC)
    standin.world.rename(NAME, "acme/other")
    moved = await github.describe(NAME)
    assert moved
    assert (moved.id, moved.full_name) == (described.id, "acme/other")
    assert await github.describe("acme/nothing") is None


async def test_without_credentials_public_repositories_are_described(standin: StandIn) -> None:
    github = a_client(standin, token="")
    assert await github.describe(NAME)
    standin.repository(NAME).private = True
    assert await github.describe(NAME) is None
    assert await github.hooks.of_repository(NAME) == ()
    assert github.hooks.of_app is None
    await github.aclose()


async def test_an_answer_that_describes_nothing_is_none(standin: StandIn, github: GitHub) -> None:
    standin.faults.add("GET", f"/repos/{NAME}$", 200, body={"hello": "proxy"})
    assert await github.describe(NAME) is None


async def test_the_failed_deliveries_of_a_repository_are_listed_and_delivered_once_more(
    standin: StandIn, github: GitHub
) -> None:
    for guid in ("one", "two"):
        await standin.send_event("push", b"{}", guid=guid)
    hook = await hook_of(github)
    assert hook.url == standin.hook.url
    attempts = await github.hooks.failed(hook, since=YESTERDAY)
    assert [(each.guid, each.event, each.status_code) for each in attempts.found] == [
        ("two", "push", 502),
        ("one", "push", 502),
    ]
    assert all(each.failed for each in attempts.found)
    assert attempts.left < 5000
    assert await github.hooks.redeliver(hook, attempts.found[1]) < attempts.left
    assert [each.guid for each in standin.deliveries] == ["one", "two", "one"]
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert (await github.hooks.failed(hook, since=tomorrow)).found == ()


async def test_as_an_app_its_own_list_is_read(standin: StandIn) -> None:
    github = a_client(
        standin, token="", app_id=str(standin.app.id), app_private_key=standin.app.private_key
    )
    await standin.send_event("push", b"{}", guid="one")
    hook = github.hooks.of_app
    assert hook
    [attempt] = (await github.hooks.failed(hook, since=YESTERDAY)).found
    await github.hooks.redeliver(hook, attempt)
    assert [each.guid for each in standin.deliveries] == ["one", "one"]
    await github.aclose()


async def test_more_than_a_page_of_failures_is_read_page_by_page(
    standin: StandIn, github: GitHub
) -> None:
    for number in range(205):
        await standin.send_event("push", b"{}", guid=f"g{number}")
    listing = standin.faults.add("GET", "/deliveries$", times=None)
    attempts = await github.hooks.failed(await hook_of(github), since=YESTERDAY)
    assert [each.guid for each in attempts.found] == [f"g{n}" for n in reversed(range(205))]
    assert listing.hits == 3


async def test_a_github_that_lists_all_deliveries_is_read_for_those_that_failed(
    standin: StandIn, github: GitHub
) -> None:
    await standin.send_event("push", b"{}", guid="failed")
    [failed] = [each.summary() for each in standin.deliveries]
    standin.faults.add(
        "GET", "/deliveries$", 200, body=[failed | {"guid": "came", "status_code": 202}, failed]
    )
    attempts = await github.hooks.failed(await hook_of(github), since=YESTERDAY)
    assert [each.guid for each in attempts.found] == ["failed"]


@pytest.mark.parametrize("scopes", [("public_repo",), ("repo:status",)])
async def test_a_token_without_the_scope_is_refused_in_words(
    standin: StandIn, scopes: tuple[str, ...]
) -> None:
    github = a_client(standin, token=standin.access.allow(scopes=scopes))
    with pytest.raises(Refused, match="admin:repo_hook"):
        await github.hooks.of_repository(NAME)
    await github.aclose()


async def test_a_token_that_may_only_read_is_refused_when_it_asks(standin: StandIn) -> None:
    github = a_client(standin, token=standin.access.allow(scopes=["repo"]))
    await standin.send_event("push", b"{}")
    hook = await hook_of(github)
    [attempt] = (await github.hooks.failed(hook, since=YESTERDAY)).found
    with pytest.raises(Refused):
        await github.hooks.redeliver(hook, attempt)
    await github.aclose()


async def test_a_delivery_that_is_too_old_to_come_again_is_no_error(
    standin: StandIn, github: GitHub
) -> None:
    await standin.send_event("push", b"{}")
    hook = await hook_of(github)
    [attempt] = (await github.hooks.failed(hook, since=YESTERDAY)).found
    standin.faults.add("POST", "/attempts$", 422, {"x-ratelimit-remaining": "77"})
    assert await github.hooks.redeliver(hook, attempt) == 77
    assert len(standin.deliveries) == 1


async def test_a_github_that_fails_or_limits_us_is_an_error_of_ours(
    standin: StandIn, github: GitHub
) -> None:
    hook = await hook_of(github)
    standin.faults.add("GET", "/deliveries$", 502)
    with pytest.raises(Errored, match="502"):
        await github.hooks.failed(hook, since=YESTERDAY)
    standin.faults.add("GET", "/deliveries$", 200, body={"not": "a list"})
    with pytest.raises(Errored, match="no list"):
        await github.hooks.failed(hook, since=YESTERDAY)
    standin.faults.primary_limit(60)
    with pytest.raises(Limited):
        await github.hooks.failed(hook, since=YESTERDAY)
