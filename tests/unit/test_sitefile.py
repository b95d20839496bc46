"""`pushlane.toml`: what it asks for, what is said of a wrong one, and when a push is skipped."""

from __future__ import annotations

import time

import pytest

from bot.core.errors import BuildFailed
from bot.core.sitefile import (
    LIMIT,
    Build,
    Redirect,
    Sitefile,
    matches,
    parse,
    skip_reason,
    watch_reason,
)

WHOLE = b"""
[build]
root = "docs"
command = "npm run build"
install = "npm ci"
output = "./dist//site/"
node = "22"
fetch_depth = 0
submodules = false
watch = ["docs/**"]
skip_branches = ["dependabot/**"]
[build.environment]
VITE_TITLE = "Hi"
[site]
spa = true
[[redirects]]
from = "/old/*"
to = "/new/:splat"
status = 302
[[headers]]
for = "/*"
values = { X-Frame-Options = "DENY" }
"""


def refusal(body: bytes) -> str:
    with pytest.raises(BuildFailed) as caught:
        parse(body)
    assert caught.value.code == "sitefile_invalid"
    assert not caught.value.retryable
    return caught.value.message


def asking(**build: object) -> Sitefile:
    return Sitefile(build=Build(**build))  # type: ignore[arg-type]


def test_no_file_and_an_empty_one_ask_for_nothing() -> None:
    assert parse(None) == parse(b"") == parse(b"# nothing\n") == Sitefile()
    assert Sitefile().build.command is None
    assert Sitefile().build.fetch_depth == 1


def test_the_whole_file_is_read() -> None:
    found = parse(WHOLE)
    assert found.build == Build(
        root="docs",
        command="npm run build",
        install="npm ci",
        output="dist/site",
        node="22",
        fetch_depth=0,
        submodules=False,
        watch=("docs/**",),
        skip_branches=("dependabot/**",),
        environment={"VITE_TITLE": "Hi"},
    )
    assert found.site.spa
    assert found.redirects == (Redirect(from_="/old/*", to="/new/:splat", status=302),)
    assert found.headers[0].for_ == "/*"
    assert found.headers[0].values == {"X-Frame-Options": "DENY"}
    assert found.warnings == (
        "pushlane.toml: `redirects` is read, but not served yet",
        "pushlane.toml: `headers` is read, but not served yet",
    )


def test_a_key_that_is_not_understood_is_a_warning_and_never_silence() -> None:
    found = parse(b'warnings = ["x"]\nbuild.comand = "x"\nsite.a.b = 1\n[functions]\nx = 1\n')
    assert found.warnings == tuple(
        f"pushlane.toml: `{name}` is not understood"
        for name in ("warnings", "build.comand", "site.a", "functions")
    )


def test_numbers_and_truths_stand_for_their_text_where_a_text_is_meant() -> None:
    found = parse(b"[build]\nnode = 22\n[build.environment]\nA = 1\nB = 1.5\nC = true\n")
    assert found.build.node == "22"
    assert found.build.environment == {"A": "1", "B": "1.5", "C": "true"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[build", "is not valid TOML: "),
        (b"x = " + b"9" * 5000, "is not valid TOML: "),
        (b"x = " + b"[" * 5000, "is not valid TOML: "),
        (b"a = 1\na = 2", "is not valid TOML: "),
        (b"[build]\n# \xff", "is not UTF-8 in line 2; save it as UTF-8"),
        (b"#" * (LIMIT + 1), "is longer than 256 KB; shorten it"),
        (b"build = 5", "is wrong at `build`: expected `object`, got `int`"),
        (b"build.command = 5", "is wrong at `build.command`: expected `str | null`, got `int`"),
        (b"build.node = true", "is wrong at `build.node`: expected `str`, got `bool`"),
        (b"build.fetch_depth = -1", "is wrong at `build.fetch_depth`: expected `int` >= 0"),
        (b'build.watch = ["a", 1]', "is wrong at `build.watch[1]`: expected `str`, got `int`"),
        (b'build.submodules = "no"', "is wrong at `build.submodules`: expected `bool`, got `str`"),
        (b"[[redirects]]\nto = '/'", "is wrong at `redirects[0]`: object missing required"),
        (b"[build.environment]\nA = [1]", "is wrong at `build.environment[...]`: expected `str`"),
        (b'build.environment."A-B" = "x"', "has 'A-B' in [build.environment], which is no"),
        (b'build.environment."" = "x"', "has '' in [build.environment], which is no"),
        (b'build.environment.A = "a\\u0000"', "has a NUL character in [build.environment], which"),
        (b'build.command = "a\\u0000"', "has a NUL character in [build], which no command"),
    ],
)
def test_a_wrong_file_is_the_repositorys_fault_and_says_where(body: bytes, words: str) -> None:
    assert refusal(body).startswith(f"pushlane.toml {words}")


@pytest.mark.parametrize("key", ["root", "output"])
@pytest.mark.parametrize(
    "path", ["/etc", "..", "a/../../b", "a\\b", "a\0b", "a\nb", ".git", "a/.GIT/hooks"]
)
def test_a_path_that_leaves_the_repository_is_refused(key: str, path: str) -> None:
    escaped = path.encode("unicode_escape").replace(b"\\x", b"\\u00")
    message = refusal(b'build.%s = "%s"' % (key.encode(), escaped))
    assert f"`{key}" in message or f"build.{key}" in message


@pytest.mark.parametrize(
    ("message", "skipped"),
    [
        ("Fix [skip ci]", True),
        ("[ci skip] Fix", True),
        ("Fix\n\nlong words\n\n[SKIP Deploy]", True),
        ("Fix", False),
        ("skip ci", False),
        ("[skip-ci]", False),
        ("[skip  ci]", False),
    ],
)
def test_a_commits_message_may_ask_to_be_skipped(message: str, skipped: bool) -> None:
    reason = skip_reason(message, "main", Sitefile())
    assert (reason is not None) is skipped
    if reason:
        assert reason.startswith("the commit's message says [")


def test_branches_that_the_file_skips_are_named_by_their_glob() -> None:
    asked = asking(skip_branches=("tmp", "dependabot/**"))
    assert skip_reason("x", "dependabot/npm/x", asked) == (
        "pushlane.toml skips branches like dependabot/**"
    )
    assert skip_reason("x", "main", asked) is None
    assert skip_reason("x", "tmp/x", asked) is None


def test_what_is_watched_decides_by_the_changed_paths() -> None:
    asked = asking(watch=("docs/**", "*.toml"))
    assert watch_reason(("docs/a/b.md",), asked) is None
    assert watch_reason(("src/x", "pushlane.toml"), asked) is None
    reason = watch_reason(("src/x", "a/b.toml"), asked)
    assert reason == "nothing changed in docs/**, *.toml since the last deployed commit"
    assert watch_reason((), asked) == reason
    assert watch_reason((), Sitefile()) is None


def test_what_takes_too_long_to_compare_is_told_and_never_taken_for_no_change() -> None:
    with pytest.raises(TimeoutError):
        watch_reason(("src/x",), asking(watch=("docs/**",)), seconds=-1)
    assert watch_reason(("docs/x",), asking(watch=("docs/**",)), seconds=-1) is None


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("docs/**", "docs/a", True),
        ("docs/**", "docs/a/b/c", True),
        ("docs/**", "docs", False),
        ("docs/**", "docsa/b", False),
        ("docs/*", "docs/a", True),
        ("docs/*", "docs/a/b", False),
        ("**/x.md", "x.md", True),
        ("**/x.md", "a/b/x.md", True),
        ("**/x.md", "ax.md", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "ab", False),
        ("**", "a/b", True),
        ("*", "a/b", False),
        ("*", "", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a?c", "ac", False),
        ("*.md", "a.md", True),
        ("*.md", "a.mdx", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a.c", "abc", False),
        ("", "", True),
        ("", "a", False),
        ("***", "a/b", True),
        ("é*", "étude", True),
        ("a\n*", "a\nb", True),
        ("**/**/x", "x", True),
        ("**/*/x", "a/x", True),
        ("**/*/x", "x", False),
        ("**/**", "a/b", True),
        ("a**b/c", "a/x/b/c", True),
        ("**/a/*.md", "x/a/y/a/b.md", True),
        ("**/a/*.md", "x/a/y/b.md", False),
    ],
)
def test_a_glob_matches_the_whole_path_part_by_part(pattern: str, path: str, matched: bool) -> None:
    assert matches(pattern, path) is matched


def test_a_hostile_glob_costs_little() -> None:
    began = time.monotonic()
    assert not matches("**/*a" * 150 + "b", "a" * 250)
    assert not matches("*" * 2 + "a*" * 300 + "b", "a/" * 100)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "body",
    [
        "a." * 100_000 + "a = 1",
        "[" + "a." * 300 + "a]",
        "x = {" + "a." * 100_000 + "a = 1}",
        '"=".' + "a." * 16_000 + "a = 1",
        '"," . ' * 16_000 + "a = 1",
    ],
    ids=["plain", "table", "inline", "quoted", "commas"],
)
def test_a_key_of_very_many_parts_is_refused_before_it_costs_anything(body: str) -> None:
    with pytest.raises(BuildFailed, match="more than 100 dots in line 1"):
        parse(body.encode())


def test_many_keys_of_some_parts_are_refused_before_they_cost_anything() -> None:
    head = "[" + "b." * 90 + "b]\n"
    body = head + "\n".join(f"{number}." + "a." * 60 + "a = 1" for number in range(60))
    with pytest.raises(BuildFailed, match="more than 50 lines of more than 16 dots, one in line 5"):
        parse(body.encode())


def test_lines_with_many_addresses_and_lines_of_versions_are_none_of_those() -> None:
    policy = " ".join(f"https://cdn{number}.example.com" for number in range(25))
    rule = f'[[headers]]\nfor = "/*"\nvalues = {{ Content-Security-Policy = "{policy}" }}\n'
    moved = '[[redirects]]\nfrom = "/a.1.2"\nto = "https://www.example.com/b.1.2.html"\n'
    found = parse((rule * 20 + moved * 1500).encode())
    assert (len(found.headers), len(found.redirects)) == (20, 1500)
