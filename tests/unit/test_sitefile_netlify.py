"""`netlify.toml`: read with the meaning that Netlify documents, and never in silence."""

from __future__ import annotations

import time

import pytest

from bot.core.errors import BuildFailed
from bot.core.sitefile import LIMIT, Build, Sitefile, netlify_context, read

WHOLE = """
[build]
base = "site/"
publish = "public/"
command = "hugo --gc --minify"
[build.environment]
HUGO_VERSION = "0.128.0"
NODE_VERSION = 22
[context.production.environment]
HUGO_ENV = "production"
[context.branch-deploy]
command = "hugo -D"
[context."feat/*"]
publish = "features"
[context.feat-x]
command = "echo x"
[context.feat-x.environment]
HUGO_ENV = "x"
[context.deploy-preview]
command = "hugo -b $DEPLOY_PRIME_URL"
"""


def asked(text: str, *, context: str = "production", branch: str = "main") -> Sitefile:
    return read({"netlify.toml": text.encode()}, context=context, branch=branch)


def refusal(text: str | bytes) -> str:
    with pytest.raises(BuildFailed) as caught:
        read({"netlify.toml": text.encode() if isinstance(text, str) else text})
    assert caught.value.code == "sitefile_invalid"
    return caught.value.message


def test_production_gets_build_and_its_own_context() -> None:
    found = asked(WHOLE)
    assert found.build == Build(
        root="site",
        output="public",
        command="hugo --gc --minify",
        environment={"HUGO_VERSION": "0.128.0", "NODE_VERSION": "22", "HUGO_ENV": "production"},
    )
    assert found.warnings == ()
    assert found.file_of("command") == "netlify.toml"
    assert found.notes == (
        (
            "netlify.toml says root, output, command, the variables HUGO_VERSION, NODE_VERSION, "
            "HUGO_ENV"
        ),
    )


def test_a_branch_gets_its_contexts_the_most_particular_last() -> None:
    word = netlify_context(production=False)
    assert asked(WHOLE, context=word, branch="x").build.command == "hugo -D"
    own = asked(WHOLE, context=word, branch="feat-x").build
    assert (own.command, own.environment["HUGO_ENV"]) == ("echo x", "x")
    like = asked(WHOLE, context=word, branch="feat/y").build
    assert (like.command, like.output) == ("hugo -D", "features")
    assert netlify_context(production=True) == "production"


@pytest.mark.parametrize(
    ("base", "publish", "output"),
    [
        ("", "dist", "dist"),
        ("", "/dist/", "dist"),
        ("", ".", "."),
        ("", "./", "."),
        ("", "/", "."),
        ("/", "out", "out"),
        ("./", "out", "out"),
        ("docs", ".", "."),
        ("docs", "../public", "../public"),
        ("docs", "..", ".."),
        ("a/b", "../c/./d/", "../c/d"),
        ("docs", "../docs/out", "out"),
    ],
)
def test_publish_is_seen_from_base(base: str, publish: str, output: str) -> None:
    found = asked(f"[build]\nbase = '{base}'\npublish = '{publish}'")
    assert found.build.output == output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[build", "is not valid TOML: "),
        (b"\xff", "is not UTF-8 in line 1"),
        ("#" * (LIMIT + 1), "is longer than 256 KB; shorten it"),
        ("a." * 200 + "a = 1", "has more than 100 dots in line 1"),
        ("build = 5", "is wrong at `build`: expected `object`, got `int`"),
        ("build.command = 5", "is wrong at `build.command`: expected `str`, got `int`"),
        ("build.publish = ['a']", "is wrong at `build.publish`: expected `str`, got `array`"),
        ("build.base = '../x'", "has `build.base = '../x'`; it takes a path inside the repository"),
        ("build.publish = '../x'", "has `build.publish = '../x'`; it takes a path inside"),
        ("build.publish = 'a\\b'", "has `build.publish = 'a\\\\b'`; it takes a path inside"),
        ("build.publish = '.git/x'", "has `build.publish = '.git/x'`; .git cannot be built"),
        ('build.command = "a\\u0000"', "has a NUL character in [build], which no command"),
        ("context = 5", "is wrong at `context`: expected `object`, got `int`"),
        ("context.production = 5", "is wrong at `context.production`: expected `object`"),
        ("context.production.command = 1", "is wrong at `context.production.command`: expected"),
        ("[build.environment]\nA = [1]", "is wrong at `build.environment[...]`: expected `str`"),
        ("[build.environment]\nA-B = 1", "has 'A-B' in [build.environment], which is no variable"),
        (f"build.command = '{'x' * 1001}'", "is wrong at `build.command`: expected `str` of le"),
    ],
)
def test_a_value_that_cannot_be_used_names_the_file_and_the_key(
    text: str | bytes, words: str
) -> None:
    assert refusal(text).startswith(f"netlify.toml {words}")


def test_what_is_known_and_does_nothing_here_is_told() -> None:
    found = asked(
        "[build]\nignore = 'exit 0'\nfunctions = 'f'\n[build.processing.html]\npretty_urls = true\n"
        "[[plugins]]\npackage = '@netlify/plugin-nextjs'\n[[headers]]\nfor = '/*'\n"
        "[[redirects]]\nfrom = '/a'\nto = '/b'\n[dev]\nport = 1\n[surprise]\nx = 1\n"
        "[context.production]\nsurprise = 1\n[context.other]\nsurprise = 1\n"
    )
    assert found.warnings == (
        (
            "netlify.toml: `build.ignore` is not executed: `watch` in "
            "pushlane.toml says what a push "
            "must change"
        ),
        "netlify.toml: `build.functions` is not served: only static files are",
        "netlify.toml: `build.processing` is read, but not served yet",
        "netlify.toml: `context.production.surprise` is not understood",
        "netlify.toml: `plugins` is not executed: put what a plugin does into the build command",
        "netlify.toml: `surprise` is not understood",
        "netlify.toml: `redirects` is read, but not served yet",
        "netlify.toml: `headers` is read, but not served yet",
    )


def test_the_usual_rule_of_a_single_page_site_is_served() -> None:
    rule = "[[redirects]]\nfrom = '/*'\nto = '/index.html'\nstatus = 200\n"
    assert asked(rule).site.spa
    assert asked(rule).warnings == ()
    more = asked(rule + "[[redirects]]\nfrom = '/a'\nto = '/b'\n")
    assert more.site.spa
    assert more.warnings == ("netlify.toml: `redirects` is read, but not served yet",)
    assert not asked(rule.replace("200", "301")).site.spa


def test_capitals_and_a_context_with_a_build_of_its_own_are_understood() -> None:
    assert asked("[Build]\nCommand = 'x'\nPublish = 'y'").build == Build(command="x", output="y")
    assert asked("[context.production.build]\ncommand = 'x'").build.command == "x"


def test_an_empty_command_means_no_build_and_other_empty_texts_mean_nothing() -> None:
    assert asked("[build]\nbase = ''\npublish = ' '\ncommand = ''").build == Build(command="")


def test_a_crowd_of_contexts_and_odd_names_costs_little() -> None:
    began = time.monotonic()
    many = "".join(f"[context.'{'a' * 20}{number}*']\nx = 1\n" for number in range(5000))
    assert asked(many, branch="a" * 2000).build == Build()
    odd = asked("'a\\u202e' = 1\n\"b\\u0007\\n\" = 1\n")
    assert all(line.isprintable() for line in odd.warnings)
    assert time.monotonic() - began < 2
