"""`vercel.json`, and what the repository's files say when there are several."""

from __future__ import annotations

import json

import pytest

from bot.core.errors import BuildFailed
from bot.core.sitefile import FILES, LIMIT, Build, Sitefile, read


def vercel(**keys: object) -> Sitefile:
    return read({"vercel.json": json.dumps(keys).encode()})


def together(**texts: str) -> Sitefile:
    names = {"ours": "pushlane.toml", "netlify": "netlify.toml", "vercel": "vercel.json"}
    return read({names[name]: text.encode() for name, text in texts.items()})


def test_the_three_steps_of_vercel_json_are_read() -> None:
    found = vercel(buildCommand="vite build", outputDirectory="/out/", installCommand="npm ci")
    assert found.build == Build(command="vite build", output="out", install="npm ci")
    assert found.file_of("install") == "vercel.json"
    assert found.warnings == ()


def test_null_means_the_default_and_an_empty_command_means_none() -> None:
    keys = ("buildCommand", "outputDirectory", "installCommand", "framework", "ignoreCommand")
    assert vercel(**dict.fromkeys(keys)) == Sitefile()
    assert vercel(buildCommand="", installCommand=" ", outputDirectory="").build == Build(
        command="", install=""
    )
    assert vercel(outputDirectory=".").build.output == "."


def test_keys_of_vercel_json_that_do_nothing_yet_are_told() -> None:
    found = vercel(
        **{"$schema": "x", "surprise": 1},
        framework="vite",
        ignoreCommand="exit 0",
        cleanUrls=True,
        trailingSlash=False,
        redirects=[{"source": "/a", "destination": "/b"}],
        functions={"a": {}},
    )
    assert found.warnings == (
        "vercel.json: `surprise` is not understood",
        (
            "vercel.json: `framework` is passed over: the framework is found by "
            "what the repository "
            "depends on"
        ),
        (
            "vercel.json: `ignoreCommand` is not executed: `watch` in "
            "pushlane.toml says what a push "
            "must change"
        ),
        "vercel.json: `cleanUrls` is read, but not served yet",
        "vercel.json: `redirects` is read, but not served yet",
        "vercel.json: `functions` is not served: only static files are",
    )


@pytest.mark.parametrize("source", ["/(.*)", "/:path*", "/:path(.*)", "/.*"])
def test_a_rewrite_of_every_path_to_the_front_page_is_served(source: str) -> None:
    found = vercel(rewrites=[{"source": source, "destination": "/index.html"}])
    assert found.site.spa
    assert found.warnings == ()


def test_other_rewrites_are_not_served_yet() -> None:
    found = vercel(rewrites=[{"source": "/api/(.*)", "destination": "/index.html"}])
    assert not found.site.spa
    assert found.warnings == ("vercel.json: `rewrites` is read, but not served yet",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "is not valid JSON: "),
        (b"[]", "holds no JSON object; begin it with {"),
        (b"[" * 100_000, "is not valid JSON: "),
        (b'{"a":' * 40_000, "is not valid JSON: "),
        (b"\xff", "is not UTF-8 in line 1"),
        (b" " * (LIMIT + 1), "is longer than 256 KB"),
        (b'{"buildCommand": 5}', "is wrong at `buildCommand`: expected `str`, got `int`"),
        (b'{"buildCommand": "a\\u0000"}', "has a NUL character in [buildCommand]"),
        (b'{"outputDirectory": "../x"}', "has `outputDirectory = '../x'`; it takes a path inside"),
        (b'{"outputDirectory": ".git"}', "has `outputDirectory = '.git'`; .git cannot be"),
    ],
)
def test_a_vercel_json_that_cannot_be_used_says_where(body: bytes, words: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        read({"vercel.json": body})
    assert caught.value.code == "sitefile_invalid"
    assert caught.value.message.startswith(f"vercel.json {words}")


def test_the_first_file_that_says_something_about_a_key_decides() -> None:
    found = together(
        ours="[build]\noutput = 'a'\nenvironment = { X = '1' }\n[site]\nspa = false",
        netlify="[build]\npublish = 'b'\ncommand = 'two'\nenvironment = { X = '2', Y = '2' }\n"
        "[[redirects]]\nfrom = '/*'\nto = '/index.html'\nstatus = 200",
        vercel='{"outputDirectory": "c", "buildCommand": "three", "installCommand": "four"}',
    )
    assert found.build == Build(
        output="a", command="two", install="four", environment={"X": "1", "Y": "2"}
    )
    assert not found.site.spa
    assert found.notes == (
        "pushlane.toml says output, spa, the variable X",
        "netlify.toml says command, the variable Y",
        "vercel.json says install",
    )


def test_steps_that_are_meant_for_another_directory_are_passed_over_aloud() -> None:
    found = together(
        netlify="[build]\nbase = 'website'\npublish = 'build'",
        vercel='{"installCommand": "cd website && yarn", "buildCommand": "x", "cleanUrls": false}',
    )
    assert found.build == Build(root="website", output="build")
    assert found.warnings == (
        (
            "vercel.json: its install and command are passed over, since "
            "netlify.toml says to work in "
            "website"
        ),
    )


def test_our_own_steps_are_for_whatever_directory_is_worked_in() -> None:
    found = together(ours="[build]\ncommand = 'x'", netlify="[build]\nbase = 'a'")
    assert found.build == Build(root="a", command="x")
    assert found.file_of("root") == "netlify.toml"
    assert found.file_of("node") == "pushlane.toml"


def test_files_of_rules_are_noted_and_no_file_is_an_empty_one() -> None:
    found = read({"_redirects": b"/a /b", "_headers": b""})
    assert found == Sitefile(warnings=("_redirects: is read, but not served yet",))
    assert read({}) == Sitefile()
    assert FILES[:3] == ("pushlane.toml", "netlify.toml", "vercel.json")


def test_an_output_of_pushlane_toml_may_be_its_root_or_lie_beside_it() -> None:
    assert together(ours="[build]\noutput = '.'").build.output == "."
    found = together(ours="[build]\nroot = 'docs'\noutput = '../public'")
    assert (found.build.root, found.build.output) == ("docs", "../public")


def test_a_file_full_of_odd_keys_does_not_flood_the_log() -> None:
    found = vercel(**{f"odd{number}": 1 for number in range(60)})
    assert len(found.warnings) == 51
    assert found.warnings[-1] == "… and 10 more lines like these"
