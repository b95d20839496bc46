"""What is copied of a tree that strangers filled, and what is not."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from worker.caches.keeping import Copy, Unfit, survey, within
from worker.caches.keys import FACTS

SECRET = "hunter2/öffne+dich"


def never() -> None:
    """Goes on."""


def copied(origin: Path, target: Path, *, secrets: tuple[str, ...] = ()) -> Copy:
    target.mkdir()
    copy = Copy(origin, target, owner=None, secrets=secrets, most_bytes=10_000_000, check=never)
    copy.make(within(origin, "tree", check=never))
    return copy


def test_set_id_and_sticky_bits_are_dropped(tmp_path: Path) -> None:
    tree = tmp_path / "from" / "tree"
    tree.mkdir(parents=True)
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2711), ("plain", 0o640)):
        (tree / name).write_text(name)
        (tree / name).chmod(mode)
    (tree / "sub").mkdir()
    (tree / "sub").chmod(0o3755)
    copied(tmp_path / "from", tmp_path / "to")
    modes = {each.name: each.stat().st_mode for each in (tmp_path / "to" / "tree").iterdir()}
    assert {name: stat.S_IMODE(mode) for name, mode in modes.items()} == {
        "setuid": 0o755,
        "setgid": 0o711,
        "plain": 0o640,
        "sub": 0o755,
    }


def test_what_a_link_leads_to_is_not_copied_nor_what_is_no_file(tmp_path: Path) -> None:
    tree = tmp_path / "from" / "tree"
    tree.mkdir(parents=True)
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "folder").symlink_to("/etc")
    os.mkfifo(tree / "pipe")
    copied(tmp_path / "from", tmp_path / "to")
    kept = tmp_path / "to" / "tree"
    assert (kept / "link").readlink() == Path("/etc/passwd")
    assert sorted(os.listdir(kept)) == ["folder", "link"]  # noqa: PTH208 - no link is followed


@pytest.mark.parametrize(
    "form",
    [
        lambda text: text,
        lambda text: quote(text, safe=""),
        lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
        lambda text: text.encode().hex(),
    ],
)
def test_a_tree_with_a_secret_in_any_form_is_not_kept(
    tmp_path: Path, form: Callable[[str], str]
) -> None:
    tree = tmp_path / "from" / "tree"
    tree.mkdir(parents=True)
    # Across the pieces in which a file is read.
    (tree / "file").write_bytes(b"x" * ((1 << 20) - 5) + form(SECRET).encode() + b"y")
    with pytest.raises(Unfit, match="a secret is in tree/file"):
        copied(tmp_path / "from", tmp_path / "to", secrets=("another", SECRET))
    assert copied(tmp_path / "from", tmp_path / "again", secrets=("another",)).files == 1


def test_downloads_that_are_kept_are_no_part_of_the_packages() -> None:
    # What is installed may refer to nothing in them: it would be gone when they are.
    for place in (*FACTS["verified"], *FACTS["believed"]):
        assert any(f"{place}/".startswith(f"{each}/") for each in FACTS["downloads"])


def test_the_way_to_packages_is_a_part_of_them_and_what_lies_beside_is_not(tmp_path: Path) -> None:
    layer, bottom = tmp_path / "layer", tmp_path / "bottom"
    for path in (".yarn/install-state.gz", "apps/web/node_modules/a/b", ".yarn/odd", "made.txt"):
        file = layer / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    (bottom / "source/apps/web").mkdir(parents=True)
    found = survey(layer, bottom, check=never)
    assert sorted(found.strange) == ["source/.yarn/odd", "source/made.txt"]
    assert {"source/.yarn", "source/.yarn/install-state.gz"} <= set(found.paths)
