"""GitHub is asked to deliver once more what had failed: bounded, and only what never came."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bot.catchup import redelivery
from bot.catchup.redelivery import Redelivery
from bot.core.deployment import Status
from bot.core.github import GitHub
from bot.receiver import PATH
from tests.catchups import SCOPES, Watch, a_watch
from tests.conftest import S3

NOWHERE = f"http://127.0.0.1:1{PATH}"


@pytest.fixture
async def watch(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Watch]:
    async with a_watch(valkey, seaweedfs, prefix, tmp_path) as found:
        await found.live()
        yield found


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause that keeps GitHub from harm is of no use to a stand-in."""
    monkeypatch.setattr(redelivery, "_PAUSE_SECONDS", 0.0)


async def refused(watch: Watch, *messages: str) -> list[str]:
    """Pushes whose deliveries nobody takes; their GUIDs, the oldest first."""
    hook = watch.yard.github.hook
    here, hook.url = hook.url, NOWHERE
    for message in messages:
        watch.yard.tree.commit(message)
        watch.yard.tree.push()
    await watch.yard.github.settled()
    hook.url = here
    return [each.guid for each in watch.yard.github.deliveries[-len(messages) :]]


def a_redelivery(watch: Watch, client: GitHub | None = None) -> Redelivery:
    return Redelivery(
        ledger=watch.yard.door.ledger,
        github=client or watch.client,
        hook_url=watch.yard.door.settings.public_url + PATH,
    )


async def ask(watch: Watch, asking: Redelivery | None = None, *, closely: bool = True) -> int:
    async def go_on() -> bool:
        return True

    projects = [await watch.project()]
    asking = asking or a_redelivery(watch)
    return await asking.ask(projects, closely=projects if closely else (), go_on=go_on)


async def test_what_failed_comes_once_more_newest_first_and_is_then_not_asked_for_again(
    watch: Watch,
) -> None:
    one, two = await refused(watch, "one", "two")
    assert await ask(watch) == 2
    newest, older = watch.yard.github.deliveries[-2:]
    assert ([newest.guid, older.guid], newest.redelivery) == ([two, one], True)
    assert (newest.status_code, older.status_code) == (202, 202)
    late = await watch.yard.door.record(older.answer["deployment"])
    assert late.status is Status.SUPERSEDED
    assert (await watch.yard.live(newest.answer["deployment"])).message == "two"
    assert await ask(watch) == 0


async def test_after_a_look_has_caught_up_a_delivery_leads_to_the_same_deployment(
    watch: Watch,
) -> None:
    one, two = await refused(watch, "one", "two")
    await watch.look()
    caught_up = await watch.newest()
    assert await ask(watch) == 2
    assert (await watch.yard.door.delivery(two)).deployment == caught_up.id
    passed_over = (await watch.yard.door.delivery(one)).deployment
    assert (await watch.yard.door.record(passed_over)).status is Status.SUPERSEDED
    assert len(await watch.records()) == 3


async def test_what_has_come_another_way_is_not_asked_for(watch: Watch) -> None:
    [guid] = await refused(watch, "one")
    await watch.yard.github.redeliver(guid)
    await refused(watch, "two")
    assert await ask(watch) == 1
    assert (await watch.yard.github.send_ping("acme/site")) is not None
    assert await ask(watch) == 0


async def test_what_fails_again_is_asked_for_until_it_has_failed_three_times(
    watch: Watch,
) -> None:
    await refused(watch, "one")
    hook = watch.yard.github.hook
    hook.url = NOWHERE
    assert [await ask(watch) for _ in range(4)] == [1, 1, 0, 0]


async def test_as_an_app_its_own_list_is_asked_whatever_was_found(watch: Watch) -> None:
    app = watch.yard.github.app
    client = GitHub(
        api_url=watch.yard.github.api_url,
        app_id=str(app.id),
        app_private_key=app.private_key,
        environment={},
    )
    await refused(watch, "one")
    watch.yard.github.create_repository("acme/stranger")
    await watch.yard.github.send_push("acme/stranger")
    assert await ask(watch, a_redelivery(watch, client), closely=False) == 1
    assert await ask(watch, a_redelivery(watch, client), closely=False) == 0
    await client.aclose()


async def test_a_token_asks_only_where_something_may_have_been_missed(watch: Watch) -> None:
    await refused(watch, "one")
    assert await ask(watch, closely=False) == 0


async def test_one_round_asks_for_so_many_and_leaves_the_rest_to_the_next(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "MOST", 2)
    await refused(watch, "one", "two", "three")
    assert [await ask(watch) for _ in range(3)] == [2, 1, 0]


async def test_what_is_left_of_the_rate_limit_stays_for_the_statuses(watch: Watch) -> None:
    watch.yard.github.access.limit = redelivery.RESERVE + 3
    client = GitHub(
        api_url=watch.yard.github.api_url,
        token=watch.yard.github.access.allow(scopes=SCOPES),
        environment={},
    )
    await refused(watch, "one", "two", "three", "four")
    # One request for the webhooks, one for their deliveries.
    assert await ask(watch, a_redelivery(watch, client)) == 2
    assert await ask(watch, a_redelivery(watch, client)) == 0
    await client.aclose()


async def test_a_token_that_may_not_is_said_once_and_not_tried_again(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = GitHub(
        api_url=watch.yard.github.api_url,
        token=watch.yard.github.access.allow(scopes=["repo:status"]),
        environment={},
    )
    await refused(watch, "one")
    asked = watch.yard.github.faults.add("*", "/hooks", times=None)
    asking = a_redelivery(watch, client)
    assert [await ask(watch, asking) for _ in range(3)] == [0, 0, 0]
    assert asked.hits == 1
    said = [each for each in caplog.records if "not asked for" in each.message]
    assert len(said) == 1
    assert "admin:repo_hook" in str(said[0].__dict__["reason"])
    await client.aclose()


async def test_a_token_that_is_refused_everywhere_is_not_tried_in_each_repository(
    watch: Watch,
) -> None:
    client = GitHub(
        api_url=watch.yard.github.api_url,
        token=watch.yard.github.access.allow(scopes=["repo:status"]),
        environment={},
    )
    asked = watch.yard.github.faults.add("*", "/hooks", times=None)

    async def go_on() -> bool:
        return True

    site = await watch.project()
    many = [msgspec.structs.replace(site, repository=f"acme/site-{number}") for number in range(9)]
    assert await a_redelivery(watch, client).ask(many, closely=many, go_on=go_on) == 0
    assert asked.hits == 3
    await client.aclose()


async def test_a_webhook_that_leads_elsewhere_is_not_asked_to_deliver(watch: Watch) -> None:
    await refused(watch, "one")
    watch.yard.github.hook.url = "https://jenkins.example.com/github-webhook/"
    assert await ask(watch) == 0
    settings = replace(watch.yard.door.settings, public_url="https://deploy.example.com")
    watch.yard.github.hook.url = f"https://other.example.com{PATH}"
    door = replace(watch.yard.door, settings=settings)
    elsewhere = replace(watch, yard=replace(watch.yard, door=door))
    assert await ask(elsewhere) == 0


async def test_a_github_that_fails_is_asked_another_time(watch: Watch) -> None:
    await refused(watch, "one")
    watch.yard.github.faults.add("GET", "/deliveries$", 502)
    assert [await ask(watch), await ask(watch)] == [0, 1]
