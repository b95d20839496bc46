"""Build secrets through the whole worker: given to a build, and nowhere to be seen of it."""

from __future__ import annotations

import asyncio
import base64
import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import zstandard

from bot.core import release
from bot.core.deployment import Deployment, Status, state
from bot.core.ledger import Request
from bot.core.project import ProjectSettings
from bot.core.secrets import LONGEST, Context, Keyring
from tests.builders import a_push
from tests.conftest import S3
from tests.front import until
from tests.ledgers import redis_of
from tests.workshop import Bench, a_bench

KEY = "a key of this house"
SECRET = "hunter2/is+my&long'pass-word;of#the?year" * 2
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\nkiG9w0BAQEFAASCB\n-----END KEY-----"
GOOD = "mkdir -p dist && echo hi > dist/index.html"


@pytest.fixture
async def bench(valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, secret_key=KEY) as made:
        yield made


async def given(bench: Bench, *, key: str = KEY, **values: str) -> None:
    """Sets secrets of the site for all its contexts."""
    projects, keyring = bench.ledger.projects, Keyring(key)
    await projects.put("site", await projects.settings("site"), repository="acme/site")
    owner = await projects.owner("site")
    for name, value in values.items():
        tokens = {
            context: keyring.seal(value, owner=owner, context=context, name=name)
            for context in Context
        }
        await projects.set_secret("site", name, tokens, owner=owner)


def building(command: str, **files: str) -> dict[str, str]:
    """A source that is built by a script."""
    toml = '[build]\ncommand = "sh build.sh"\noutput = "dist"\n'
    return {"pushlane.toml": toml, "build.sh": command, **files}


async def ended(bench: Bench, held: Deployment) -> Deployment:
    await bench.worker.loop().attend(held)
    return await bench.record(held.id)


async def told(bench: Bench, held: Deployment) -> str:
    """All that is told of a deployment, wherever it lies."""
    record = await bench.record(held.id)
    name = release.log_name(held.repository_key, held.id, held.claims[-1])
    whole = zstandard.decompress(await bench.bucket.get(name)).decode()
    redis, found = redis_of(bench.ledger), [whole, await bench.log(held), str(record)]
    async for key in redis.scan_iter(f"{bench.settings.redis_prefix}*"):
        found += [str(await redis.hgetall(key))] if await redis.type(key) == "hash" else []
    return "\n".join([*found, *state(record)])


def forms(secret: str) -> list[str]:
    """As a build may print it."""
    raw = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote_plus(secret).lower(),
        json.dumps(secret),
        html.escape(secret),
        raw.hex(),
        *(base64.b64encode(before + raw + b" tail").decode() for before in (b"", b"a", b"ab")),
        base64.urlsafe_b64encode(raw).decode(),
    ]


async def test_a_build_is_given_them_and_prints_them_masked_in_every_form(bench: Bench) -> None:
    await given(bench, API_KEY=SECRET, TLS_KEY=PEM)
    printed = "\n".join(f"text {form} text" for form in forms(SECRET))
    script = f"""
test "$(printf %s "$API_KEY" | sha256sum)" = "$(sha256sum < expected)" || exit 9
cat printed
printf 'split %s' "$(printf %s "$API_KEY" | head -c 20)"; sleep 0.2
printf '\\033[31m%s\\033[0m\\n' "$(printf %s "$API_KEY" | tail -c +21)"
printf %s "$API_KEY" | base64
echo "$TLS_KEY" | sed 's/^/   /'
env | sort
{GOOD}
"""
    held = await bench.held(building(script, printed=printed, expected=SECRET))
    record = await ended(bench, held)
    assert record.status is Status.READY, await bench.log(held)
    log = await bench.log(held)
    assert "Secrets for production: API_KEY, TLS_KEY" in log
    assert "split •••" in log
    assert "API_KEY=•••" in log
    everything = await told(bench, held)
    pieces = [SECRET[:16], SECRET[-16:], SECRET[20:36], *PEM.splitlines(), *forms(SECRET)]
    pieces += [base64.b64encode(SECRET.encode()).decode()[at : at + 12] for at in range(0, 90, 4)]
    assert [piece for piece in pieces if piece in everything] == []


@pytest.mark.parametrize(
    "command",
    [
        'echo "error: cannot log in with $API_KEY"; exit 1',
        'mkdir "$API_KEY"; touch "$API_KEY/index.html"',
        'mkdir -p dist; touch dist/index.html; ln -s /etc/passwd "dist/$API_KEY"',
        'mkdir -p dist; touch dist/index.html; mkfifo "dist/$API_KEY"',
    ],
)
async def test_no_last_word_of_a_build_tells_one(bench: Bench, command: str) -> None:
    secret = "hunter2-is-my-long-password"
    await given(bench, API_KEY=secret)
    held = await bench.held(building(command))
    record = await ended(bench, held)
    assert record.status is Status.FAILED, await bench.log(held)
    assert record.error_message
    assert secret not in await told(bench, held)


async def test_none_is_in_an_argv_or_left_on_the_disk(bench: Bench) -> None:
    await given(bench, API_KEY=SECRET)
    held = await bench.held(building(f"echo here; sleep 3; echo there; {GOOD}"))
    attending = asyncio.create_task(bench.worker.loop().attend(held))

    async def builds() -> bool:
        return "here" in await bench.log(held)

    await until(builds)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert SECRET.encode() not in path.read_bytes()
        except OSError:
            continue
    await attending

    async def is_gone() -> bool:
        return not any((bench.settings.data_dir / "scratch").glob("*/source"))

    await until(is_gone)
    for path in bench.settings.data_dir.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path


async def test_what_may_be_a_forks_gets_none(bench: Bench) -> None:
    await given(bench, API_KEY=SECRET)
    script = f'test -z "$API_KEY" || exit 9; {GOOD}'
    held = await bench.held(building(script), a_push("A", branch="x"))
    assert (await ended(bench, held)).error_message.endswith("exit code 9")
    pull = Request(project="site", ref="refs/pull/5/head")
    held = await bench.asked(building(script), pull)
    assert (await ended(bench, held)).status is Status.READY, await bench.log(held)
    assert "No secrets: " in await bench.log(held)


@pytest.mark.parametrize(
    ("key", "code"), [("another key", "secret_key_wrong"), ("", "secret_key_missing")]
)
async def test_with_a_wrong_key_or_none_it_ends_errored_at_once_and_says_so(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path, key: str, code: str
) -> None:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, secret_key=key) as bench:
        await given(bench, API_KEY=SECRET)
        held = await bench.held(building(GOOD))
        record = await ended(bench, held)
    assert (record.status, record.error_code) == (Status.ERRORED, code)
    assert "PUSHLANE_SECRET_KEY" in record.error_message


async def test_an_older_key_still_opens_what_it_sealed(
    valkey: str, seaweedfs: S3, prefix: str, tmp_path: Path
) -> None:
    async with a_bench(valkey, seaweedfs, prefix, tmp_path, secret_key=f"new,{KEY}") as bench:
        await given(bench, API_KEY=SECRET)
        held = await bench.held(building(f'test -n "$API_KEY" && {GOOD}'))
        assert (await ended(bench, held)).status is Status.READY


async def test_the_projects_settings_hold_where_the_file_says_nothing(bench: Bench) -> None:
    settings = ProjectSettings(
        root="site",
        command='mkdir -p dist; echo "$GREETING $NAME" > dist/index.html',
        install="",
        output="out",
        environment={"GREETING": "hello", "NAME": "settings"},
    )
    await bench.ledger.projects.put("site", settings, repository="acme/site")
    toml = '[build]\noutput = "dist"\n[build.environment]\nNAME = "file"\n'
    held = await bench.held({"pushlane.toml": toml, "site/README.md": "x"})
    record = await ended(bench, held)
    assert record.status is Status.READY, await bench.log(held)
    manifest: Any = release.decode(await bench.bucket.get(record.release))
    found = manifest.contents[manifest.files["index.html"].sha256].identity
    page = await bench.bucket.get_range(
        manifest.packs[found.pack], offset=found.offset, length=found.length
    )
    assert page == b"hello file\n"


async def test_as_many_and_as_large_as_a_project_keeps_reach_a_build(bench: Bench) -> None:
    values = {f"LARGE_{number}": f"{number}" * LONGEST for number in range(2)}
    await given(bench, **values, **{f"KEY_{number}": SECRET for number in range(98)})
    script = f'test "${{#LARGE_1}}" = {LONGEST} -a -n "$KEY_97" || exit 9; {GOOD}'
    held = await bench.held(building(script))
    assert (await ended(bench, held)).status is Status.READY, await bench.log(held)
