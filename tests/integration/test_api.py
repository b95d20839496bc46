"""The API's door, its errors, a deployment's record, and lists of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest
from starlette.routing import Mount, Route

from bot.api.access import Guard
from bot.core.deployment import Stage, Status
from bot.core.errors import Errored
from bot.core.ledger import Ending
from tests.builders import claimed, commit, queued
from tests.conftest import S3
from tests.front import TOKEN, FrontDoor, a_front_door, is_problem

V1 = "/api/v1"
DEPLOYMENTS = f"{V1}/deployments"
TIMES = ["received", "fetching", "queued", "building", "publishing", "ended"]


@pytest.fixture
async def door(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[FrontDoor]:
    async with a_front_door(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


def routes_of(door: FrontDoor) -> list[tuple[str, str]]:
    """Every method and path of the API, and some that are not there."""
    mount = next(route for route in door.app.routes if isinstance(route, Mount))
    guard = cast(Guard, mount.app)
    found = [
        (method, V1 + route.path.replace("{", "").replace("}", ""))
        for route in guard._router.routes
        if isinstance(route, Route)
        for method in sorted(route.methods or ())
    ]
    return [*found, ("GET", f"{V1}/"), ("GET", f"{V1}/no"), ("DELETE", f"{V1}/projects/x")]


class TestDoor:
    """Nobody is let in without the token, to nothing."""

    @pytest.mark.parametrize(
        ("authorization", "code"),
        [
            (None, "token_missing"),
            ("", "token_missing"),
            ("Bearer", "token_missing"),
            ("Bearer  ", "token_missing"),
            (TOKEN, "token_missing"),
            (f"Basic {TOKEN}", "token_missing"),
            ("Bearer wrong", "token_invalid"),
            (f"Bearer {TOKEN}x", "token_invalid"),
            (f"Bearer {TOKEN[:-1]}", "token_invalid"),
            (f"Bearer {TOKEN.upper()}", "token_invalid"),
            (f"Bearer {TOKEN} {TOKEN}", "token_invalid"),
            ("Bearer é😀", "token_invalid"),
        ],
    )
    async def test_every_route_is_401_without_it(
        self, door: FrontDoor, authorization: str | None, code: str
    ) -> None:
        del door.client.headers["authorization"]
        headers = {} if authorization is None else {b"Authorization": authorization.encode()}
        routes = routes_of(door)
        assert len(routes) > 15
        for method, path in routes:
            answer = await door.client.request(method, path, headers=headers)
            if method == "HEAD":
                assert answer.status_code == 401
                continue
            assert is_problem(answer, 401, code), f"{method} {path}"
            assert answer.headers["www-authenticate"] == "Bearer"

    async def test_with_it_none_of_them_is(self, door: FrontDoor) -> None:
        for method, path in routes_of(door):
            answer = await door.client.request(method, path)
            assert answer.status_code != 401, f"{method} {path}"

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
    async def test_the_scheme_has_no_case(self, door: FrontDoor, scheme: str) -> None:
        headers = {"Authorization": f"{scheme} {TOKEN}"}
        assert (await door.client.get(DEPLOYMENTS, headers=headers)).status_code == 200

    async def test_while_there_is_no_token_it_is_shut(
        self, valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
    ) -> None:
        async with a_front_door(valkey, seaweedfs, prefix, tmp_path, api_token="") as door:
            for authorization in ("Bearer ", f"Bearer {TOKEN}", ""):
                answer = await door.client.get(
                    DEPLOYMENTS, headers={"Authorization": authorization}
                )
                assert is_problem(answer, 401, "token_not_set")


class TestErrors:
    """A wrong call has a stable code."""

    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing", 404, "not_found"),
            ("GET", "/", 404, "not_found"),
            ("GET", "/deployments/", 404, "not_found"),
            ("GET", "/deployments/d0123456789abcdef", 404, "not_found"),
            ("GET", "/deployments/a%2Fb", 404, "not_found"),
            ("GET", "/deployments/%F0%9F%98%80", 404, "not_found"),
            ("GET", "/deployments/x/log", 404, "not_found"),
            ("POST", "/deployments/x/redeploy", 404, "not_found"),
            ("POST", "/deployments/x/cancel", 404, "not_found"),
            ("POST", "/deployments/x/promote", 404, "not_found"),
            ("GET", "/projects/x", 404, "project_not_found"),
            ("POST", "/projects/x/rollback", 404, "project_not_found"),
            ("POST", "/projects/x/unpin", 404, "project_not_found"),
            ("GET", "/deliveries/x", 404, "delivery_not_found"),
            ("GET", "/deployments?project=x", 404, "project_not_found"),
            ("GET", "/deployments?project=acme/x", 404, "project_not_found"),
            ("PUT", "/deployments", 405, "method_not_allowed"),
            ("DELETE", "/deployments/x", 405, "method_not_allowed"),
            ("GET", "/deployments/x/cancel", 405, "method_not_allowed"),
            ("POST", "/queue", 405, "method_not_allowed"),
            ("GET", "/deployments?status=live", 400, "query_invalid"),
            ("GET", "/deployments?limit=0", 400, "query_invalid"),
            ("GET", "/deployments?limit=101", 400, "query_invalid"),
            ("GET", "/deployments?limit=-1", 400, "query_invalid"),
            ("GET", "/deployments?limit=%D9%A3", 400, "query_invalid"),
            ("GET", "/deployments?limit=", 400, "query_invalid"),
            ("GET", "/deployments?cursor=x", 400, "query_invalid"),
            ("GET", "/deployments?cursor=%2Binf", 400, "query_invalid"),
        ],
    )
    async def test_each_has_its_own(
        self, door: FrontDoor, method: str, path: str, status: int, code: str
    ) -> None:
        answer = await door.client.request(method, V1 + path)
        assert is_problem(answer, status, code)
        if status == 405:
            assert answer.headers["allow"]

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"[]",
            b'"x"',
            b"\xff",
            b"[" * 60_000,
            b'{"repository": 5}',
            b'{"repository": "acme/site", "branch": "x"}',
            b'{"repository": "\\ud800/x"}',
            b"{}",
            b"",
            b'{"ref": "main"}',
            b'{"repository": "acme/site", "project": "site"}',
        ],
    )
    async def test_a_body_that_is_wrong_is_400(self, door: FrontDoor, body: bytes) -> None:
        answer = await door.client.post(DEPLOYMENTS, content=body)
        assert is_problem(answer, 400, "body_malformed")
        assert await door.count() == 0

    async def test_a_body_that_is_large_is_413(self, door: FrontDoor) -> None:
        answer = await door.client.post(DEPLOYMENTS, content=b" " * 65_537)
        assert is_problem(answer, 413, "body_too_large")


class TestRecord:
    """A deployment's record as the API tells it."""

    async def test_of_a_ready_one_it_has_everything(self, door: FrontDoor) -> None:
        ready = await door.built("A", message="Fix it", at=1)
        found = (await door.client.get(f"{DEPLOYMENTS}/{ready.id}")).json()
        host = "localhost:8000"
        times = {name: found.pop(f"{name}_at") for name in TIMES}
        stages = found.pop("stages")
        assert found == {
            "id": ready.id,
            "project": "site",
            "repository": "acme/site",
            "ref": "refs/heads/main",
            "branch": "main",
            "commit": commit("A"),
            "status": "ready",
            "trigger": "push",
            "production": True,
            "live": True,
            "message": "Fix it",
            "author": "octocat",
            "attempts": {"fetch": 1, "build": 1},
            "seconds": (ready.ended_at - ready.received_at) / 1000,
            "urls": {
                "page": f"http://{host}/deployments/{ready.id}",
                "deployment": f"http://{ready.id}--site.{host}",
                "branch": f"http://main--site.{host}",
                "production": f"http://site.{host}",
            },
            "url": f"http://{ready.id}--site.{host}",
            "error": None,
            "reason": "",
            "stop": "",
            "delivery": ready.delivery,
            "redeploy_of": "",
            "beside": [],
            "condemned_at": None,
            "framework": "",
            "files": 0,
            "bytes": 0,
        }
        for name, at in times.items():
            assert at.endswith("Z")
            told = datetime.fromisoformat(at).timestamp() * 1000
            assert round(told) == getattr(ready, f"{name}_at")
        assert [stage["name"] for stage in stages] == TIMES[:-1]
        assert [stage["started_at"] for stage in stages] == list(times.values())[:-1]
        assert sum(stage["seconds"] for stage in stages) == pytest.approx(found["seconds"])

    async def test_of_one_that_waits_it_has_no_end(self, door: FrontDoor) -> None:
        id_ = await door.push("A", branch="topic")
        found = (await door.client.get(f"{DEPLOYMENTS}/{id_}")).json()
        assert (found["status"], found["production"], found["live"]) == ("received", False, False)
        assert (found["ended_at"], found["seconds"], found["fetching_at"]) == (None, None, None)
        assert [(s["name"], s["seconds"]) for s in found["stages"]] == [("received", None)]
        assert found["url"] == found["urls"]["page"]
        assert found["urls"]["production"] is None

    async def test_of_one_that_failed_it_says_why_and_links_its_page(self, door: FrontDoor) -> None:
        id_ = await door.push("A")
        held = await claimed(door.ledger, id_, Stage.FETCH)
        ending = Ending(status=Status.FAILED, error_code="build_failed", error_message="exit 1")
        await door.ledger.claims.finish(held, ending)
        found = (await door.client.get(f"{DEPLOYMENTS}/{id_}")).json()
        assert found["error"] == {"code": "build_failed", "message": "exit 1"}
        assert found["url"] == found["urls"]["page"]

    async def test_of_one_that_is_tried_again_the_stage_is_the_one_that_it_waits_in(
        self, door: FrontDoor
    ) -> None:
        first = await queued(door.ledger, await door.pushed("A"))
        held = await claimed(door.ledger, first.id, Stage.BUILD)
        await door.ledger.claims.retry(held, Errored("S3 is away", code="bucket_away"))
        found = (await door.client.get(f"{DEPLOYMENTS}/{first.id}")).json()
        assert [(s["name"], s["seconds"] is None) for s in found["stages"]] == [
            ("received", False), ("fetching", False), ("queued", True),
        ]  # fmt: skip
        assert found["attempts"] == {"fetch": 1, "build": 1}
        assert found["error"]["code"] == "bucket_away"


class TestList:
    """Deployments, newest first, by page and by filter."""

    async def listed(self, door: FrontDoor, **query: str) -> tuple[list[str], str | None]:
        answer = await door.client.get(DEPLOYMENTS, params=query)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return [record["id"] for record in found["deployments"]], found["cursor"]

    async def test_pages_hold_each_once(self, door: FrontDoor) -> None:
        assert await self.listed(door) == ([], None)
        ids = [await door.push("A", branch=f"b{number}") for number in range(7)]
        seen: list[str] = []
        cursor: str | None = ""
        sizes = []
        while cursor is not None:
            page, cursor = await self.listed(door, limit="3", cursor=cursor)
            seen += page
            sizes.append(len(page))
        assert seen == ids[::-1]
        assert sizes == [3, 3, 1]

    async def test_filters_may_be_combined(self, door: FrontDoor) -> None:
        main = (await door.built("A")).id
        topic = await door.push("A", branch="topic/x")
        other = await door.push("A", repository="other/blog", repository_id=8)
        assert await self.listed(door) == ([other, topic, main], None)
        assert await self.listed(door, project="site") == ([topic, main], None)
        assert await self.listed(door, project="Other/Blog") == ([other], None)
        assert await self.listed(door, branch="topic/x") == ([topic], None)
        assert await self.listed(door, status="ready") == ([main], None)
        assert await self.listed(door, status="received", project="site") == ([topic], None)
        assert await self.listed(door, status="failed") == ([], None)

    async def test_only_the_one_that_production_shows_is_live(self, door: FrontDoor) -> None:
        await door.built("A", at=1)
        second = (await door.built("B", before="A", at=2)).id
        found = (await door.client.get(DEPLOYMENTS)).json()["deployments"]
        assert [record["id"] for record in found if record["live"]] == [second]
