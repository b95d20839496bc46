"""Several projects in one file: what each is asked for, and which changes touch it."""

from __future__ import annotations

import pytest

from bot.core.errors import BuildFailed
from bot.core.monorepo import Part, asked_of, further_entries, not_named, untouched_reason, watches
from bot.core.project import ProjectSettings
from bot.core.sitefile import Build, Sitefile, parse

TWO = b"""
[build]
node = "22"
[build.environment]
A = "1"
[[projects]]
name = "docs"
root = "docs"
command = "make"
[projects.environment]
B = 2
[[projects]]
name = "web"
root = "apps/web/"
node = 20
watch = ["apps/web/**", "packages/**"]
"""


def untouched(*changed: str, body: bytes = TWO, entry: str = "docs") -> str | None:
    whole, part = parse(body), Part(project="site", entry=entry)
    asked = asked_of(whole, part, ProjectSettings())
    assert asked is not None
    return untouched_reason(changed, whole, asked, part)


def of_project(
    whole: Sitefile, *, project: str, entry: str = "", settings: ProjectSettings | None = None
) -> Sitefile | None:
    return asked_of(whole, Part(project=project, entry=entry), settings or ProjectSettings())


def test_an_entry_says_where_and_how_and_the_rest_is_of_build() -> None:
    asked = parse(TWO)
    assert asked.warnings == ()
    docs, web = (of_project(asked, project=name, entry=name) for name in ("docs", "web"))
    assert docs is not None
    assert web is not None
    assert docs.build == Build(
        root="docs", command="make", node="22", environment={"A": "1", "B": "2"}
    )
    assert (web.build.root, web.build.node, web.build.command) == ("apps/web", "20", None)


def test_what_build_says_of_where_and_how_is_the_main_projects_alone() -> None:
    body = b'[build]\nroot = "app"\ncommand = "x"\nwatch = ["a"]\n[[projects]]\nname = "docs"'
    docs = of_project(parse(body), project="docs", entry="docs")
    assert docs is not None
    assert docs.build == Build()


def test_the_main_project_is_built_only_if_the_file_says_so() -> None:
    asked = parse(TWO)
    assert of_project(asked, project="site", entry="") is None
    assert not_named(asked, Part(project="site")) == "the projects of pushlane.toml are docs, web"
    for said in (b'root = "a"', b'command = ""', b'output = "dist"', b'watch = ["*"]'):
        body = b"[build]\n" + said + b'\n[[projects]]\nname = "docs"'
        assert of_project(parse(body), project="site", entry="") is not None
    main = of_project(asked, project="docs", entry="")
    assert main is not None
    assert main.build.root == "docs"
    assert further_entries(asked, main="docs") == ("web",)


def test_an_output_is_seen_from_its_entrys_root() -> None:
    for said, meant in ((".", "."), ("dist/", "dist"), ("../dist", "../dist"), ("", "")):
        body = f'[[projects]]\nname = "a"\nroot = "x"\noutput = "{said}"'.encode()
        asked = of_project(parse(body), project="a", entry="a")
        assert asked is not None
        assert asked.build.output == meant


def test_a_file_without_projects_is_the_main_ones() -> None:
    asked = parse(b'[build]\nroot = "docs"')
    assert of_project(asked, project="site", entry="") == asked
    assert of_project(asked, project="docs", entry="docs") is None
    assert (
        not_named(asked, Part(project="docs", entry="docs"))
        == "pushlane.toml names no project docs at this commit"
    )
    assert not watches(asked, asked, Part(project="site"))


def test_what_lies_in_another_projects_root_touches_only_that_one() -> None:
    assert untouched("apps/web/a.js") is not None
    for path in ("docs/a.md", "package-lock.json", "packages/x.js", "apps/other", "docs"):
        assert untouched("apps/web/a.js", path) is None, path


def test_a_watch_decides_where_there_is_one() -> None:
    assert untouched("docs/a.md", "package.json", entry="web") is not None
    assert untouched("packages/x.js", entry="web") is None


def test_the_innermost_root_has_the_file() -> None:
    body = b'[[projects]]\nname = "all"\n[[projects]]\nname = "docs"\nroot = "docs"\n'
    body += b'[[projects]]\nname = "api"\nroot = "docs/api"'
    assert untouched("docs/api/x", body=body) is not None
    assert untouched("docs/api/x", body=body, entry="all") is not None
    assert untouched("docs/x", body=body, entry="all") is not None
    assert untouched("x", body=body, entry="all") is None
    assert untouched("docs/api/x", body=body, entry="api") is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("projects = 1", "write each project as [[projects]]"),
        ('[[projects]]\nroot = "a"', "has a project without a name"),
        ('[[projects]]\nname = "Docs"', "a name is its host's"),
        ('[[projects]]\nname = "a--b"', "a name is its host's"),
        ('[[projects]]\nname = "pr-1"', "a name is its host's"),
        ('[[projects]]\nname = "a"\n[[projects]]\nname = "a"', "names the project a twice"),
        ('[[projects]]\nname = "a"\nroot = "../b"', "it takes a path inside the repository"),
        ('[[projects]]\nname = "a"\nroot = 1', "expected `str`, got `int`"),
        ('[[projects]]\nname = "a"\n[projects.environment]\n"x y" = "1"', "no variable's name"),
    ],
)
def test_a_wrong_entry_is_said(body: str, words: str) -> None:
    with pytest.raises(BuildFailed) as raised:
        parse(body.encode())
    assert words in raised.value.message


def test_a_key_that_no_entry_has_is_a_warning() -> None:
    assert parse(b'[[projects]]\nname = "a"\nfoo = 1').warnings == (
        "pushlane.toml: `projects.foo` is not understood",
    )


def test_a_projects_settings_lie_under_what_the_file_says() -> None:
    settings = ProjectSettings(root="elsewhere", output="out", watch=("a",))
    docs = of_project(parse(TWO), project="docs", entry="docs", settings=settings)
    assert docs is not None
    assert (docs.build.root, docs.build.output, docs.build.watch) == ("docs", "out", ("a",))
    assert of_project(parse(TWO), project="site", settings=settings) is not None
