"""Kept trees: whole or not at all, by level of trust, never removed in use, bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bot.core.deployment import Deployment, Status
from worker.caches.store import Held, Record, Store
from worker.sandbox.records import Owner

SIZE = 1000


def a_deployment(*, production: bool = True, project: str = "site") -> Deployment:
    return Deployment(
        id="d1",
        status=Status.BUILDING,
        project=project,
        repository="acme/site",
        repository_id=7,
        ref="refs/heads/main",
        seq=1,
        production=production,
    )


def keep(store: Store, name: str, *, of: Deployment, text: str = "x") -> Record | None:
    def fill(tree: Path) -> Record:
        (tree / "file").write_text(text)
        return Record(deployment=of.id, made_at=time.time(), files=1, bytes=SIZE)

    return store.add(of, name, fill)


def found(store: Store, name: str, *, of: Deployment) -> str | None:
    held = store.take(of, name, owner=None)
    if held is None:
        return None
    held.release()
    return (held.tree / "file").read_text()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, most_bytes=3 * SIZE)


def test_production_never_finds_what_a_preview_kept(store: Store) -> None:
    production, preview = a_deployment(), a_deployment(production=False)
    keep(store, "packages-a", of=preview)
    assert found(store, "packages-a", of=production) is None
    keep(store, "packages-b", of=production)
    assert found(store, "packages-b", of=preview) == "x"


def test_another_project_finds_nothing(store: Store) -> None:
    keep(store, "packages-a", of=a_deployment())
    assert found(store, "packages-a", of=a_deployment(project="other")) is None


def test_what_was_not_used_for_longest_goes_first(store: Store, tmp_path: Path) -> None:
    of = a_deployment()
    for number, name in enumerate(("a", "b", "c")):
        keep(store, name, of=of)
        os.utime(next(tmp_path.glob(f"*/*/*/{name}/record.json")), (number, number))
    assert found(store, "a", of=of) == "x"
    keep(store, "d", of=of)
    assert [found(store, name, of=of) for name in "abcd"] == ["x", None, "x", "x"]


def test_what_is_in_use_is_not_evicted_and_a_newer_one_is_for_those_who_come_later(
    store: Store, tmp_path: Path
) -> None:
    of = a_deployment()
    keep(store, "a", of=of, text="first")
    held = store.take(of, "a", owner=None)
    assert isinstance(held, Held)
    inside = os.open(held.tree, os.O_RDONLY)
    for name in ("b", "c", "d", "e"):
        keep(store, name, of=of)
    assert found(store, "a", of=of) == "first"
    keep(store, "a", of=of, text="second")
    assert found(store, "a", of=of) == "second"
    os.stat("file", dir_fd=inside)
    held.release()
    store.make_room()
    assert os.listdir(inside) == []  # noqa: PTH208 - a descriptor, no path
    os.close(inside)
    store.clear(of)
    assert [*tmp_path.glob("*/*/*/*")] == []


def test_a_crash_in_the_middle_leaves_nothing_half(store: Store, tmp_path: Path) -> None:
    of = a_deployment()

    def fill(tree: Path) -> Record:
        (tree / "file").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        store.add(of, "a", fill)
    assert found(store, "a", of=of) is None
    level = next(tmp_path.glob("*/*/production"))
    (level / ".part-0").mkdir()
    (level / ".part-0" / "tree").mkdir()
    store.make_room()
    assert list(level.iterdir()) == []


def test_one_that_is_too_old_does_not_count(store: Store) -> None:
    of = a_deployment()
    keep(store, "a", of=of)
    assert store.take(of, "a", owner=None, newest=time.time() + 1) is None


def test_another_build_user_gets_it_when_nobody_uses_it(store: Store) -> None:
    if os.geteuid() != 0:
        return  # nobody else has build users
    of, one, other = a_deployment(), Owner(40_001, 40_001), Owner(40_002, 40_002)
    keep(store, "a", of=of)
    held = store.take(of, "a", owner=one)
    assert held is not None
    beside = store.take(of, "a", owner=one)
    assert beside is not None
    assert store.take(of, "a", owner=other) is None
    held.release()
    assert store.take(of, "a", owner=other) is None
    beside.release()
    later = store.take(of, "a", owner=other)
    assert later is not None
    assert (later.tree / "file").stat().st_uid == other.uid
    later.release()
