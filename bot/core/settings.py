"""Every setting, read once from an environment into one frozen record.

Only the composition roots (`bot.app`, `worker.__main__`, `bot.cli`) call `load`. A value that
cannot be used raises `SettingInvalid`, whose one line names the variable, what it holds and what
it takes. Each secret may come as `<NAME>_FILE` too.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from bot.core.errors import SettingInvalid

log = logging.getLogger(__name__)

SECRETS = frozenset(
    {
        "PUSHLANE_WEBHOOK_SECRET",
        "PUSHLANE_API_TOKEN",
        "PUSHLANE_SECRET_KEY",
        "PUSHLANE_GITHUB_TOKEN",
        "PUSHLANE_GITHUB_APP_PRIVATE_KEY",
        "PUSHLANE_TOKEN",
        "PUSHLANE_REDIS_URL",
    }
)
"""Settings whose values are never printed."""

PASSED_THROUGH = re.compile(
    r"^(SSL_CERT_(FILE|DIR)|GIT_SSL_CA(INFO|PATH)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|NODE_EXTRA_CA_CERTS|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|PIP_[A-Z_]+"
    r"|UV_(INDEX|DEFAULT_INDEX|INDEX_URL|EXTRA_INDEX_URL)|(npm_config|NPM_CONFIG)_[A-Za-z0-9_]+)$"
)
"""Variables that name a CA bundle, a proxy or a package index: they reach git, the API client and
builds, since companies have their own CA and mirrors."""

Sandbox = Literal["bubblewrap", "none"]
Egress = Literal["public", "allowlist", "none"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says. Sizes in MB are 10^6 bytes, times are seconds."""

    data_dir: Path
    host: str
    port: int
    public_url: str
    sites_domain: str
    webhook_secrets: tuple[bytes, ...]
    api_token: str
    secret_key: str
    repos: tuple[str, ...]
    github_url: str
    github_api_url: str
    github_token: str
    github_app_id: str
    github_app_private_key: str
    trusted_proxies: tuple[str, ...]
    redis_url: str
    redis_prefix: str
    s3_bucket: str
    s3_prefix: str
    s3_endpoint_url: str
    sandbox: Sandbox
    egress: Egress
    egress_hosts: tuple[str, ...]
    build_timeout_seconds: int
    build_memory_mb: int
    build_output_mb: int
    build_output_files: int
    toolchains_mb: int
    build_log_mb: int
    build_concurrency: int
    cache_mb: int
    """What is kept of builds on the worker's disk; 0: nothing."""
    max_attempts: int
    lease_seconds: int
    catch_up_seconds: int
    """How often GitHub's branches are compared with the ledger; 0: never."""
    stop_grace_seconds: int
    """How long a worker that is asked to end may go on with the builds that it holds."""
    ready_file: Path | None
    """Made by the worker once it takes builds; `pushlane up` waits for it."""
    require_durable: bool
    log_format: Literal["text", "json"]
    sources: Mapping[str, str] = field(repr=False)
    """Variable name -> where its value came from: `environment`, `.env`, `file` or `default`."""

    @property
    def fetch_limits(self) -> tuple[int, int]:
        """Seconds and bytes that one fetch of a source may take."""
        return 300, 2_000_000_000

    def allows(self, repository: str) -> bool:
        """Whether `owner/name` may deploy; GitHub's names know no case."""
        name = repository.lower()
        return any(fnmatchcase(name, glob.lower()) for glob in self.repos)

    def site_url(self, label: str) -> str:
        """The URL of the site under `label`, without a trailing slash."""
        return f"{urlsplit(self.public_url).scheme}://{label}.{self.sites_domain}"

    def page_url(self, deployment_id: str) -> str:
        """The URL of a deployment's page."""
        return f"{self.public_url}/deployments/{deployment_id}"


class _Reader:
    """Looks variables up in the environment, then in `.env`, and notes where each was found."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.sources: dict[str, str] = {}
        self.dotenv: Mapping[str, str] = {}
        self.found_as: dict[str, str] = {}
        """Setting -> the variable that gave it: `PORT` stands for `PUSHLANE_PORT` too."""

    def text(self, name: str, default: str = "", *aliases: str) -> str:
        for candidate in (name, *aliases):
            for origin, values in (("environment", self.environ), (".env", self.dotenv)):
                if values.get(candidate):
                    self.sources[name], self.found_as[name] = origin, candidate
                    return values[candidate].strip()
                path = values.get(f"{candidate}_FILE")
                if path and candidate in SECRETS:
                    self.sources[name] = "file"
                    return _read_secret(candidate, Path(path))
        self.sources[name] = "default"
        return default

    def number(self, name: str, default: int, *, low: int = 1, high: int, alias: str = "") -> int:
        text = self.text(name, str(default), *([alias] if alias else []))
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise self.invalid(name, f"is {text!r}; it takes a number from {low} to {high}")
        return int(text)

    def choice(self, name: str, default: str, *allowed: str) -> str:
        text = self.text(name, default)
        if text not in allowed:
            raise SettingInvalid(name, f"is {text!r}; it takes {_one_of(allowed)}")
        return text

    def url(self, name: str, default: str, *schemes: str, aliases: tuple[str, ...] = ()) -> str:
        text = self.text(name, default, *aliases).rstrip("/")
        if not text:
            return ""
        try:
            parts = urlsplit(text)
            _ = parts.port
            right = parts.scheme in schemes and bool(parts.hostname or parts.scheme == "unix")
        except ValueError:
            right = False
        if not right:
            shown = "a value" if name in SECRETS else repr(text)
            raise self.invalid(name, f"is {shown} that is no URL; it takes {_one_of(schemes)}://…")
        return text

    def flag(self, name: str) -> bool:
        on, off = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
        text = self.text(name).lower()
        if text not in on + off:
            raise SettingInvalid(name, f"is {text!r}; it takes {_one_of(('1', '0'))}")
        return text in on

    def invalid(self, name: str, words: str) -> SettingInvalid:
        """The error, by the name of the variable that a person has set."""
        return SettingInvalid(self.found_as.get(name, name), words)


def _one_of(allowed: tuple[str, ...]) -> str:
    return " or ".join(allowed) if len(allowed) < 3 else ", ".join(allowed)


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{name}_FILE", f"is {str(path)!r}, which cannot be read") from error


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text) if part)


def _secrets(text: str) -> tuple[bytes, ...]:
    """Several at once for rotation. A secret may hold spaces, as GitHub's own example does."""
    found = (secret.strip() for secret in text.split(","))
    return tuple(secret.encode("utf-8", "surrogateescape") for secret in found if secret)


def tell_unknown(environ: Mapping[str, str]) -> None:
    """Warns of names of ours that mean nothing."""
    for name in unknown(environ):
        log.warning("%s is no setting of Pushlane's: see README.md for the names", name)


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Values that no log, record or page may show: the settings' own, and those of AWS's chain."""
    found = (
        settings.api_token,
        settings.secret_key,
        *(key.strip() for key in settings.secret_key.split(",")),
        settings.github_token,
        settings.github_app_private_key,
        settings.redis_url,
        urlsplit(settings.redis_url).password or "",
        *(secret.decode("utf-8", "replace") for secret in settings.webhook_secrets),
        environ.get("AWS_SECRET_ACCESS_KEY", ""),
        environ.get("AWS_SESSION_TOKEN", ""),
    )
    return tuple(secret for secret in found if secret)


def unknown(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names of ours, in the environment or in `.env`, that mean nothing: misspelt, most likely."""
    settings = load(environ)
    known = {*settings.sources, "PUSHLANE_URL", "PUSHLANE_TOKEN"}
    given = {*environ, *read_dotenv(settings.data_dir / ".env")}
    return tuple(
        sorted(
            name
            for name in given
            if name.startswith("PUSHLANE_")
            and name not in known
            and not (name.endswith("_FILE") and name.removesuffix("_FILE") in SECRETS)
        )
    )


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where mirrors, caches and the embedded servers' files live when nothing else is said."""
    if os.geteuid() == 0:
        return Path("/var/lib/pushlane")
    home = Path(environ.get("HOME") or "~").expanduser()
    return Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "pushlane"


def read_dotenv(path: Path) -> dict[str, str]:
    """The `NAME=value` lines of a file; empty when there is none. Quotes around a value go."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(str(path), "cannot be read as UTF-8 text") from error
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[name.strip()] = value
    return found


def load(environ: Mapping[str, str]) -> Settings:
    """Reads all settings. Raises `SettingInvalid` at the first value that cannot be used."""
    read = _Reader(environ)
    data_dir = _directory(read.text("PUSHLANE_DATA_DIR", str(default_data_dir(environ))))
    read.dotenv = read_dotenv(data_dir / ".env")
    port = read.number("PUSHLANE_PORT", 8000, low=1, high=65535, alias="PORT")
    app_id = read.text("PUSHLANE_GITHUB_APP_ID")
    app_key = _pem(read.text("PUSHLANE_GITHUB_APP_PRIVATE_KEY"))
    if bool(app_id) != bool(app_key):
        raise SettingInvalid(
            "PUSHLANE_GITHUB_APP_ID",
            "and PUSHLANE_GITHUB_APP_PRIVATE_KEY go together; set both, or neither",
        )
    public_url = read.url("PUSHLANE_PUBLIC_URL", f"http://localhost:{port}", "http", "https")
    sites_domain = _domain(read.text("PUSHLANE_SITES_DOMAIN", f"localhost:{port}"))
    _refuse_shared_domain(public_url, sites_domain)
    return Settings(
        data_dir=data_dir,
        host=read.text("PUSHLANE_HOST", "127.0.0.1"),
        port=port,
        public_url=public_url,
        sites_domain=sites_domain,
        webhook_secrets=_secrets(read.text("PUSHLANE_WEBHOOK_SECRET")),
        api_token=read.text("PUSHLANE_API_TOKEN"),
        secret_key=read.text("PUSHLANE_SECRET_KEY"),
        repos=_globs(_split(read.text("PUSHLANE_REPOS", "*"))),
        github_url=read.url("PUSHLANE_GITHUB_URL", "https://github.com", "http", "https"),
        github_api_url=read.url(
            "PUSHLANE_GITHUB_API_URL", "https://api.github.com", "http", "https"
        ),
        github_token=read.text("PUSHLANE_GITHUB_TOKEN"),
        github_app_id=app_id,
        github_app_private_key=app_key,
        trusted_proxies=_split(read.text("PUSHLANE_TRUSTED_PROXIES", "127.0.0.1")),
        redis_url=read.url(
            "PUSHLANE_REDIS_URL", "", "redis", "rediss", "unix", aliases=("REDIS_URL",)
        ),
        redis_prefix=_redis_prefix(read.text("PUSHLANE_REDIS_PREFIX")),
        s3_bucket=read.text("PUSHLANE_S3_BUCKET", "pushlane"),
        s3_prefix=_prefix(read.text("PUSHLANE_S3_PREFIX")),
        s3_endpoint_url=read.url("PUSHLANE_S3_ENDPOINT_URL", "", "http", "https"),
        sandbox=_typed(read.choice, "PUSHLANE_SANDBOX", "bubblewrap", "none"),
        egress=_typed(read.choice, "PUSHLANE_EGRESS", "public", "allowlist", "none"),
        egress_hosts=_split(read.text("PUSHLANE_EGRESS_HOSTS")),
        build_timeout_seconds=read.number("PUSHLANE_BUILD_TIMEOUT_SECONDS", 900, high=86_400),
        build_memory_mb=read.number("PUSHLANE_BUILD_MEMORY_MB", 4096, low=64, high=1_000_000),
        build_output_mb=read.number("PUSHLANE_BUILD_OUTPUT_MB", 1024, high=1_000_000),
        build_output_files=read.number("PUSHLANE_BUILD_OUTPUT_FILES", 50_000, high=10_000_000),
        toolchains_mb=read.number("PUSHLANE_TOOLCHAINS_MB", 8192, high=10_000_000),
        build_log_mb=read.number("PUSHLANE_BUILD_LOG_MB", 16, high=1_000),
        build_concurrency=read.number("PUSHLANE_BUILD_CONCURRENCY", 1, high=64),
        cache_mb=read.number("PUSHLANE_CACHE_MB", 10_240, low=0, high=10_000_000),
        max_attempts=read.number("PUSHLANE_MAX_ATTEMPTS", 5, high=100),
        stop_grace_seconds=read.number("PUSHLANE_STOP_GRACE_SECONDS", 25, low=0, high=3_600),
        catch_up_seconds=read.number("PUSHLANE_CATCH_UP_SECONDS", 600, low=0, high=86_400),
        lease_seconds=read.number("PUSHLANE_LEASE_SECONDS", 60, low=2, high=3_600),
        ready_file=Path(ready) if (ready := read.text("PUSHLANE_READY_FILE")) else None,
        require_durable=read.flag("PUSHLANE_REQUIRE_DURABLE"),
        log_format=_typed(read.choice, "PUSHLANE_LOG_FORMAT", "text", "json"),
        sources=read.sources,
    )


def _typed(choose: Callable[..., str], name: str, *allowed: T) -> T:
    """The first of `allowed` is the default; mypy keeps the literal type."""
    chosen = choose(name, allowed[0], *allowed)
    return next(value for value in allowed if value == chosen)


def _directory(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise SettingInvalid(
            "PUSHLANE_DATA_DIR", f"is {text!r}, and nobody here has such a home; it takes a path"
        ) from None


def _pem(text: str) -> str:
    """A private key as PEM, given as PEM (real or escaped line ends) or as a path to one."""
    if not text or text.startswith("-----BEGIN"):
        return text.replace("\\n", "\n")
    return _read_secret("PUSHLANE_GITHUB_APP_PRIVATE_KEY", Path(text))


def _domain(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?", text.lower()):
        raise SettingInvalid(
            "PUSHLANE_SITES_DOMAIN", f"is {text!r}; it takes a host name, with :port if not 80/443"
        )
    return text.lower()


def _prefix(text: str) -> str:
    return text.strip("/") + "/" if text.strip("/") else ""


def _redis_prefix(text: str) -> str:
    """Braces would change the one hash slot in which a cluster wants all keys."""
    if not re.fullmatch(r"[A-Za-z0-9:._-]{0,100}", text):
        raise SettingInvalid(
            "PUSHLANE_REDIS_PREFIX", f"is {text!r}; it takes letters, digits and : . _ -"
        )
    return text


def _globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        if glob != "*" and glob.count("/") != 1:
            raise SettingInvalid(
                "PUSHLANE_REPOS", f"names {glob!r}; it takes globs on owner/name, such as acme/*"
            )
    return globs


def _refuse_shared_domain(public_url: str, sites_domain: str) -> None:
    """A site under the dashboard's own domain could set its cookies (RTD GHSA-98pf-gfh3-x3mp)."""
    dashboard = urlsplit(public_url).hostname or ""
    sites = sites_domain.partition(":")[0]
    local = dashboard in ("localhost", "127.0.0.1", "::1") and sites.endswith("localhost")
    shared = (
        dashboard == sites or dashboard.endswith(f".{sites}") or sites.endswith(f".{dashboard}")
    )
    if shared and not local:
        raise SettingInvalid(
            "PUSHLANE_SITES_DOMAIN",
            f"is {sites_domain!r}, which shares cookies with PUSHLANE_PUBLIC_URL {public_url!r}; "
            "it takes a domain of its own",
        )
