"""`login`, `doctor`, `up` and what every call begins with: where the server is, and how fast."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bot.core.deployment import Status
from bot.core.ledger import open_ledger
from bot.embedded import start_valkey
from bot.embedded.ports import kept_ports
from tests.apistub import COMMAND, TOKEN, Pushlane, Stub, Told, serve, tell
from tests.conftest import S3

VERBS = (
    "up", "login", "doctor", "deploy", "list", "status", "logs", "redeploy", "cancel", "promote",
    "rollback", "unpin", "projects", "queue", "deliveries", "redeliver",
)  # fmt: skip


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names no server, and directories of this test's own."""
    for name in os.environ:
        if name.startswith(("PUSHLANE_", "AWS_")) or name in ("REDIS_URL", "PORT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PUSHLANE_DATA_DIR", str(tmp_path / "data"))
    port = kept_ports(tmp_path / "ports.json", ("bot",))["bot"]
    monkeypatch.setenv("PUSHLANE_PORT", str(port))


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serve() as made:
        made.on("GET", "/queue", {"verdict": "idle"})
        yield made


@pytest.fixture
def pushlane(capsys: pytest.CaptureFixture[str]) -> Pushlane:
    return lambda *words: tell(capsys, *words)


def stored(tmp_path: Path) -> Path:
    return tmp_path / "config" / "pushlane" / "credentials.json"


def given_token(token: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *words], input=token + "\n", capture_output=True, text=True, check=False
    )


def test_login_keeps_a_token_that_the_server_takes_and_every_command_finds_it(
    stub: Stub, pushlane: Pushlane, tmp_path: Path
) -> None:
    done = given_token(TOKEN, "login", f"{stub.url}/", "--token-stdin")
    assert (done.returncode, done.stdout) == (0, f"{stub.url}\n")
    assert json.loads(stored(tmp_path).read_text()) == {"url": stub.url, "token": TOKEN}
    assert stat.S_IMODE(stored(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(stored(tmp_path).parent.stat().st_mode) == 0o700
    assert TOKEN not in done.stdout + done.stderr
    assert pushlane("queue").code == 0


def test_login_keeps_nothing_that_does_not_work(stub: Stub, tmp_path: Path) -> None:
    done = given_token("wrong", "login", stub.url, "--token-stdin")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {stub.url} does not take this token; it takes its own PUSHLANE_API_TOKEN, which "
        "`pushlane up` prints when it starts (token_invalid)\n"
    )
    done = given_token("", "login", stub.url)
    assert done.returncode == 2
    assert "--token-stdin" in done.stderr
    assert not stored(tmp_path).exists()


def test_a_stored_token_is_sent_to_no_other_server(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_token(TOKEN, "login", stub.url, "--token-stdin")
    before = len(stub.seen)
    monkeypatch.setenv("PUSHLANE_URL", stub.url.replace("127.0.0.1", "localhost"))
    told = pushlane("queue")
    assert told.code == 2
    assert told.err.startswith("error: PUSHLANE_TOKEN: is not set, and no token is stored for")
    assert len(stub.seen) == before
    monkeypatch.setenv("PUSHLANE_URL", stub.url)
    assert pushlane("queue").code == 0


def test_a_token_may_come_as_a_file(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("PUSHLANE_URL", stub.url)
    monkeypatch.setenv("PUSHLANE_TOKEN_FILE", str(tmp_path / "token"))
    assert pushlane("queue").code == 0
    (tmp_path / "token").unlink()
    assert pushlane("queue").code == 2


def test_without_a_server_one_line_says_what_to_do(pushlane: Pushlane, tmp_path: Path) -> None:
    told = pushlane("list")
    assert (told.code, told.out) == (2, "")
    assert "`pushlane up`" in told.err
    assert "`pushlane login URL`" in told.err
    assert told.err.count("\n") == 1
    stored(tmp_path).parent.mkdir(parents=True)
    for broken in ("{", "[]", '{"url": "x", "token": "y"}', '{"url": 7}'):
        stored(tmp_path).write_text(broken)
        told = pushlane("list")
        assert told.code == 2
        assert "write it anew by: pushlane login URL" in told.err


def test_a_server_that_is_not_there_is_3(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHLANE_URL", f"http://127.0.0.1:{os.environ['PUSHLANE_PORT']}")
    monkeypatch.setenv("PUSHLANE_TOKEN", TOKEN)
    told = pushlane("queue", "--json")
    assert told.code == 3
    assert json.loads(told.out)["error"]["code"] == "server_unreachable"


def test_loopback_is_reached_past_a_proxy(
    stub: Stub, pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHLANE_URL", stub.url)
    monkeypatch.setenv("PUSHLANE_TOKEN", TOKEN)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert pushlane("queue").code == 0


def test_a_ca_bundle_that_is_none_is_one_line(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHLANE_URL", "https://127.0.0.1:9")
    monkeypatch.setenv("PUSHLANE_TOKEN", TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    told = pushlane("queue")
    assert told.code == 2
    assert told.err.startswith("error: SSL_CERT_FILE: is '/nowhere.pem'")


def test_help_and_version_load_no_client() -> None:
    slow = {"httpx2", "redis", "boto3", "botocore", "github", "starlette", "asyncio", "rich.live"}
    for words in ("--help", "--version"):
        code = (
            "import sys\nfrom bot.cli import main\n"
            f"try: main([{words!r}])\nexcept SystemExit as end: assert not end.code\n"
            f"found = {slow!r} & set(sys.modules)\nassert not found, found\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "words",
    [("nonsense",), ("deploy",), ("list", "--status", "odd"), ("list", "--limit", "0")],
)
def test_wrong_usage_is_2_and_one_line_as_any_other_error(
    pushlane: Pushlane, words: tuple[str, ...]
) -> None:
    told = pushlane(*words)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: ")
    assert told.err.endswith("--help (usage)\n")
    assert told.err.count("\n") == 1
    error = json.loads(pushlane(*words, "--json").out)["error"]
    assert error["code"] == "usage"
    assert f"error: {error['message']} (usage)\n" == told.err


def test_without_any_words_the_help_is_shown_and_that_is_2(pushlane: Pushlane) -> None:
    told = pushlane()
    assert (told.code, told.err) == (2, "")
    assert "Usage: pushlane" in told.out


def test_every_command_has_its_help_which_names_no_types_of_flags_and_breaks_no_word(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for verb in VERBS:
        told = pushlane(verb, "--help")
        assert told.code == 0
        assert "--json" in told.out
        assert "bool" not in told.out
    shown = pushlane("list", "--help").out
    for status in Status:
        assert re.search(rf"\b{status}\b", shown), status


def report(told: Told) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(told.out)
    answer["checks"] = {each["name"]: each for each in answer["checks"]}
    answer["settings"] = {each["name"]: each for each in answer["settings"]}
    return answer


def test_doctor_tries_everything_and_shows_no_secret(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch, valkey: str, seaweedfs: S3, tmp_path: Path
) -> None:
    hidden = secrets.token_hex(16)
    for name, text in {
        **seaweedfs.environ,
        "PUSHLANE_REDIS_URL": valkey,
        "PUSHLANE_WEBHOOK_SECRET": hidden,
        "PUSHLANE_API_TOKEN": hidden,
        "PUSHLANE_GITHUB_TOKEN": hidden,
        "PUSHLANE_GITHUB_URL": f"https://bot:{hidden}@github.test",
    }.items():
        monkeypatch.setenv(name, text)
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / ".env").write_text("PUSHLANE_REPOS=acme/*\n")
    told = pushlane("doctor", "--json")
    found = report(told)
    assert [each for each in found["checks"].values() if each["outcome"] == "failed"] == []
    assert (told.code, told.err) == (0, "")
    assert found["ok"]
    assert found["checks"]["Redis"]["detail"].endswith("durable")
    assert "put, get and delete" in found["checks"]["S3"]["detail"]
    for name in ("git", "bubblewrap", "data directory", "sandbox: loopback is out of reach"):
        assert found["checks"][name]["outcome"] == "ok", found["checks"][name]
    assert {each["detail"] for name, each in found["checks"].items() if "sandbox: " in name} == {""}
    assert found["checks"]["bot"]["outcome"] == "warning"
    assert found["settings"]["PUSHLANE_REPOS"]["value"] == "acme/*"
    assert found["settings"]["PUSHLANE_REPOS"]["source"] == ".env"
    assert found["settings"]["PUSHLANE_WEBHOOK_SECRET"]["value"] == "set"
    assert found["settings"]["PUSHLANE_GITHUB_URL"]["value"] == "https://github.test"
    assert found["settings"]["PUSHLANE_TOKEN"]["value"] == "not set"
    assert hidden not in told.out
    assert valkey.partition("@")[0] not in told.out


async def loosened(directory: Path) -> Any:
    """A Valkey that may lose the last second's writes."""
    server = await start_valkey(directory, password=secrets.token_hex(8), port=0)
    ledger = open_ledger(server.environ["PUSHLANE_REDIS_URL"])
    await ledger.connection.redis.config_set("appendfsync", "everysec")
    await ledger.aclose()
    return server


def test_doctor_names_what_is_wrong_and_what_to_do(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch, seaweedfs: S3, tmp_path: Path
) -> None:
    for name, text in seaweedfs.environ.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("PUSHLANE_S3_BUCKET", "not-there")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "data").mkdir(mode=0o755)
    server = asyncio.run(loosened(tmp_path / "loose"))
    try:
        monkeypatch.setenv("PUSHLANE_REDIS_URL", server.environ["PUSHLANE_REDIS_URL"])
        told, shown = pushlane("doctor", "--json"), pushlane("doctor")
    finally:
        asyncio.run(server.stop())
    assert shown.code == 1
    assert "\nwarning  Redis" in shown.out
    assert shown.out.endswith("5 failed, 4 warnings, 1 ok\n")
    found = report(told)["checks"]
    assert told.code == 1
    assert found["Redis"]["outcome"] == "warning"
    assert "appendfsync always" in found["Redis"]["cure"]
    assert "there is no bucket 'not-there'" in found["S3"]["detail"]
    assert found["data directory"]["cure"] == f"chmod 700 {tmp_path / 'data'}"
    for name in ("git", "bubblewrap", "tar, zstd", "sandbox", "S3"):
        assert found[name]["outcome"] == "failed"
        assert found[name]["cure"]
    assert "bubblewrap is not on the PATH" in found["sandbox"]["detail"]


def test_doctor_makes_nothing_and_warns_of_variables_that_mean_nothing(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PUSHLANE_REDSI_URL", "redis://x")
    monkeypatch.setenv("PUSHLANE_ODD", "1")
    found = report(pushlane("doctor", "--json"))["checks"]
    assert "made at the first start" in found["data directory"]["detail"]
    assert not (tmp_path / "data").exists()
    assert found["sandbox: builds are not root"]["outcome"] == "ok"
    for name, cure in (("REDSI_URL", "write PUSHLANE_REDIS_URL"), ("ODD", "take it away")):
        assert found[f"PUSHLANE_{name}"]["outcome"] == "warning"
        assert found[f"PUSHLANE_{name}"]["cure"].startswith(cure)


def test_doctor_says_in_one_line_that_a_setting_is_wrong(
    pushlane: Pushlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUSHLANE_EGRESS", "everything")
    told = pushlane("doctor")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("error: PUSHLANE_EGRESS: is 'everything'; it takes ")


def test_up_says_on_one_line_of_json_where_it_is_and_the_other_commands_find_it(
    pushlane: Pushlane, tmp_path: Path
) -> None:
    log = tmp_path / "up.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [COMMAND, "up", "--json"], stdout=subprocess.PIPE, stderr=file, text=True
        )
    try:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        assert told.get("credentials") == str(stored(tmp_path)), log.read_text()
        assert told["data_dir"] == str(tmp_path / "data")
        assert told["webhook_url"].endswith("/webhooks/github")
        assert json.loads(stored(tmp_path).read_text())["token"] not in json.dumps(told)
        assert httpx2.get(f"{told['url']}/healthz", trust_env=False).is_success
        assert json.loads(pushlane("queue", "--json").out)["verdict"] == "idle"
        found = report(pushlane("doctor", "--json"))
        assert found["checks"]["bot"]["outcome"] == "ok", found["checks"]["bot"]
        assert found["settings"]["PUSHLANE_API_TOKEN"]["source"] == "secrets.env"
        second = pushlane("up")
        assert second.code == 2
        assert f"process {process.pid}" in second.err
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=15)
    assert (process.returncode, out) == (0, "")
