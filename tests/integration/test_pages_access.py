"""Who may read which page, and how one signs in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from bot.core.deployment import Deployment
from tests.conftest import S3
from tests.pages import TOKEN, Reading, a_reading

ABSENT = "d0000000000000000"
OURS = {"origin": "http://localhost:8000"}


@pytest.fixture
async def reading(valkey: str, seaweedfs: S3, prefix: str) -> AsyncIterator[Reading]:
    async with a_reading(valkey, seaweedfs, prefix) as found:
        yield found


async def private(reading: Reading) -> Deployment:
    """A deployment of a private repository."""
    return await reading.building("A", "one", private=True)


async def signing_in(
    reading: Reading, token: str = TOKEN, following: str = "/", **headers: str
) -> httpx2.Response:
    form = {"token": token, "next": following}
    return await reading.client.post("/sign-in", data=form, headers=headers or OURS)


@pytest.mark.parametrize("rest", ["", "/log.txt", "/events"])
async def test_what_is_of_a_public_repository_is_read_by_anyone(
    reading: Reading, rest: str
) -> None:
    held = await reading.building("A", "one line")
    await reading.ended(held)
    found = await reading.get(f"/deployments/{held.id}{rest}")
    assert found.status_code == 200
    assert "one line" in found.text


@pytest.mark.parametrize("rest", ["", "/log.txt", "/events"])
async def test_a_private_one_and_one_that_is_not_there_look_the_same(
    reading: Reading, rest: str
) -> None:
    held = await private(reading)
    answers = []
    for id_ in (held.id, ABSENT, "not-even-an-id"):
        found = await reading.get(f"/deployments/{id_}{rest}")
        headers = sorted((name, text.replace(id_, "ID")) for name, text in found.headers.items())
        answers.append((found.status_code, found.content, headers))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == (401 if rest == "/events" else 303)


async def test_the_pages_of_a_repository_that_became_private_are_private(reading: Reading) -> None:
    held = await reading.building("A")
    assert (await reading.get(f"/deployments/{held.id}")).status_code == 200
    await reading.fetched("B", branch="other", private=True)
    assert (await reading.get(f"/deployments/{held.id}")).status_code == 303
    assert (await reading.get(f"/deployments/{held.id}", signed_in=True)).status_code == 200


async def test_who_has_signed_in_reads_what_is_private(reading: Reading) -> None:
    held = await private(reading)
    await reading.ended(held)
    for rest in ("", "/log.txt", "/events"):
        found = await reading.get(f"/deployments/{held.id}{rest}", signed_in=True)
        assert found.status_code == 200
        assert "one" in found.text


@pytest.mark.parametrize("id_", [ABSENT, "not-an-id", "d0000000000000000%0A", "%C3%A9"])
async def test_to_who_has_signed_in_an_unknown_id_is_said_to_be_unknown(
    reading: Reading, id_: str
) -> None:
    found = await reading.get(f"/deployments/{id_}", signed_in=True)
    assert found.status_code == 404
    assert "No such deployment" in found.text


async def test_a_sign_in_leads_back_to_where_one_wanted_to_go(reading: Reading) -> None:
    held = await private(reading)
    sent = await reading.get(f"/deployments/{held.id}")
    assert sent.headers["location"] == f"/sign-in?next=%2Fdeployments%2F{held.id}"
    form = await reading.get(sent.headers["location"])
    assert f'name="next" value="/deployments/{held.id}"' in form.text
    done = await signing_in(reading, following=f"/deployments/{held.id}")
    assert done.status_code == 303
    assert done.headers["location"] == f"/deployments/{held.id}"
    cookie = done.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "httponly" in cookie.lower()
    read = await reading.client.get(
        done.headers["location"], headers={"cookie": cookie.partition(";")[0]}
    )
    assert read.status_code == 200


@pytest.mark.parametrize("following", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_no_sign_in_leads_to_elsewhere(reading: Reading, following: str) -> None:
    form = await reading.client.get("/sign-in", params={"next": following})
    assert "evil" not in form.text
    assert (await signing_in(reading, following=following)).headers["location"] == "/"
    through = await reading.client.get(
        "/sign-in", params={"next": following}, headers={"cookie": reading.cookie()}
    )
    assert through.headers["location"] == "/"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN.upper(), "é"])
async def test_a_wrong_token_is_refused_in_words(reading: Reading, token: str) -> None:
    found = await signing_in(reading, token)
    assert found.status_code == 401
    assert "That is not the API token" in found.text
    assert "set-cookie" not in found.headers


async def test_spaces_around_a_token_that_was_pasted_do_no_harm(reading: Reading) -> None:
    assert (await signing_in(reading, f" {TOKEN}\n")).status_code == 303


@pytest.mark.parametrize("body", [b"", b"\xff\xfe=%zz", b"a=1&" * 20, b"token=" + b"x" * 20_000])
async def test_a_form_that_is_none_is_refused(reading: Reading, body: bytes) -> None:
    found = await reading.client.post("/sign-in", content=body, headers=OURS)
    assert found.status_code == 401


async def test_without_a_token_in_the_settings_nobody_signs_in(
    valkey: str, seaweedfs: S3, prefix: str
) -> None:
    async with a_reading(valkey, seaweedfs, prefix, api_token="") as reading:
        assert "Nobody can sign in here yet" in (await reading.get("/sign-in")).text
        assert (await signing_in(reading, "")).status_code == 401
        assert (await reading.get("/", signed_in=True)).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "origin": "http://localhost:8000"},
        {"accept": "*/*"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-in", "/sign-out"])
async def test_what_another_site_sends_does_nothing(
    reading: Reading, path: str, headers: dict[str, str]
) -> None:
    found = await reading.client.post(path, data={"token": TOKEN}, headers=headers)
    assert found.status_code == 403
    assert "set-cookie" not in found.headers


async def test_who_signs_out_is_out(reading: Reading) -> None:
    found = await reading.client.post("/sign-out", headers={**OURS, "cookie": reading.cookie()})
    assert found.status_code == 303
    assert found.headers["location"] == "/sign-in"
    assert 'pushlane=""' in found.headers["set-cookie"]
    assert "max-age=0" in found.headers["set-cookie"].lower()


async def test_who_has_signed_in_is_not_asked_again(reading: Reading) -> None:
    found = await reading.get("/sign-in?next=/deployments/x", signed_in=True)
    assert found.headers["location"] == "/deployments/x"


async def test_a_link_on_another_site_does_not_ask_who_has_signed_in(reading: Reading) -> None:
    # The browser keeps a strict cookie back until the page calls itself.
    again = '<meta http-equiv="refresh" content="0">'
    for site, calls in (("cross-site", True), ("same-origin", False), ("none", False)):
        found = await reading.get("/sign-in?next=/x", headers={"sec-fetch-site": site})
        assert (again in found.text) is calls


async def test_the_overview_is_for_those_who_have_signed_in(reading: Reading) -> None:
    found = await reading.get("/")
    assert found.status_code == 303
    assert found.headers["location"] == "/sign-in?next=%2F"
