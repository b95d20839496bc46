"""What is said of a failed build: by what real tools print, whatever else stands around it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from bot.core.deployment import Deployment, Status, state
from worker.lessons import CODES, LONGEST, Lesson, lesson
from worker.lessons.table import SIGNS

DOCS = Path(__file__).parents[2] / "docs" / "failures.md"

USAGE = "\n".join(f"npm error   --option-{number}" for number in range(90))
PRINTED = {
    "npm ci without a lock file": (
        "lock_missing",
        (
            "npm error code EUSAGE\nnpm error\nnpm error The `npm ci` command "
            "can only install with "
            "an existing package-lock.json or\nnpm error npm-shrinkwrap.json "
            "with lockfileVersion >= "
            f"1. Run an install with npm@5 or\n{USAGE}"
        ),
    ),
    "pnpm without a lock file": (
        "lock_missing",
        (
            ' ERR_PNPM_NO_LOCKFILE  Cannot install with "frozen-lockfile" '
            "because pnpm-lock.yaml is "
            "absent"
        ),
    ),
    "npm ci with an old lock file": (
        "lock_outdated",
        (
            "npm error code EUSAGE\nnpm error\nnpm error `npm ci` can only "
            "install packages when your "
            "package.json and package-lock.json or npm-shrinkwrap.json are in "
            "sync. Please update your "
            "lock file with `npm install` before continuing.\nnpm error Missing: "
            "left-pad@1.3.0 from "
            f"lock file\n{USAGE}"
        ),
    ),
    "pnpm with an old lock file": (
        "lock_outdated",
        (
            ' ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with "frozen-lockfile" because '
            "pnpm-lock.yaml is not up to date with <ROOT>/package.json"
        ),
    ),
    "yarn 1 with an old lock file": (
        "lock_outdated",
        (
            "[1/4] Resolving packages...\nerror Your lockfile needs to be "
            "updated, but yarn was run "
            "with `--frozen-lockfile`."
        ),
    ),
    "yarn 4 with an old lock file": (
        "lock_outdated",
        (
            "➤ YN0028: │ The lockfile would have been modified by this install, "
            "which is explicitly "
            "forbidden."
        ),
    ),
    "bun with an old lock file": (
        "lock_outdated",
        "error: lockfile had changes, but lockfile is frozen",
    ),
    "a pnpm lock file with a merge in it": (
        "lock_broken",
        " ERR_PNPM_BROKEN_LOCKFILE  The lockfile at /work/source/pnpm-lock.yaml is broken",
    ),
    "a package with another checksum": ("package_altered", "npm error code EINTEGRITY"),
    "npm and peers": (
        "peer_conflict",
        (
            "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree\n"
            'npm error Could not resolve dependency:\nnpm error peer react@"17.0.2" from react-dom'
        ),
    ),
    "webpack 4": (
        "openssl_unsupported",
        (
            "Error: error:0308010C:digital envelope routines::unsupported\n    at new Hash (node:"
            "internal/crypto/hash:101:19)\n  code: 'ERR_OSSL_EVP_UNSUPPORTED'\n}"
        ),
    ),
    "npm and engines": (
        "node_version",
        (
            "npm error code EBADENGINE\nnpm error engine Unsupported engine\nnpm error notsup "
            'Required: {"node":">=99"}'
        ),
    ),
    "yarn 1 and engines": (
        "node_version",
        (
            'error h@1.0.0: The engine "node" is incompatible with this module. Expected version '
            '"99". Got "20.20.2"\nerror Found incompatible module.'
        ),
    ),
    "next": (
        "node_version",
        'You are using Node.js 16.20.2. For Next.js, Node.js version ">=18.17.0" is required.',
    ),
    "vite 7": ("node_version", "TypeError: crypto.hash is not a function"),
    "a syntax of later": ("node_version", "SyntaxError: Unexpected token '??='"),
    "pip and Python": (
        "python_version",
        "ERROR: Package 'x' requires a different Python: 3.11.2 not in '>=3.12'",
    ),
    "node's heap": (
        "heap_exhausted",
        (
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"
            "----- Native stack trace -----\n 1: 0xb78db3 node::OOMErrorHandler(char const*) [node]"
        ),
    ),
    "a full disk": ("disk_full", "Error: ENOSPC: no space left on device, write"),
    "many files": ("files_open", "Error: EMFILE: too many open files, open 'a.md'"),
    "a package.json that is none": (
        "package_json_invalid",
        "npm error code EJSONPARSE\nnpm error JSON.parse Invalid package.json: JSONParseError",
    ),
    "pnpm where yarn is meant": (
        "manager_mismatch",
        " ERROR  This project is configured to use yarn",
    ),
    "corepack's keys": (
        "corepack_failed",
        "Internal Error: Cannot find matching keyid: {}",
    ),
    "a registry that wants a token": ("registry_denied", "npm error code E401"),
    "a version that is not there": (
        "version_missing",
        "npm error code ETARGET\nnpm error notarget No matching version found for ms@99.0.0.",
    ),
    "a package that is not there": (
        "package_missing",
        (
            "npm error code E404\nnpm error 404  The requested resource '@a/b@1' "
            "could not be found or "
            "you do not have permission to access it."
        ),
    ),
    "a Python package that is not there": (
        "package_missing",
        "ERROR: No matching distribution found for surely-not-there",
    ),
    "a dependency by ssh": (
        "dependency_by_ssh",
        (
            "npm error command git --no-replace-objects ls-remote ssh://git@github.com/acme/x.git\n"
            "npm error fatal: Could not read from remote repository."
        ),
    ),
    "no git": ("git_missing", "npm error code ENOENT\nnpm error syscall spawn git\nnpm error path"),
    "sharp": (
        "sharp_missing",
        'Error: Could not load the "sharp" module using the linux-x64 runtime',
    ),
    "gyp": ("native_build", "npm error gyp ERR! find Python You need to install the latest"),
    "npm run without the script": (
        "script_missing",
        'npm error Missing script: "nope"\nnpm error\nnpm error To see a list of scripts, run:',
    ),
    "yarn run without the script": ("script_missing", 'error Command "nope" not found.'),
    "create-react-app and CI": (
        "warnings_as_errors",
        (
            "Treating warnings as errors because process.env.CI = true.\nMost CI servers set it "
            "automatically.\n\nFailed to compile."
        ),
    ),
    "a variable": ("variable_missing", "Error: Missing environment variable: API_URL"),
    "a variable of Python": ("variable_missing", "KeyError: 'API_URL'"),
    "a variable of a schema": ("variable_missing", "API_URL environment variable is not set"),
    "hugo": (
        "hugo_extended",
        'TOCSS: failed to transform "main.scss" (text/x-scss): you need the extended version',
    ),
    "sphinx -W": ("documentation_warnings", "Warning, treated as error:\nx.rst:1: bad"),
    "mkdocs --strict": ("documentation_warnings", "Aborted with 1 warnings in strict mode!"),
    "python": ("python_module_missing", "ModuleNotFoundError: No module named 'surely_not'"),
    "mkdocs": (
        "python_module_missing",
        "ERROR   -  Config value 'plugins': The \"awesome-pages\" plugin is not installed",
    ),
    "ruby": ("gem_missing", "cannot load such file -- jekyll-feed (LoadError)"),
    "node": (
        "module_missing",
        "Error: Cannot find module 'nothing-here'\nRequire stack:\n- /work/source/[eval]",
    ),
    "vite": (
        "module_missing",
        '[vite]: Rollup failed to resolve import "not-there" from "/work/source/src/main.js".',
    ),
    "webpack": ("module_missing", "Module not found: Error: Can't resolve '@a/b/c' in '/work'"),
    "tsc": (
        "typescript_errors",
        "src/a.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.",
    ),
    "next and its types": ("typescript_errors", "Type error: Type 'string' is not assignable"),
    "eslint": ("lint_errors", "✖ 3 problems (2 errors, 1 warning)"),
    "pnpm 11": ("build_scripts_ignored", " ERR_PNPM_IGNORED_BUILDS  Ignored build scripts: x"),
    "a file without its bit": ("not_executable", "sh: 1: ./build.sh: Permission denied"),
    "dash": ("command_missing", "> vite build\n\nsh: 1: vite: not found"),
    "bash": ("command_missing", "bash: line 1: tsc: command not found"),
    "a file that was not committed": (
        "import_missing",
        'error during build:\nCould not resolve "./data.json" from "src/main.js"',
    ),
}


def learnt(text: str, **more: object) -> Lesson | None:
    return lesson(exit_code=1, lines=text.splitlines(), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "text"), PRINTED.values(), ids=PRINTED)
def test_what_a_tool_prints_is_known(code: str, text: str) -> None:
    around = (
        f"> a line before\n{text}\n\x1b[31mnpm error\x1b[0m A complete log of this run is there"
    )
    found = learnt(around)
    assert found
    assert found.code == code
    assert "{" not in found.message.replace("${NAME}", "")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sh: 1: vite: not found", "`vite`"),
        ('npm error Missing script: "nope"', "`nope`"),
        ("Cannot find package '@scope/name/deep' imported from", "@scope/name is not"),
        ("Error: Missing required env var API_URL", "API_URL is not set"),
        ("npm error notarget No matching version found for @a/ms@^99.0.0.", "@a/ms@^99.0.0:"),
    ],
)
def test_a_lesson_names_what_it_is_about(text: str, name: str) -> None:
    found = learnt(text)
    assert found
    assert name in found.message


@pytest.mark.parametrize(
    ("imported", "path", "code"),
    [
        ("./Foo.js", "src/foo.js", "import_case"),
        ("./Foo", "src/foo.tsx", "import_case"),
        ("../components/Header", "src/Components/Header.vue", "import_case"),
        ("@/Pages/Home", "src/pages/Home/index.tsx", "import_case"),
        ("./Foo.js?raw", "src/foo.js", "import_case"),
        ("./Foo", "src/foobar.js", "import_missing"),
        ("./Foo", "src/barfoo.js", "import_missing"),
        ("./Foo", "src/Foo.js", "import_missing"),
    ],
)
def test_an_import_that_differs_by_case_alone_says_how_the_file_is_spelt(
    imported: str, path: str, code: str
) -> None:
    text = f'error during build:\nCould not resolve "{imported}" from "src/main.js"'
    found = learnt(text, files=lambda: [path, "package.json"])
    assert found
    assert found.code == code
    assert imported in found.message


def test_a_host_that_was_refused_is_named_where_it_may_be_the_reason() -> None:
    hosts = ["telemetry.example:443", "fonts.example:443"]
    named = learnt("Error: request to https://fonts.example/a failed", refused_hosts=hosts)
    assert named == Lesson(
        "host_refused",
        "the build was refused fonts.example: name it in PUSHLANE_EGRESS_HOSTS, "
        "or build without it",
    )
    away = learnt("FetchError: getaddrinfo ENOTFOUND", refused_hosts=hosts[:1])
    assert away
    assert "telemetry.example" in away.message
    other = learnt("sh: 1: vite: not found", refused_hosts=hosts[:1])
    assert other
    assert other.code == "command_missing"


@pytest.mark.parametrize(
    "line",
    [
        "Error: getaddrinfo ENOTFOUND fonts.example",
        "fatal: cannot access it: Could not resolve host: fonts.example",
        'FetchError: [GET] "https://fonts.example/css2?family=DM+Sans": <no response> fetch failed',
        "FetchError: request to https://fonts.example/css2 failed, reason: connect ECONNRESET",
    ],
)
def test_a_host_that_is_away_is_named(line: str) -> None:
    found = learnt(f"some\n{line}\nELIFECYCLE Command failed")
    assert found
    assert found.code == "host_unreachable"
    assert found.message.startswith("fonts.example cannot be reached")


def test_what_is_not_known_and_what_succeeded_teach_nothing() -> None:
    assert learnt("oh no") is None
    assert learnt("") is None
    assert lesson(exit_code=0, lines=["sh: 1: vite: not found"]) is None
    assert learnt("npm warn EBADENGINE Unsupported engine\noh no") is None
    assert learnt("missing CSS for this page") is None


def test_a_build_that_was_killed_is_told_so() -> None:
    found = lesson(exit_code=137, lines=["Killed"])
    assert found
    assert found.code == "build_killed"


def test_every_lesson_fits_into_a_status() -> None:
    long = "n" * 500
    for sign in SIGNS:
        words = sign.words.format("n" * 30)
        assert len(words) <= LONGEST, (sign.code, len(words))
    for text in (f"sh: 1: {long[:90]}: not found", f'Could not resolve "./{long[:190]}" from "x"'):
        found = learnt(text, files=lambda: [f"{long[:190].upper()}.js"])
        assert found
        record = Deployment(
            id="d", status=Status.FAILED, project="site", repository="a/b", ref="refs/heads/main",
            seq=1, error_message=found.message,
        )  # fmt: skip
        _, description = state(record)
        assert description == f"Failed: {found.message}"


@pytest.mark.parametrize(
    "piece",
    [
        "sh: 1: ", "Missing environment variable", "A" * 80 + " environment variable ",
        "Cannot find module '@", " ERR_PNPM_FETCH_404  GET a/", "a/" * 50, "a-" * 40,
        "No matching version found for @a/", "Node.js version ", "`", "'a.b'", "KeyError: 'A",
        'Could not resolve "./a', "error: command '/", "SyntaxError: The requested module 'node:",
    ],
)  # fmt: skip
def test_a_hostile_output_costs_little(piece: str) -> None:
    lines = [(piece * 400)[:4000]] * 1000
    began = time.monotonic()
    lesson(exit_code=1, lines=lines, refused_hosts=["a:1"], files=lambda: ["a" * 4000] * 100)
    assert time.monotonic() - began < 2


def test_what_is_taken_from_an_output_is_one_harmless_word() -> None:
    found = learnt('Could not resolve "./a`\x1b[31m\u202eb" from "x"')
    assert found
    assert found.message.isprintable()
    assert found.message.count("`") == 2


def test_each_code_is_in_the_documentation() -> None:
    told = set(re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.MULTILINE))
    assert told >= CODES
