"""Build secrets and project settings over the API: set, listed, never shown, kept and restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core import keys, saved
from bot.core.bucket import Bucket
from bot.core.project import ProjectSettings
from bot.core.secrets import Context, Keyring, secrets_for
from tests.conftest import S3
from tests.front import FrontDoor, a_front_door, is_problem
from tests.keeping import Kept, flush, kept
from tests.ledgers import redis_of

SITE = "/api/v1/projects/site"
KEY = "a key of this house"
VALUE = "hunter2-is-my-password"


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path, secret_key=KEY) as made:
        yield made


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


async def opened(door: FrontDoor, id_: str) -> dict[str, str]:
    """What a build of the deployment would be given."""
    _, held = await door.ledger.projects.read("site")
    return secrets_for(await door.record(id_), held, Keyring(KEY))


class TestSecrets:
    """PUT, GET and DELETE of /projects/{slug}/env."""

    async def put(self, door: FrontDoor, name: str = "API_KEY", **body: Any) -> Any:
        return await door.client.put(f"{SITE}/env/{name}", json={"value": VALUE, **body})

    async def test_one_is_set_listed_and_unset_and_its_value_is_never_told(
        self, door: FrontDoor
    ) -> None:
        await door.push("A")
        answer = await self.put(door)
        assert answer.status_code == 200, answer.text
        listed = (await door.client.get(f"{SITE}/env")).json()["secrets"]
        assert listed == [answer.json()]
        assert listed[0]["contexts"] == ["preview", "production"]
        assert listed[0]["updated_at"].endswith("Z")
        for path in (SITE, f"{SITE}/env", "/api/v1/projects"):
            assert VALUE not in (await door.client.get(path)).text
        redis, name = redis_of(door.ledger), keys.secrets(door.settings.redis_prefix, "site")
        assert VALUE not in str(await redis.hgetall(name))
        gone = await door.client.delete(f"{SITE}/env/API_KEY")
        assert gone.json() == {"name": "API_KEY", "contexts": ["preview", "production"]}
        again = await door.client.delete(f"{SITE}/env/API_KEY")
        assert is_problem(again, 404, "secret_not_found")

    async def test_each_context_has_a_value_of_its_own(self, door: FrontDoor) -> None:
        main, topic = await door.push("A"), await door.push("B", branch="topic")
        await self.put(door, contexts=["production"])
        await self.put(door, value="of previews", contexts=["preview"])
        assert await opened(door, main) == {"API_KEY": VALUE}
        assert await opened(door, topic) == {"API_KEY": "of previews"}
        await door.client.delete(f"{SITE}/env/API_KEY", params={"context": "production"})
        assert await opened(door, main) == {}
        assert await opened(door, topic) == {"API_KEY": "of previews"}

    @pytest.mark.parametrize(
        ("name", "body", "code"),
        [
            ("PATH", {}, "secret_name_invalid"),
            ("A-B", {}, "secret_name_invalid"),
            ("A", {"value": "tiny!"}, "secret_value_invalid"),
            ("A", {"value": f"{VALUE}\0"}, "secret_value_invalid"),
            ("A", {"contexts": ["fork"]}, "context_invalid"),
            ("A", {"contexts": []}, "context_invalid"),
            ("A", {"value": [VALUE]}, "body_malformed"),
            ("A", {VALUE: VALUE}, "body_malformed"),
        ],
    )
    async def test_what_is_wrong_is_said_and_quotes_no_value(
        self, door: FrontDoor, name: str, body: dict[str, Any], code: str
    ) -> None:
        await door.push("A")
        answer = await self.put(door, name, **body)
        assert is_problem(answer, 400, code)
        assert VALUE not in answer.text

    async def test_of_a_project_that_is_not_there_is_404(self, door: FrontDoor) -> None:
        assert is_problem(await self.put(door), 404, "project_not_found")

    async def test_a_value_of_64_kb_is_taken_and_more_of_them_than_fit_are_not(
        self, door: FrontDoor
    ) -> None:
        main = await door.push("A")
        large = "\n" * 65_530 + "sixsix"
        for number in range(5):
            name = f"A{number}"
            answer = await self.put(door, name, value=large, contexts=["production"])
            assert answer.status_code == 200, answer.text
        assert is_problem(await self.put(door, "B", value=large), 409, "secrets_full")
        # Set anew it takes no more room than before.
        assert (await self.put(door, "A0", contexts=["production"])).status_code == 200
        assert (await opened(door, main))["A4"] == large

    async def test_without_a_key_it_says_what_to_set(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as door:
            await door.push("A")
            answer = await self.put(door)
            assert is_problem(answer, 409, "secret_key_missing")
            assert "PUSHLANE_SECRET_KEY" in answer.json()["detail"]


class TestSettings:
    """PUT and PATCH of /projects/{slug}."""

    async def test_a_project_is_made_before_its_first_push_which_finds_it(
        self, door: FrontDoor
    ) -> None:
        body = {"repository": "acme/site", "root": "docs/", "environment": {"A": "b"}}
        made = await door.client.put("/api/v1/projects/manual", json=body)
        assert made.status_code == 201, made.text
        assert made.json()["settings"]["root"] == "docs"
        deployment = await door.record(await door.push("A"))
        assert (deployment.project, deployment.repository_id) == ("manual", 7)
        # All of it anew: what is not named is as if never set.
        again = await door.client.put(
            "/api/v1/projects/manual", json={"repository": "Acme/Site", "node": "22"}
        )
        assert (again.status_code, again.json()["settings"]["root"]) == (200, "")

    async def test_a_change_leaves_the_rest_and_null_takes_back(self, door: FrontDoor) -> None:
        await door.push("A")
        await door.client.patch(SITE, json={"root": "docs", "command": "", "watch": ["a/**"]})
        answer = await door.client.patch(SITE, json={"root": None, "node": "22"})
        assert answer.status_code == 200, answer.text
        found = await door.ledger.projects.settings("site")
        assert found == ProjectSettings(command="", node="22", watch=("a/**",))

    async def test_two_changes_at_once_are_both_made(self, door: FrontDoor) -> None:
        await door.push("A")
        names = ("root", "node", "output", "install")
        await asyncio.gather(*(door.client.patch(SITE, json={name: f"{name}-1"}) for name in names))
        found = await door.ledger.projects.settings("site")
        assert [getattr(found, name) for name in names] == [f"{name}-1" for name in names]

    async def test_the_production_branch_decides_what_goes_live(self, door: FrontDoor) -> None:
        await door.push("A")
        answer = await door.client.patch(SITE, json={"production_branch": "release"})
        assert answer.json()["production_branch"] == "release"
        assert not (await door.record(await door.push("B", at=1))).production
        assert (await door.record(await door.push("C", branch="release", at=2))).production

    @pytest.mark.parametrize(
        ("slug", "body", "status", "code"),
        [
            ("other", {"repository": "acme/site"}, 409, "repository_has_project"),
            ("site", {"repository": "acme/other"}, 409, "slug_taken"),
            ("a--b", {"repository": "acme/new"}, 400, "slug_invalid"),
            ("Xy", {"repository": "acme/new"}, 400, "slug_invalid"),
            ("pr-1", {"repository": "acme/new"}, 400, "slug_invalid"),
            ("new", {}, 400, "repository_invalid"),
            ("new", {"repository": "acme"}, 400, "repository_invalid"),
            ("new", {"repository": "acme/new", "root": "../x"}, 400, "settings_invalid"),
            ("new", {"repository": "acme/new", "rot": "x"}, 400, "settings_invalid"),
            ("new", {"repository": "acme/new", "watch": "x"}, 400, "settings_invalid"),
            ("new", {"repository": "acme/new", "environment": {"-": ""}}, 400, "settings_invalid"),
        ],
    )  # fmt: skip
    async def test_what_is_wrong_is_said(
        self, door: FrontDoor, slug: str, body: dict[str, Any], status: int, code: str
    ) -> None:
        await door.push("A")
        answer = await door.client.put(f"/api/v1/projects/{slug}", json=body)
        assert is_problem(answer, status, code)
        assert len((await door.client.get("/api/v1/projects")).json()["projects"]) == 1

    async def test_a_repository_that_may_not_deploy_gets_no_project(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path, repos=("acme/*",)) as door:
            body = {"repository": "others/site"}
            answer = await door.client.put("/api/v1/projects/site", json=body)
            assert is_problem(answer, 403, "repository_not_allowed")


class TestRestored:
    """Both are saved, encrypted, and come back into a Redis that was emptied."""

    async def sealed(self, own: Kept, value: str, *, keyring: Keyring) -> None:
        owner, name = await own.ledger.projects.owner("site"), "API_KEY"
        tokens = {
            context: keyring.seal(value, owner=owner, context=context, name=name)
            for context in Context
        }
        await own.ledger.projects.set_secret("site", name, tokens, owner=owner)

    async def values(self, own: Kept, keyring: Keyring) -> list[str]:
        _, held = await own.ledger.projects.read("site")
        return [
            keyring.open(each.token, owner=held.owner, context=each.context, name=each.name)
            for each in held.sealed
        ]

    async def test_settings_and_secrets_come_back(self, own: Kept) -> None:
        keyring, projects = Keyring(KEY), own.ledger.projects
        settings = ProjectSettings(root="docs", production_branch="release")
        assert await projects.put("site", settings, repository="acme/site") == "made"
        await self.sealed(own, "an older value", keyring=keyring)
        await self.sealed(own, VALUE, keyring=keyring)
        await own.saved()
        for name in await own.bucket.list("secrets/"):
            assert VALUE.encode() not in await own.bucket.get(name)
        await flush(own.ledger)
        await own.whole_after_refusal()
        assert await projects.settings("site") == settings
        assert await self.values(own, keyring) == [VALUE, VALUE]

    async def test_what_was_unset_does_not_come_back(self, own: Kept) -> None:
        keyring = Keyring(KEY)
        await own.ledger.projects.put("site", ProjectSettings(), repository="acme/site")
        await self.sealed(own, VALUE, keyring=keyring)
        await own.saved()
        assert await own.ledger.projects.unset_secret("site", "API_KEY", context=None)
        await own.saved()
        await flush(own.ledger)
        await own.whole_after_refusal()
        assert await self.values(own, keyring) == []

    async def test_another_project_of_the_same_name_does_not_get_them(self, own: Kept) -> None:
        await own.ledger.projects.put("site", ProjectSettings(), repository="acme/site")
        await self.sealed(own, VALUE, keyring=Keyring(KEY))
        await own.saved()
        (name,) = await own.bucket.list("secrets/")
        thing = saved.decode(await own.bucket.get(name))
        await own.ledger.projects.unset_secret("site", "API_KEY", context=None)
        redis, project = redis_of(own.ledger), keys.project(own.ledger.connection.prefix, "site")
        await redis.hset(project, "created_at", "1")
        assert await own.ledger.restores.merge([thing]) == {"taken": 1}
        assert await self.values(own, Keyring(KEY)) == []
