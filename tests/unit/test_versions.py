"""Which versions of what is saved of the ledger are needed."""

from __future__ import annotations

from bot.collector.verdicts import LONGEST_RECORD_MS
from bot.collector.versions import Version, doubtful, sift
from bot.core.bucket import Entry

BEFORE = 10 * LONGEST_RECORD_MS
OLD = BEFORE - LONGEST_RECORD_MS - 1


def entry(name: str, *, at: int = OLD) -> Entry:
    return Entry(name, 1, at)


def test_of_each_thing_the_highest_version_stays_whatever_the_order_of_names() -> None:
    newest: dict[str, Version] = {}
    names = ("records/d1/10.json", "records/d1/9.json", "records/d2/3.json")
    assert [each.name for each in sift(map(entry, names), newest)] == ["records/d1/9.json"]
    # A page of the list has ended between two versions of one thing.
    assert [each.name for each in sift([entry("records/d2/4.json")], newest)] == [
        "records/d2/3.json"
    ]
    assert {what: version.number for what, version in newest.items()} == {
        "deployment:d1": 10,
        "deployment:d2": 4,
    }


def test_what_bears_no_name_of_ours_is_passed_over() -> None:
    newest: dict[str, Version] = {}
    assert sift([entry("records/mine.txt"), entry("records/d1/x.json")], newest) == []
    assert newest == {}


def test_only_what_is_old_no_project_and_of_no_unknown_release_is_asked_for() -> None:
    newest: dict[str, Version] = {}
    young = entry("records/young/1.json", at=OLD + 1)
    names = (
        "aliases/gone--site/5.json",
        "projects/site/1.json",
        "records/old/1.json",
        "records/unknown/1.json",
    )
    sift([*map(entry, names), young], newest)
    found = doubtful(newest, before=BEFORE, undecided={"unknown"})
    assert sorted(found) == ["alias:gone--site", "deployment:old"]
