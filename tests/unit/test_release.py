"""A release's manifest: written and read back, and refused when it is broken or too new."""

from __future__ import annotations

import json

import pytest

from bot.core.errors import Errored
from bot.core.release import (
    SCHEMA,
    Content,
    File,
    Manifest,
    Range,
    decode,
    encode,
    log_name,
    manifest_name,
    pack_name,
)

DIGEST = "a" * 64
MANIFEST = Manifest(
    deployment="d1",
    claim="c1",
    project="site",
    commit="b" * 40,
    created_at=1_790_000_000_123,
    packs=("packs/7/d0-c0.pack", "packs/7/d1-c1.pack"),
    files={
        "index.html": File(sha256=DIGEST, type="text/html; charset=utf-8", size=12),
        "日本/é 😀.html": File(sha256=DIGEST, type="text/html; charset=utf-8", size=12),
    },
    contents={
        DIGEST: Content(
            identity=Range(pack=1, offset=0, length=12), zstd=Range(pack=0, offset=9, length=7)
        )
    },
    spa=True,
)


def test_what_is_written_is_read_back() -> None:
    assert decode(encode(MANIFEST)) == MANIFEST


def test_files_and_ranges_are_lists_so_that_large_sites_have_small_manifests() -> None:
    found = json.loads(encode(MANIFEST))
    assert found["schema"] == SCHEMA
    assert found["files"]["index.html"] == [DIGEST, "text/html; charset=utf-8", 12]
    assert found["contents"][DIGEST] == {"identity": [1, 0, 12], "zstd": [0, 9, 7]}


def test_one_of_a_newer_schema_is_refused_in_one_line_and_never_tried_again() -> None:
    newer = json.dumps({"schema": SCHEMA + 1, "files": "of another shape"}).encode()
    with pytest.raises(Errored, match="upgrade Pushlane") as caught:
        decode(newer)
    assert (caught.value.code, caught.value.retryable) == ("release_too_new", False)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"schema": 1}', b'{"schema": "1"}', b"\xff", b"null"]
)
def test_a_broken_one_is_told_as_such(body: bytes) -> None:
    with pytest.raises(Errored) as caught:
        decode(body)
    assert caught.value.code == "release_broken"


def test_a_cut_one_is_broken_wherever_it_is_cut() -> None:
    whole = encode(MANIFEST)
    for end in range(len(whole)):
        with pytest.raises(Errored):
            decode(whole[:end])


def test_each_claim_writes_under_names_of_its_own() -> None:
    assert pack_name("7", "d1", "c1") == "packs/7/d1-c1.pack"
    assert manifest_name("7", "d1", "c1") == "releases/7/d1-c1.json"
    assert log_name("7", "d1", "c1") == "logs/7/d1-c1.log"
