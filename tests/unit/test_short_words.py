"""A commit's status has room for 140 characters: what to do about a failure stands in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from bot.core import sitefile
from bot.core.deployment import Deployment, Status, state
from bot.core.errors import BuildFailed, short
from tests.detecting import a_package, plan
from worker import made
from worker.detect import Plan, look
from worker.detect.facts import FACTS
from worker.detect.package import Package
from worker.output import Limits, Output, walk
from worker.toolchain.managers import package_manager
from worker.toolchain.node import node
from worker.toolchain.records import Stock, Toolchain

LONG: Final = "a-quite-long-name-that-somebody-has-chosen/" * 5
SERVERS: Final = sorted({rule.cure for fact in FACTS for rule in fact.server})
HINTS: Final = sorted({fact.hint for fact in FACTS if fact.hint})


def described(error: BuildFailed) -> str:
    """What GitHub shows of a deployment that ended by this error."""
    failed = Deployment(
        id="d0",
        status=Status.FAILED,
        project="site",
        repository="acme/site",
        ref="refs/heads/main",
        seq=1,
        error_message=error.message,
    )
    return state(failed)[1]


def missing(top: Path, *, output: str, hint: str = "") -> BuildFailed:
    for number in range(9):
        (top / f"a-directory-of-the-build-{number}").mkdir()
        (top / f"a-directory-of-the-build-{number}/page.html").write_text("x")
    asked = Plan(framework="", reason="", outputs=(output,), declared=True, hint=hint, command="x")
    with pytest.raises(BuildFailed) as caught:
        made.find(top, (), asked, since=0)
    assert caught.value.code == "output_missing"
    return caught.value


def test_an_output_that_is_missing_says_first_what_to_set(tmp_path: Path) -> None:
    shown = described(missing(tmp_path, output=LONG))
    assert "set `output` in [build] of pushlane.toml to the right one" in shown


@pytest.mark.parametrize("hint", HINTS)
def test_a_frameworks_own_reason_comes_before_the_directories(tmp_path: Path, hint: str) -> None:
    error = missing(tmp_path, output="dist", hint=hint)
    assert hint.partition(", since")[0] in described(error)
    assert "a-directory-of-the-build-0" in error.message


@pytest.mark.parametrize("cure", SERVERS)
def test_what_makes_a_server_is_told_what_to_change(cure: str) -> None:
    shown = described(BuildFailed(cure, code="server_framework"))
    assert cure.partition(", since")[0] in shown


def a_link_that_leaves(top: Path) -> None:
    (top / "out" / LONG).mkdir(parents=True)
    (top / "out" / LONG / "link").symlink_to("/etc/passwd")
    walk(Output(root=top, parts=("out",)), Limits(megabytes=1, files=100))


def a_directory_as_a_link(top: Path) -> None:
    (top / "out").symlink_to("dist")
    made.find(top, (), Plan(framework="", reason="", outputs=("out",), declared=True), since=0)


def stock(top: Path) -> Stock:
    async def log(line: str) -> None:
        raise AssertionError(line)

    return Stock(cache=top, environment={}, log=log)


def file(name: str, text: str) -> Callable[[Path], object]:
    return lambda _: sitefile.read({name: text.encode()})


FAILURES: Final[list[tuple[Callable[[Path], object], str]]] = [
    (a_link_that_leaves, "copy the file instead"),
    (a_directory_as_a_link, "by `output` in pushlane.toml"),
    (lambda top: look(top, LONG, by="the project's setting"), "mend it there"),
    (lambda _: Package.of(b"{" * 9000, LONG), "cannot be read; mend it"),
    (lambda _: plan({"package.json": '{"name": 1, }'}), "package.json cannot be read; mend it"),
    (
        lambda _: plan({"package.json": a_package("next", scripts={"build": "next build"})}),
        "set `output: 'export'` in next.config",
    ),
    (lambda top: asyncio.run(node(stock(top), LONG)), "name one like 22 in .nvmrc"),
    (
        lambda top: asyncio.run(package_manager(stock(top), "pnpm", LONG, Toolchain())),
        "correct packageManager in package.json",
    ),
    (file("pushlane.toml", "[build\n"), "pushlane.toml is not valid TOML"),
    (file("vercel.json", "{"), "vercel.json is not valid JSON"),
    (file("netlify.toml", f'[build]\npublish = "../../{LONG}"\n'), "takes a path inside the"),
    (file("pushlane.toml", f'[build]\noutput = ".git/{LONG}"\n'), ".git cannot be built"),
    (file("pushlane.toml", f'[build.environment]\n"{LONG}" = "x"\n'), "no variable's name"),
    (file("pushlane.toml", f"[build.environment]\n{'A' * 300} = [1]\n"), "xpected `str`"),
]


@pytest.mark.parametrize(("fails", "cure"), FAILURES)
def test_what_to_do_is_in_the_description_however_long_a_strangers_names_are(
    tmp_path: Path, fails: Callable[[Path], object], cure: str
) -> None:
    with pytest.raises(BuildFailed) as caught:
        fails(tmp_path)
    shown = described(caught.value)
    assert cure in shown
    assert len(shown) <= 140


def test_a_strangers_text_is_one_line_and_is_cut() -> None:
    assert short(" a\n\tb\x1b[1m ", 9) == "a b [1m"
    assert short("abcdef", 5) == "abcd…"
    assert short("abcde", 5) == "abcde"
