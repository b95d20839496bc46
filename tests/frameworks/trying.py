"""One pair through the whole product: pushed, built, fetched, changed, and pushed again."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

from tests.acceptance.house import ENDS, House
from tests.frameworks.catalogue import Catalogue, Pair, Site
from tests.frameworks.repositories import EVENING, MORNING, Files, evening, site_files

LONGEST: Final = 900.0
"""Seconds that one push may take to its end."""
_NAMED: Final = re.compile(r"""(?:src|href)=["']?([^"'\s>]+\.m?js)\b""")
_VERSIONS: Final = re.compile(r"(?m)^((?:[a-z]+ \d[\w.+-]*)(?:, [a-z]+ \d[\w.+-]*)*)$")


@dataclass(slots=True, kw_only=True)
class Push:
    """What one push came to. All durations in seconds."""

    status: str = ""
    live_seconds: float = 0.0
    install_seconds: float = 0.0
    build_seconds: float = 0.0
    why: str = ""


@dataclass(slots=True, kw_only=True)
class Result:
    """What a pair came to."""

    pair: str
    framework: str = ""
    by: str = ""
    tools: str = ""
    cold: Push = field(default_factory=Push)
    warm: Push | None = None
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether all was as it should be."""
        return not self.why

    def as_json(self) -> dict[str, Any]:
        """For the state file, and for `--json`."""
        return {**asdict(self), "ok": self.ok}


class NotShown(Exception):
    """The site does not show its words; the message says where."""


async def attempt(
    house: House, catalogue: Catalogue, pair: Pair, files: Files, *, warm: bool = True
) -> Result:
    """Builds the pair once, and once more with a changed word."""
    site = catalogue.sites[pair.site]
    made = Result(pair=pair.name, by=pair.by or "–")
    repository = f"acme/{pair.name}"
    worktree = house.repository(repository)
    for path, folder in pair.submodules.items():
        await _submodule(house, worktree, path, folder)
    made.cold, record = await _push(house, worktree, files, f"Add {pair.name}")
    log = await house.build_log(record["id"])
    made.framework = _framework(record, log)
    made.tools = next((found[1] for found in _VERSIONS.finditer(log)), "")
    made.why = made.cold.why or await _wrong(house, site, record, MORNING)
    if not made.why and made.framework != site.framework:
        made.why = f"detected as {made.framework}, not as {site.framework}"
    if made.ok and warm:
        made.warm, record = await _push(house, worktree, evening(files), "Good evening")
        made.why = made.warm.why or await _wrong(house, site, record, EVENING)
    return made


def _framework(record: dict[str, Any], log: str) -> str:
    told = record.get("framework") or ""
    # The first line of the log that says a choice: "Vite, by package.json…".
    found = re.search(r"(?m)^([^,\n]+?)(?: in [^,\n]+, since the top has no site)?, "
                      r"(?:by|no build|nothing)", log)  # fmt: skip
    return str(told) or (found[1] if found else "")


async def _submodule(house: House, worktree: Any, path: str, folder: str) -> None:
    name = f"acme/{folder}"
    inner = house.repository(name)
    await asyncio.to_thread(inner.write, site_files(folder))
    sha = await asyncio.to_thread(inner.commit, "The theme")
    await asyncio.to_thread(inner.push)
    url = house.github.clone_url(name)
    words = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
    worktree.write({".gitmodules": words})
    # An empty directory stands for what is not checked out: else `git add` takes it for deleted.
    (worktree.path / path).mkdir(parents=True)
    worktree.git("update-index", "--add", "--cacheinfo", f"160000,{sha},{path}")


async def _push(
    house: House, worktree: Any, files: Files, message: str
) -> tuple[Push, dict[str, Any]]:
    begun = time.monotonic()
    sha = await house.push(worktree, files, message=message)
    made, record = Push(), await house.of(sha)
    steps: list[float] = []
    published = 0.0
    while record["status"] not in ENDS:
        if time.monotonic() - begun > LONGEST:
            made.status, made.why = record["status"], f"not at its end after {LONGEST:.0f} s"
            return made, record
        if record["status"] == "building" and len(steps) < 2:
            seen = (await house.build_log(record["id"])).count("\n$ ")
            steps.extend(time.monotonic() for _ in range(seen - len(steps)))
        if record["status"] == "publishing" and not published:
            published = time.monotonic()
        await asyncio.sleep(0.1)
        record = await house.record(record["id"])
    ended = time.monotonic()
    made.status, made.live_seconds = record["status"], ended - begun
    published = published or ended
    if len(steps) == 2:
        made.install_seconds = steps[1] - steps[0]
    if steps:
        made.build_seconds = published - steps[-1]
    if record["status"] != "ready":
        made.why = str((record.get("error") or {}).get("message") or record["status"])[:400]
    return made, record


async def _wrong(house: House, site: Site, record: dict[str, Any], greeting: str) -> str:
    state = "" if record["status"] == "ready" else record["status"]
    if state:
        return state
    await house.states(record["commit"], last="success")
    try:
        for path, words in site.shows.items():
            await _shows(house, record["project"], path, words.replace(MORNING, greeting),
                         script=site.script)  # fmt: skip
    except NotShown as error:
        return str(error)
    return ""


async def _shows(house: House, label: str, path: str, words: str, *, script: bool) -> None:
    answer = await house.get(label, path, follow_redirects=True)
    if not answer.is_success:
        raise NotShown(f"{path} answers {answer.status_code}")
    if words in answer.text:
        return
    if script:
        for named in dict.fromkeys(_NAMED.findall(answer.text)):
            where = urljoin(path, named)
            if where.startswith("/") and words in (await house.get(label, where)).text:
                return
    raise NotShown(f"{path} does not show “{words}”")
