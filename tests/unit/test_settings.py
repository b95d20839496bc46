"""Settings: what an environment says, and what is said of a value that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bot.core.errors import SettingInvalid
from bot.core.settings import (
    PASSED_THROUGH,
    Settings,
    default_data_dir,
    load,
    secrets_of,
    unknown,
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def loaded(home: Path, **environ: str) -> Settings:
    return load({"PUSHLANE_DATA_DIR": str(home), **environ})


def test_an_empty_environment_gives_the_defaults(home: Path) -> None:
    found = loaded(home)
    assert (found.host, found.port) == ("127.0.0.1", 8000)
    assert found.public_url == "http://localhost:8000"
    assert found.sites_domain == "localhost:8000"
    assert found.webhook_secrets == ()
    assert found.api_token == ""
    assert found.repos == ("*",)
    assert found.github_url == "https://github.com"
    assert found.github_api_url == "https://api.github.com"
    assert (found.redis_url, found.redis_prefix) == ("", "")
    assert (found.s3_bucket, found.s3_prefix, found.s3_endpoint_url) == ("pushlane", "", "")
    assert (found.sandbox, found.egress) == ("bubblewrap", "public")
    assert (found.build_timeout_seconds, found.build_memory_mb) == (900, 4096)
    assert (found.build_output_mb, found.build_output_files) == (1024, 50_000)
    assert (found.build_log_mb, found.build_concurrency) == (16, 1)
    assert (found.max_attempts, found.lease_seconds) == (5, 60)
    assert not found.require_durable
    assert set(found.sources.values()) == {"default", "environment"}


def test_the_data_directory_is_the_systems_for_root_and_else_the_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir({"HOME": "/h"}) == Path("/var/lib/pushlane")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"HOME": "/h"}) == Path("/h/.local/share/pushlane")
    assert default_data_dir({"HOME": "/h", "XDG_DATA_HOME": "/x"}) == Path("/x/pushlane")


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("one", (b"one",)),
        ("one,two", (b"one", b"two")),
        (" one , two ,", (b"one", b"two")),
        ("It's a Secret to Everybody", (b"It's a Secret to Everybody",)),
        ("pä55,wörd", ("pä55".encode(), "wörd".encode())),
        ("raw\udcff", (b"raw\xff",)),
        (",", ()),
    ],
)
def test_secrets_are_parted_by_commas_alone(
    home: Path, text: str, secrets: tuple[bytes, ...]
) -> None:
    assert loaded(home, PUSHLANE_WEBHOOK_SECRET=text).webhook_secrets == secrets


def test_the_environment_goes_before_the_file_and_the_source_of_each_is_noted(home: Path) -> None:
    (home / ".env").write_text(
        "# a comment\n"
        "PUSHLANE_PORT=8100\n"
        "export PUSHLANE_REPOS='acme/*, octo/*'\n"
        'PUSHLANE_WEBHOOK_SECRET="a = b"\n'
        "PUSHLANE_HOST = 127.0.0.2\n"
        "#PUSHLANE_S3_BUCKET=no\n"
        "nonsense\n"
    )
    found = loaded(home, PUSHLANE_PORT="8200", PUSHLANE_S3_PREFIX="/a/b/")
    assert found.port == 8200
    assert found.public_url == "http://localhost:8200"
    assert found.repos == ("acme/*", "octo/*")
    assert found.webhook_secrets == (b"a = b",)
    assert (found.host, found.s3_bucket, found.s3_prefix) == ("127.0.0.2", "pushlane", "a/b/")
    assert found.sources["PUSHLANE_PORT"] == "environment"
    assert found.sources["PUSHLANE_REPOS"] == ".env"
    assert found.sources["PUSHLANE_S3_BUCKET"] == "default"


def test_each_secret_may_come_from_a_file(home: Path) -> None:
    (home / "token").write_text("t0k3n\n")
    found = loaded(home, PUSHLANE_API_TOKEN_FILE=str(home / "token"))
    assert found.api_token == "t0k3n"
    assert found.sources["PUSHLANE_API_TOKEN"] == "file"
    assert loaded(home, PUSHLANE_HOST_FILE=str(home / "token")).host == "127.0.0.1"


def test_a_private_key_may_be_pem_with_escaped_line_ends_or_a_path(home: Path) -> None:
    pem = "-----BEGIN KEY-----\nabc\n-----END KEY-----"
    (home / "key.pem").write_text(pem)
    for text in (pem, pem.replace("\n", "\\n"), str(home / "key.pem")):
        found = loaded(home, PUSHLANE_GITHUB_APP_ID="5", PUSHLANE_GITHUB_APP_PRIVATE_KEY=text)
        assert found.github_app_private_key == pem


def test_other_names_are_understood_and_ours_goes_first(home: Path) -> None:
    found = loaded(home, PORT="9000", REDIS_URL="redis://h/0")
    assert (found.port, found.redis_url) == (9000, "redis://h/0")
    found = loaded(home, PORT="9000", PUSHLANE_PORT="9001")
    assert found.port == 9001


URL = "that is no URL; it takes"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PUSHLANE_PORT", "x", "is 'x'; it takes a number from 1 to 65535"),
        ("PORT", "0", "is '0'; it takes a number from 1 to 65535"),
        ("PUSHLANE_LEASE_SECONDS", "1.5", "is '1.5'; it takes a number from 2 to 3600"),
        ("PUSHLANE_MAX_ATTEMPTS", "٣", "is '٣'; it takes a number from 1 to 100"),
        ("PUSHLANE_SANDBOX", "docker", "is 'docker'; it takes bubblewrap or none"),
        ("PUSHLANE_EGRESS", "all", "is 'all'; it takes public, allowlist, none"),
        ("PUSHLANE_REQUIRE_DURABLE", "maybe", "is 'maybe'; it takes 1 or 0"),
        ("PUSHLANE_PUBLIC_URL", "ftp://x", f"is 'ftp://x' {URL} http or https://…"),
        ("PUSHLANE_GITHUB_URL", "https://[::1", f"is 'https://[::1' {URL} http or https://…"),
        ("PUSHLANE_GITHUB_API_URL", "https://:1", f"is 'https://:1' {URL} http or https://…"),
        ("PUSHLANE_S3_ENDPOINT_URL", "http://h:x", f"is 'http://h:x' {URL} http or https://…"),
        ("REDIS_URL", "http://u:p4ss@h", f"is a value {URL} redis, rediss, unix://…"),
        (
            "PUSHLANE_SITES_DOMAIN",
            "http://x",
            "is 'http://x'; it takes a host name, with :port if not 80/443",
        ),
        ("PUSHLANE_API_TOKEN_FILE", "/nowhere", "is '/nowhere', which cannot be read"),
        (
            "PUSHLANE_GITHUB_APP_ID",
            "5",
            "and PUSHLANE_GITHUB_APP_PRIVATE_KEY go together; set both, or neither",
        ),
        (
            "PUSHLANE_DATA_DIR",
            "~nobody-here/x",
            "is '~nobody-here/x', and nobody here has such a home; it takes a path",
        ),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it_and_what_it_takes(
    home: Path, name: str, value: str, words: str
) -> None:
    with pytest.raises(SettingInvalid) as caught:
        load({"PUSHLANE_DATA_DIR": str(home), name: value})
    assert caught.value.message == f"{name}: {words}"
    assert (caught.value.code, caught.value.retryable) == ("setting_invalid", False)


def test_a_dotenv_that_is_no_text_is_said_by_its_path(home: Path) -> None:
    (home / ".env").write_bytes(b"\xff")
    with pytest.raises(SettingInvalid, match=r"/\.env: cannot be read as UTF-8 text"):
        loaded(home)


@pytest.mark.parametrize(
    ("public", "sites", "refused"),
    [
        ("https://deploy.example.com", "example.com", True),
        ("https://example.com", "sites.example.com", True),
        ("https://example.com", "example.com", True),
        ("https://example.com", "example.com:8443", True),
        ("https://deploy.example.com", "example.net", False),
        ("https://deploy.example.com", "notexample.com", False),
        ("http://localhost:8000", "localhost:8000", False),
        ("http://127.0.0.1:8000", "sites.localhost", False),
    ],
)
def test_sites_share_no_domain_with_the_dashboard(
    home: Path, public: str, sites: str, refused: bool
) -> None:
    environ = {"PUSHLANE_PUBLIC_URL": public, "PUSHLANE_SITES_DOMAIN": sites}
    if refused:
        with pytest.raises(SettingInvalid, match="shares cookies"):
            loaded(home, **environ)
    else:
        assert loaded(home, **environ).sites_domain == sites


@pytest.mark.parametrize(
    ("repos", "repository", "allowed"),
    [
        ("*", "acme/site", True),
        ("acme/*", "acme/site", True),
        ("acme/*", "ACME/Site", True),
        ("Acme/S*", "acme/site", True),
        ("acme/*", "acmeco/site", False),
        ("acme/*", "other/acme", False),
        ("acme/site other/site", "other/site", True),
        ("acme/site,other/site", "acme/site2", False),
        ("acme/[ab]*", "acme/blog", True),
        ("acme/[ab]*", "acme/site", False),
        ("acme/????", "acme/site", True),
    ],
)
def test_globs_say_which_repositories_may_deploy(
    home: Path, repos: str, repository: str, allowed: bool
) -> None:
    assert loaded(home, PUSHLANE_REPOS=repos).allows(repository) is allowed


def test_urls_have_the_scheme_of_the_public_one(home: Path) -> None:
    found = loaded(
        home,
        PUSHLANE_PUBLIC_URL="https://deploy.example.com/",
        PUSHLANE_SITES_DOMAIN="Sites.Example.net",
    )
    assert found.site_url("a--b") == "https://a--b.sites.example.net"
    assert found.page_url("d1") == "https://deploy.example.com/deployments/d1"


def test_what_is_secret_is_known_for_masking(home: Path) -> None:
    found = loaded(
        home,
        PUSHLANE_WEBHOOK_SECRET="one,two",
        PUSHLANE_API_TOKEN="three",
        PUSHLANE_REDIS_URL="redis://u:four@h/0",
        PUSHLANE_SECRET_KEY="five",
        PUSHLANE_GITHUB_TOKEN="six",
    )
    known = secrets_of(found, {"AWS_SECRET_ACCESS_KEY": "seven", "AWS_ACCESS_KEY_ID": "plain"})
    wanted = {"one", "two", "three", "four", "five", "six", "seven", "redis://u:four@h/0"}
    assert set(known) == wanted


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        ("SSL_CERT_FILE", True),
        ("GIT_SSL_CAINFO", True),
        ("https_proxy", True),
        ("PIP_INDEX_URL", True),
        ("npm_config_registry", True),
        ("NODE_EXTRA_CA_CERTS", True),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("PUSHLANE_SECRET_KEY", False),
        ("SSL_CERT_FILE2", False),
        ("PATH", False),
    ],
)
def test_certificates_proxies_and_indexes_are_passed_on_and_nothing_else(
    name: str, passed: bool
) -> None:
    found: Any = PASSED_THROUGH.match(name)
    assert bool(found) is passed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUSHLANE_REPOS", "acme"),
        ("PUSHLANE_REPOS", "acme/* b/c/d"),
        ("PUSHLANE_REDIS_PREFIX", "a b"),
        ("PUSHLANE_REDIS_PREFIX", "{x}"),
    ],
)
def test_what_can_never_match_or_work_is_refused(home: Path, name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{name}: "):
        loaded(home, **{name: value})


def test_a_misspelt_name_is_known_as_such(home: Path) -> None:
    environ = {
        "PUSHLANE_DATA_DIR": str(home),
        "PUSHLANE_TYPO": "1",
        "PUSHLANE_PORT": "8001",
        "PUSHLANE_API_TOKEN_FILE": "/dev/null",
        "PUSHLANE_PORT_FILE": "x",
        "PUSHLANE_URL": "http://x",
    }
    (home / ".env").write_text("PUSHLANE_REPO=acme/*\nOTHER=1\n")
    assert unknown(environ) == ("PUSHLANE_PORT_FILE", "PUSHLANE_REPO", "PUSHLANE_TYPO")
