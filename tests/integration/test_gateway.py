"""What a visitor of a site meets, on real servers."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import zstandard

from tests.builders import a_push, a_removal
from tests.conftest import S3
from tests.hosting import DOMAIN, PAGE, Hosting, a_client, a_gateway, a_hosting, following, labels
from tests.workshop import a_bench

SITE: dict[str, str | bytes] = {
    "index.html": PAGE,
    "about.html": "about",
    "docs/index.html": "docs",
    "404.html": "<h1>lost</h1>" + PAGE,
    "logo.png": b"\x89PNG" + bytes(range(256)) * 4,
    "empty.txt": "",
    "assets/index-BxYz12ab.js": "let a = 1;\n" * 200,
}


@pytest.fixture
async def hosting(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> AsyncIterator[Hosting]:
    async with a_hosting(valkey, seaweedfs, prefix, tmp_path) as made:
        yield made


async def test_a_release_is_served_under_its_three_names(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    for label in labels(ready):
        found = await hosting.get(label)
        assert (found.status_code, found.text) == (200, PAGE)
        assert found.headers["content-type"] == "text/html; charset=utf-8"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cache-control"] == "public, max-age=0, must-revalidate"
        assert found.headers["vary"] == "Accept-Encoding"
        assert "set-cookie" not in found.headers


async def test_only_production_may_be_indexed(hosting: Hosting) -> None:
    production, *others = labels(await hosting.publish(SITE))
    for path in ("/", "/docs", "/nothing"):
        assert "x-robots-tag" not in (await hosting.get(production, path)).headers
        for label in others:
            assert (await hosting.get(label, path)).headers["x-robots-tag"] == "noindex"


async def test_the_case_the_port_and_a_last_dot_of_the_host_do_not_matter(
    hosting: Hosting,
) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    for host in (f"{label.upper()}.{DOMAIN}:8443", f"{label}.{DOMAIN}."):
        found = await hosting.client.get(f"http://{DOMAIN}/", headers={"host": host})
        assert found.status_code == 200


async def test_paths_lead_to_pages_as_on_netlify(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    for path, text in (("/about", "about"), ("/about.html", "about"), ("/docs/", "docs")):
        found = await hosting.get(label, path)
        assert (found.status_code, found.text) == (200, text)
    for path, where in (("/docs?a=1&b=%2F", "/docs/?a=1&b=%2F"), ("/about/", "/about")):
        found = await hosting.get(label, path)
        assert (found.status_code, found.headers["location"]) == (301, where)
        assert found.headers["cache-control"] == "public, max-age=0, must-revalidate"


async def test_names_with_a_hash_are_kept_for_ever(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    found = await hosting.get(label, "/assets/index-BxYz12ab.js")
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    found = await hosting.get(label, "/logo.png")
    assert found.headers["cache-control"] == "public, max-age=0, must-revalidate"


async def test_a_single_page_application_shows_its_index_for_its_routes(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE, spa=True))
    found = await hosting.get(label, "/users/7")
    assert (found.status_code, found.text) == (200, PAGE)
    assert (await hosting.get(label, "/assets/index-gone1234.js")).status_code == 404


async def test_what_a_site_has_not_is_its_own_404_page(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    found = await hosting.get(label, "/nothing", accept_encoding="gzip", if_none_match="*")
    assert (found.status_code, found.text) == (404, SITE["404.html"])
    assert found.headers["content-encoding"] == "gzip"
    assert "etag" not in found.headers
    assert (await hosting.get(label, "/404.html")).status_code == 200
    head = await hosting.get(label, "/nothing", method="HEAD")
    assert (head.status_code, head.content) == (404, b"")


async def test_without_one_it_is_ours(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish({"index.html": PAGE}))
    found = await hosting.get(label, "/nothing")
    assert (found.status_code, found.headers["cache-control"]) == (404, "no-store")
    assert "Page not found" in found.text


@pytest.mark.parametrize("label", ["nobody", "a.b", "-odd", "x" * 70])
async def test_a_host_without_a_site_says_so(hosting: Hosting, label: str) -> None:
    found = await hosting.get(label)
    assert (found.status_code, found.headers["cache-control"]) == (404, "no-store")
    assert "There is no site here" in found.text
    assert label not in found.text


async def test_a_deleted_branch_says_so_and_comes_back(hosting: Hosting) -> None:
    first = await hosting.publish(SITE, push=a_push("A", branch="x", at=1))
    _, branch, own = labels(first)
    assert (await hosting.get(branch)).status_code == 200
    await hosting.ledger.records.remove(a_removal("x", before="A", at=2))
    found = await hosting.get(branch)
    while found.status_code != 404:
        found = await hosting.get(branch)
    assert "This branch was deleted" in found.text
    assert (await hosting.get(own)).status_code == 200
    await hosting.publish(SITE, push=a_push("B", branch="x", at=3))
    while (await hosting.get(branch)).status_code != 200:
        pass


async def test_a_deployment_that_is_no_longer_kept_is_gone(hosting: Hosting) -> None:
    ready = await hosting.publish(SITE)
    production, _, own = labels(ready)
    await hosting.bucket.delete(ready.release)
    found = await hosting.get(own)
    assert (found.status_code, found.headers["cache-control"]) == (410, "no-store")
    found = await hosting.get(production)
    assert (found.status_code, found.headers["cache-control"]) == (503, "no-store")


async def test_a_kept_manifest_whose_pack_went_is_gone_only_when_the_bucket_has_neither(
    hosting: Hosting,
) -> None:
    ready = await hosting.publish(SITE)
    production, _, own = labels(ready)
    assert (await hosting.get(own)).status_code == 200
    await hosting.bucket.delete(ready.release.replace("releases", "packs")[:-4] + "pack")
    assert (await hosting.get(own, "/about")).status_code == 503
    await hosting.bucket.delete(ready.release)
    assert (await hosting.get(own, "/about")).status_code == 410
    found = await hosting.get(production, "/about")
    assert (found.status_code, int(found.headers["retry-after"])) == (503, 5)
    assert (await hosting.get(own)).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
async def test_sites_are_only_read(hosting: Hosting, method: str) -> None:
    found = await hosting.get("shop", method=method)
    assert (found.status_code, found.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_options_says_what_may_be_done(hosting: Hosting) -> None:
    found = await hosting.get("shop", method="OPTIONS")
    assert (found.status_code, found.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert found.content == b""


async def test_each_encoding_is_sent_as_asked_with_a_tag_of_its_own(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    sha256 = hashlib.sha256(PAGE.encode()).hexdigest()[:32]
    decoders: dict[str, Callable[[bytes], bytes]] = {
        "zstd": zstandard.decompress,
        "gzip": gzip.decompress,
        "identity": bytes,
    }
    for encoding, decode in decoders.items():
        async with hosting.client.stream(
            "GET", f"http://{label}.{DOMAIN}/", headers={"accept-encoding": encoding}
        ) as found:
            raw = b"".join([part async for part in found.aiter_raw()])
        ending = "" if encoding == "identity" else f"-{encoding}"
        assert decode(raw) == PAGE.encode()
        assert found.headers["etag"] == f'"{sha256}{ending}"'
        assert found.headers.get("content-encoding", "identity") == encoding
        assert int(found.headers["content-length"]) == len(raw)
    picture = await hosting.get(label, "/logo.png", accept_encoding="gzip, zstd")
    assert picture.content == SITE["logo.png"]
    assert "content-encoding" not in picture.headers


async def test_head_has_the_headers_of_get(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    for path in ("/", "/logo.png", "/empty.txt", "/docs", "/nothing"):
        for encoding in ("identity", "zstd, gzip"):
            get = await hosting.get(label, path, accept_encoding=encoding)
            head = await hosting.get(label, path, method="HEAD", accept_encoding=encoding)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert dict(head.headers) == dict(get.headers)


async def test_who_has_it_already_is_told_so(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    for encoding in ("identity", "gzip", "zstd"):
        first = await hosting.get(label, accept_encoding=encoding)
        tag = first.headers["etag"]
        for tags in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            for method in ("GET", "HEAD"):
                found = await hosting.get(
                    label, method=method, accept_encoding=encoding, if_none_match=tags
                )
                assert (found.status_code, found.content) == (304, b"")
                for name in ("etag", "cache-control", "vary"):
                    assert found.headers[name] == first.headers[name]
    found = await hosting.get(label, if_none_match=tag)
    assert found.status_code == 200, "another encoding is another representation"
    assert (await hosting.get(label, if_match='"x"')).status_code == 412
    assert (await hosting.get(label, if_match="*")).status_code == 200


async def test_one_range_gives_a_part_of_the_identity_bytes(hosting: Hosting) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    whole = PAGE.encode()
    tag = (await hosting.get(label)).headers["etag"]
    size = len(whole)
    for range_, first, last in (("0-9", 0, 9), ("100-", 100, size - 1), ("-5", size - 5, size - 1)):
        found = await hosting.get(label, range=f"bytes={range_}", accept_encoding="zstd, gzip")
        assert (found.status_code, found.content) == (206, whole[first : last + 1])
        assert found.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert (found.headers["etag"], found.headers["accept-ranges"]) == (tag, "bytes")
        assert "content-encoding" not in found.headers
    assert (await hosting.get(label, range="bytes=0-9", if_range=tag)).status_code == 206
    assert (await hosting.get(label, range="bytes=0-9", if_none_match=tag)).status_code == 304


async def test_what_is_no_single_satisfiable_range_is_answered_as_rfc_9110_says(
    hosting: Hosting,
) -> None:
    label, *_ = labels(await hosting.publish(SITE))
    found = await hosting.get(label, range=f"bytes={len(PAGE)}-")
    assert (found.status_code, found.headers["content-range"]) == (416, f"bytes */{len(PAGE)}")
    assert (await hosting.get(label, "/empty.txt", range="bytes=0-")).status_code == 416
    for headers in (
        {"range": "bytes=0-1,5-6"},
        {"range": "lines=1-2"},
        {"range": "bytes=0-9", "if_range": '"other"'},
        {"range": "bytes=0-9", "if_range": "Wed, 21 Oct 2026 07:28:00 GMT"},
    ):
        found = await hosting.get(label, **headers)
        assert (found.status_code, found.text) == (200, PAGE)
    head = await hosting.get(label, method="HEAD", range="bytes=0-9")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(PAGE)))


async def test_what_a_real_worker_publishes_is_served(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path) as bench:
        held = await bench.held(
            {"pushlane.toml": "[site]\nspa = true\n", "index.html": PAGE, "ü/x.css": "p{}"}
        )
        await bench.worker.loop().attend(held)
        gateway = a_gateway(bench.ledger, bench.bucket, tmp_path / "cache")
        async with following(bench.ledger, gateway), a_client(gateway) as client:
            for path, text in (("/", PAGE), ("/ü/x.css", "p{}"), ("/a/route", PAGE)):
                found = await client.get(f"http://{held.project}.{DOMAIN}{path}")
                assert (found.status_code, found.text) == (200, text)
        await gateway.aclose()
