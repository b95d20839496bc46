"""Who is signed in, who wrote, and where a sign-in may lead."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

import pytest
from starlette.requests import Request
from starlette.responses import Response

from bot.pages import session
from bot.pages.session import Sessions, local

TOKEN = "a-token-that-nobody-knows"


def sessions(token: str = TOKEN, url: str = "https://deploy.example.com") -> Sessions:
    return Sessions(token=token, public_url=url)


def a_request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


def begun(found: Sessions) -> str:
    response = Response()
    found.begin(response)
    return response.headers["set-cookie"]


def with_cookie(header: str) -> Request:
    return a_request(cookie=header.partition(";")[0])


def test_a_session_that_was_begun_is_known() -> None:
    assert sessions().known(with_cookie(begun(sessions())))


def test_the_cookie_is_bound_to_the_host_and_hidden_from_scripts_and_other_sites() -> None:
    header = begun(sessions())
    (morsel,) = SimpleCookie(header).values()
    assert morsel.key == "__Host-pushlane"
    assert morsel["path"] == "/"
    assert morsel["secure"]
    assert morsel["httponly"]
    assert morsel["samesite"] == "strict"
    assert not morsel["domain"]


def test_without_https_the_cookie_is_one_that_a_browser_keeps() -> None:
    header = begun(sessions(url="http://localhost:8000"))
    assert header.startswith("pushlane=")
    assert "secure" not in header.lower()


def test_the_cookie_does_not_hold_the_token() -> None:
    assert TOKEN not in begun(sessions())


def test_another_token_ends_every_session() -> None:
    assert not sessions("another").known(with_cookie(begun(sessions())))


def test_a_session_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    request = with_cookie(begun(sessions()))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + session.LASTS_SECONDS + 2)
    assert not sessions().known(request)


def test_a_session_from_the_future_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1000)
    request = with_cookie(begun(sessions()))
    monkeypatch.undo()
    assert not sessions().known(request)


@pytest.mark.parametrize(
    "value", ["", "x", f"{'9' * 13}.{'0' * 64}", f"1.{'0' * 64}", "1.é", TOKEN]
)
def test_a_forged_cookie_is_not_known(value: str) -> None:
    assert not sessions().known(a_request(cookie=f"__Host-pushlane={value}"))


def test_the_time_in_the_cookie_cannot_be_changed() -> None:
    name, _, value = begun(sessions()).partition(";")[0].partition("=")
    began, _, voucher = value.partition(".")
    later = f"{name}={int(began) - 1}.{voucher}"
    assert not sessions().known(a_request(cookie=later))


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", TOKEN[:-1], "é", "\udcff"])
def test_only_the_token_opens(token: str) -> None:
    assert sessions().opens(TOKEN)
    assert not sessions().opens(token)


def test_without_a_token_nothing_opens_and_nobody_is_known() -> None:
    none = sessions("")
    assert not none.possible
    assert not none.opens("")
    assert not none.known(with_cookie(begun(none)))


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"sec_fetch_site": "same-origin", "origin": "null"}, True),
        ({"sec_fetch_site": "same-site", "origin": "https://deploy.example.com"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"origin": "https://deploy.example.com", "host": "10.0.0.1:8000"}, True),
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, True),
        ({"origin": "https://evil.example", "host": "deploy.example.com"}, False),
        ({"origin": "null", "host": "deploy.example.com"}, False),
        ({"origin": "http://", "host": ""}, False),
        ({"host": "deploy.example.com"}, False),
        ({}, False),
    ],
)
def test_a_write_is_taken_from_our_own_pages_only(headers: dict[str, str], ours: bool) -> None:
    assert sessions().wrote(a_request(**headers)) is ours


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/a\r\nSet-Cookie: x=1",
        "/é",
    ],
)
def test_a_sign_in_leads_to_nowhere_else(path: str) -> None:
    assert local(path) == "/"


@pytest.mark.parametrize("path", ["/", "/deployments/d0?x=1#L12", "/a%2F%2Fb"])
def test_a_sign_in_leads_back_to_a_page_here(path: str) -> None:
    assert local(path) == path
