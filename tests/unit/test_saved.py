"""What the bucket holds of the ledger: its names and its JSON."""

from __future__ import annotations

import pytest

from bot.core import saved
from bot.core.errors import Errored
from bot.core.saved import Saved

ALIAS = Saved(what="alias:main--site", version=1_790_000_000_123, fields={"deployment": "dé"})


def test_a_thing_is_read_as_it_was_written() -> None:
    assert saved.decode(saved.encode(ALIAS)) == ALIAS


def test_its_name_tells_what_it_is_and_in_which_version() -> None:
    assert ALIAS.name == "aliases/main--site/1790000000123.json"
    assert saved.of_name(ALIAS.name) == (ALIAS.what, ALIAS.version)
    assert ALIAS.name.startswith(saved.folder(ALIAS.what))
    assert Saved(what="deployment:d1", version=4, fields={}).name == "records/d1/4.json"
    assert Saved(what="project:site", version=4, fields={}).name == "projects/site/4.json"


@pytest.mark.parametrize(
    "name", ["aliases/site/x.json", "packs/7/1.json", "aliases/1.json", "aliases/a/b/1.json", ""]
)
def test_other_names_are_none_of_ours(name: str) -> None:
    assert saved.of_name(name) is None


def test_a_newer_schema_is_refused_in_one_line() -> None:
    body = b'{"schema": 2, "what": "alias:site", "version": "of another type"}'
    with pytest.raises(Errored) as raised:
        saved.decode(body)
    assert raised.value.code == "saved_too_new"
    assert not raised.value.retryable
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"schema": 1}', b"\xff"])
def test_what_is_broken_is_said_to_be(body: bytes) -> None:
    with pytest.raises(Errored, match="broken"):
        saved.decode(body)
