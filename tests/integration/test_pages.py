"""The pages by HTTP: what they say, to whom, and under which headers."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from bot.core.deployment import Status, deployment_label
from bot.core.errors import Errored
from bot.core.ledger import Request
from tests.builders import a_push, commit
from tests.conftest import S3
from tests.hosting import served
from tests.pages import HOSTILE, TOKEN, Reading, a_reading


@pytest.fixture
async def reading(valkey: str, seaweedfs: S3, prefix: str) -> AsyncIterator[Reading]:
    async with a_reading(valkey, seaweedfs, prefix) as found:
        yield found


def words(page: str) -> str:
    """A page's text as one line, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


async def test_a_page_says_what_is_deployed_and_links_to_it_on_github(reading: Reading) -> None:
    found = await reading.building(
        "A", branch="feature/a b", message="Say hello\n\nTo everyone.", author="Ada"
    )
    page = await reading.page(found)
    assert "<bdi>Say hello</bdi></h1>" in page
    assert "To everyone." in page
    assert 'href="https://github.com/acme/site"' in page
    assert 'href="https://github.com/acme/site/tree/feature/a%20b"' in page
    assert f'href="https://github.com/acme/site/commit/{commit("A")}"' in page
    for word in (commit("A")[:7], "Ada", "feature/a b"):
        assert word in words(page)


async def test_a_ready_page_says_where_it_is_seen_and_that_it_is_live(reading: Reading) -> None:
    held = await reading.building("A")
    ended = await reading.ended(held, files=12, bytes=345_678, framework="vite")
    page = await reading.page(ended)
    assert re.search(r"Ready in \d+\.\d s", words(page))
    for label in ("site", "main--site", deployment_label(ended.id, "site")):
        assert f'href="http://{label}.localhost:8000"' in page
    assert "http://site.localhost:8000 live" in words(page)
    assert "12 files, 346 KB, vite" in words(page)
    for stage in ("received", "fetching", "queued", "building", "publishing"):
        assert re.search(rf"{stage} \d+\.\d s", words(page)), stage


async def test_one_that_is_not_live_says_why(reading: Reading) -> None:
    first = await reading.ended(await reading.building("A"))
    await reading.ended(await reading.building("B", before="A"))
    text = words(await reading.page(first))
    assert "production shows another deployment" in text
    assert "shows another deployment of the branch" in text
    await reading.ledger.aliases.promote(first.id)
    assert "http://site.localhost:8000 live" in words(await reading.page(first))
    third = await reading.ended(await reading.building("C", before="B"))
    assert "built, not live: production is pinned" in words(await reading.page(third))


async def test_a_preview_says_nothing_of_production(reading: Reading) -> None:
    found = await reading.ended(await reading.building("A", branch="topic"))
    assert "Production" not in words(await reading.page(found))


async def test_a_failed_page_says_what_was_wrong_by_code_and_what_to_do(reading: Reading) -> None:
    held = await reading.building("A", "npm ERR! missing script: build")
    await reading.ended(
        held, Status.FAILED, error_code="build_failed", error_message="npm run build ended with 1"
    )
    text = words(await reading.page(held))
    assert "Failed after" in text
    assert "npm run build ended with 1 Code build_failed" in text
    assert "mend it there and push again" in text
    assert "npm ERR! missing script: build" in text


async def test_a_retried_page_says_that_it_is_tried_again(reading: Reading) -> None:
    held = await reading.building("A")
    await reading.ledger.claims.retry(held, Errored("S3 is away", code="bucket_unreachable"))
    text = words(await reading.page(held))
    assert "Waiting to try again" in text
    assert "S3 is away" in text
    assert "tried again by itself" in text


async def test_a_page_without_scripts_reloads_while_things_go_on(reading: Reading) -> None:
    held = await reading.building("A")
    reload = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    assert reload in await reading.page(held)
    await reading.ended(held)
    assert reload not in await reading.page(held)


async def test_what_strangers_wrote_is_text_and_nothing_else(reading: Reading) -> None:
    held = await reading.building(
        "A",
        f"\x1b[31m{HOSTILE}\x1b[0m",
        f"\x1b]0;{HOSTILE}\x07\u202ebackwards",
        branch=f"b{HOSTILE}",
        message=f"{HOSTILE}\n\n{HOSTILE}",
        author=HOSTILE,
    )
    await reading.ended(held, Status.FAILED, error_code=HOSTILE, error_message=HOSTILE)
    for path in (f"/deployments/{held.id}", "/"):
        page = (await reading.get(path, signed_in=True)).text
        assert html.escape(HOSTILE).replace("&#x27;", "&#39;") in page
        assert not re.search(r"<script(?! type=\"module\" src=\"/static/)", page)
        assert "\u202e" not in page
    events = (await reading.get(f"/deployments/{held.id}/events")).text
    assert f'data: [["fg-red","{HOSTILE}"]]' in events


async def test_the_last_lines_are_in_the_page_and_all_of_them_a_link_away(reading: Reading) -> None:
    held = await reading.building("A")
    for start in range(0, 2100, 700):
        await reading.ledger.logs.append(
            held, [f"\x1b[32mline {n}\x1b[0m" for n in range(start + 1, start + 701)]
        )
    page = await reading.page(held)
    assert "100 earlier lines" in page
    assert page.count('class="line"') == 2000
    assert 'id="L100"' not in page
    assert '<a href="#L101" aria-label="Line 101">101</a>' in page
    assert '<span class="fg-green">line 2100</span>' in page
    whole = await reading.get(f"/deployments/{held.id}/log.txt")
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.text == "".join(f"line {n}\n" for n in range(1, 2101))


async def test_events_go_on_after_the_last_line_that_is_known(reading: Reading) -> None:
    held = await reading.building("A", "one", "two", "three")
    page = await reading.page(held)
    address = re.search(r'data-events="([^"]+)"', page)
    assert address
    await reading.ledger.logs.append(held, ["four"])
    await reading.ended(held)
    events = (await reading.get(address[1])).text
    assert re.findall(r"data: (\[\[.*)", events) == ['[["","four"]]']
    assert events.count("event: end\ndata: ") == 1
    assert "Ready in" in events
    id_ = re.findall(r"id: (\S+)", (await reading.get(f"/deployments/{held.id}/events")).text)[1]
    again = await reading.get(address[1], headers={"last-event-id": id_})
    assert re.findall(r"data: (\[\[.*)", again.text) == ['[["","three"]]', '[["","four"]]']
    assert again.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_reader_who_leaves_is_no_longer_written_to(reading: Reading) -> None:
    held = await reading.building("A", "one")
    listeners = reading.ledger.changes._listeners
    async with served(reading.app) as port, httpx2.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/deployments/{held.id}/events"
        async with client.stream("GET", url) as stream:
            arrived = ""
            async for chunk in stream.aiter_text():
                arrived += chunk
                if 'data: [["","one"]]' in arrived:
                    break
            assert len(listeners) == 1
        async with asyncio.timeout(5):
            while listeners:
                await asyncio.sleep(0.01)


async def test_a_log_that_cannot_be_read_leaves_the_page_readable(reading: Reading) -> None:
    held = await reading.building("A", "one", message="Say hello")
    await reading.ended(held)
    await reading.forgotten(held)
    await reading.saved(held, 1, [])
    name = f"logs/7/{held.id}-{held.claims[1]}.log"
    await reading.bucket.put(name, b"broken", content_type="application/zstd")
    page = await reading.page(held)
    assert "Say hello" in page
    assert "The log cannot be read at the moment" in page
    whole = await reading.get(f"/deployments/{held.id}/log.txt")
    assert whole.status_code == 503
    assert "log_broken" in whole.text


async def test_every_answer_bears_the_headers_that_keep_a_browser_safe(reading: Reading) -> None:
    held = await reading.building("A", "one")
    await reading.ended(held)
    for path in (
        *("/", "/sign-in", "/deployments/d0000000000000000"),
        *(f"/deployments/{held.id}{rest}" for rest in ("", "/log.txt", "/events")),
    ):
        for signed_in in (False, True):
            headers = (await reading.get(path, signed_in=signed_in)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"


async def test_static_files_bear_their_hash_and_are_kept(reading: Reading) -> None:
    page = (await reading.get("/sign-in")).text
    names = re.findall(r'(?:src|href)="(/static/[a-z]+-[0-9a-f]{12}\.[a-z]+)"', page)
    assert {name.rpartition(".")[2] for name in names} == {"css", "svg"}
    for name in names:
        found = await reading.get(name)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]
        assert found.headers["x-content-type-options"] == "nosniff"
    for name in ("style.css", "nothing", "%2e%2e%2frender.py"):
        assert (await reading.get(f"/static/{name}")).status_code == 404


async def test_no_page_holds_a_script_or_a_style_of_its_own(reading: Reading) -> None:
    held = await reading.building("A", "\x1b[31mred")
    for path in ("/", f"/deployments/{held.id}", "/sign-in", "/deployments/x"):
        page = (await reading.get(path, signed_in=path != "/sign-in")).text
        assert not re.search(r"<style|<script(?![^>]* src=)| style=| on[a-z]+=", page)


async def test_a_page_in_need_of_a_server_that_is_away_says_so_and_names_no_host(
    valkey: str, seaweedfs: S3, prefix: str
) -> None:
    away = "redis://127.0.0.1:1"
    async with a_reading(valkey, seaweedfs, prefix, hears=False, redis_url=away) as reading:
        found = await reading.get(f"/deployments/d{'0' * 16}")
        assert found.status_code == 503
        assert found.headers["retry-after"]
        assert "does not reach a server that it needs" in found.text
        assert "redis_unreachable" in found.text
        assert "127.0.0.1" not in found.text


async def test_the_overview_shows_projects_deployments_and_the_queue_in_words(
    reading: Reading,
) -> None:
    empty = words((await reading.get("/", signed_in=True)).text)
    assert "The queue is idle. Nothing waits; nothing in the works." in empty
    assert "None yet." in empty
    live = await reading.ended(await reading.building("A", message="Say hello"))
    await reading.building("B", repository="acme/docs", repository_id=8, message="Write it down")
    await reading.ledger.records.record(a_push("C", repository="acme/shop", repository_id=9))
    page = (await reading.get("/", signed_in=True)).text
    text = words(page)
    assert "The queue is normal. 1 waits, the oldest for" in text
    assert "1 in the works." in text
    assert "site acme/site http://site.localhost:8000 live Say hello , just now" in text
    assert "docs acme/docs Nothing is live yet." in text
    assert f'href="/deployments/{live.id}"' in page
    for row in ("Write it down Building docs @ main", "commit C Received shop @ main"):
        assert row in text


async def test_a_tag_a_commit_and_head_have_short_names(reading: Reading) -> None:
    sha = commit("X")
    for ref, name, whole in (
        ("refs/tags/v1.0", "v1.0", "refs/tags"),
        (sha, sha[:7], sha),
        ("HEAD", "HEAD", "refs/"),
    ):
        asked = Request(repository="acme/site", ref=ref, commit=sha if ref == sha else "")
        answer = await reading.ledger.records.request(asked)
        found = await reading.ledger.view.deployment(answer.deployment)
        assert found
        for page in (
            await reading.page(found, signed_in=True),
            (await reading.get("/", signed_in=True)).text,
        ):
            assert f"Deployment of {name} " in words(page)
            assert f"site @ {name}" in words(page)
            assert whole not in words(page)


async def test_a_card_says_beside_what_is_live_that_the_newest_failed(reading: Reading) -> None:
    broken = await reading.building("A", message="Break it")
    await reading.ended(broken, Status.FAILED, error_code="build_failed")
    page = words((await reading.get("/", signed_in=True)).text)
    assert "Nothing is live yet. The newest failed: Break it , just now" in page
    await reading.ended(await reading.building("B", before="A", message="Mend it"))
    page = words((await reading.get("/", signed_in=True)).text)
    assert "The newest" not in page
    broken = await reading.building("C", before="B", message="Break it again")
    await reading.ended(broken, Status.ERRORED, error_code="bucket_unreachable")
    await reading.building("D", branch="topic")
    page = words((await reading.get("/", signed_in=True)).text)
    assert "live Mend it , just now The newest errored: Break it again , just now" in page


async def test_the_overview_shows_the_newest_twenty(reading: Reading) -> None:
    for number in range(22):
        await reading.ledger.records.record(a_push(f"{number}", branch=f"b{number}"))
    page = (await reading.get("/", signed_in=True)).text
    shown = re.findall(r"<bdi>commit (\d+)</bdi>", page)
    assert shown == [str(number) for number in range(21, 1, -1)]


async def test_a_page_answers_its_own_methods_only(reading: Reading) -> None:
    assert (await reading.client.post("/")).status_code == 405
    assert (await reading.client.get("/sign-out")).status_code == 405
    assert (await reading.client.head("/sign-in")).status_code == 200


async def test_the_token_is_on_no_page(reading: Reading) -> None:
    for path in ("/", "/sign-in"):
        found: httpx2.Response = await reading.get(path, signed_in=True)
        assert TOKEN not in found.text + str(found.headers)
