"""The catalogue of sites and pairs: each is what it says, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.sitefile import parse
from tests.frameworks.catalogue import SITES, Pair, catalogue
from tests.frameworks.repositories import MORNING, evening, files_of, site_files
from worker import detect

KNOWN = catalogue()
NOTHING = parse(b"")
PAIRS = list(KNOWN.pairs.values())
THEMES = {folder for pair in PAIRS for folder in pair.submodules.values()}


def written(directory: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return directory


def test_every_folder_of_fixtures_is_in_the_catalogue_and_the_other_way_round() -> None:
    folders = {path.name for path in SITES.iterdir() if path.is_dir()}
    assert folders == set(KNOWN.sites) | THEMES


def test_every_site_is_built_by_a_pair_or_says_why_not() -> None:
    built = {pair.site for pair in PAIRS}
    assert {folder for folder, site in KNOWN.sites.items() if not site.without} == built


def test_there_are_about_sixty_pairs_and_every_package_manager_is_among_them() -> None:
    assert len(PAIRS) >= 60
    ways = {pair.by.partition("@")[0] for pair in PAIRS}
    assert ways >= {"npm", "pnpm", "yarn", "bun", "pip", "uv", "poetry", "pipenv", "pdm", "bundler"}


@pytest.mark.parametrize("folder", KNOWN.sites)
def test_a_site_greets_once_so_that_the_second_push_changes_one_word(folder: str) -> None:
    files = site_files(folder)
    assert sum(body.count(MORNING.encode()) for body in files.values()) == 1
    assert len(evening(files)) == 1


@pytest.mark.parametrize("folder", sorted(set(KNOWN.sites)))
def test_a_site_is_detected_as_the_catalogue_says(folder: str, tmp_path: Path) -> None:
    found = detect.detect(detect.look(written(tmp_path, site_files(folder))), NOTHING)
    assert found.framework == KNOWN.sites[folder].framework


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_pair_is_found_where_it_lies(pair: Pair, tmp_path: Path) -> None:
    found = detect.detect(detect.look(written(tmp_path, files_of(pair))), NOTHING)
    assert found.framework == KNOWN.sites[pair.site].framework
    assert found.root == (pair.under or ("apps/web" if pair.site == "workspaces" else ""))
