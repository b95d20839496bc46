"""What a build is told of the worker's own environment: certificates, package indexes, no secret.

npm and pip are asked what they are configured to, so that no registry's host is written here.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bot.core.settings import PASSED_THROUGH

_CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PIP_CERT",
    "npm_config_cafile",
)
_INDEXES = re.compile(
    r"(?i)^(pip_(index_url|extra_index_url|find_links|no_index|trusted_host|cert|retries"
    r"|(default_)?timeout|disable_pip_version_check|prefer_binary)"
    r"|npm_config_(registry|cafile|strict_ssl|fetch_\w+|.+:registry|audit|fund|update_notifier)"
    r"|uv_(index|index_url|default_index|extra_index_url|find_links|native_tls|system_certs)"
    r"|yarn_(registry|npm_registry_server)|corepack_npm_registry|hugo_module_proxy|goproxy)$"
)
_PLACES = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_ASK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Passing:
    """What the worker's surroundings mean for each build."""

    variables: dict[str, str]
    """Set in each build. No proxy, no path of the worker's own, nothing that is called a secret."""
    paths: tuple[Path, ...]
    """Files and directories that the variables name, and that a build must see."""
    urls: tuple[str, ...]
    """All URLs of indexes and proxies that the operator's configuration names."""
    proxies: dict[str, str]
    """The worker's own proxy variables, for where a build has no egress proxy."""


def told(environment: Mapping[str, str]) -> dict[str, str]:
    """What npm and pip are told of the worker's environment when they are asked.

    Where things are, certificates, proxies, and their own settings, in which the operator may have
    put a password for the registry: for these children, never for a build.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _PLACES
        or PASSED_THROUGH.match(name)
        or name.lower().startswith("npm_config_")
        or name in _CERTIFICATES
    }


async def survey(environment: Mapping[str, str]) -> Passing:
    """Reads the worker's environment, and asks npm and pip.

    Never fails: what does not answer within 20 s is left out.
    """
    variables = {
        name: value
        for name, value in environment.items()
        if value and (name in _CERTIFICATES or _INDEXES.match(name))
    }
    npm, (pip, extra) = await asyncio.gather(_ask_npm(environment), _ask_pip(environment))
    for name, value in (npm | pip).items():
        if value and name.lower() not in {each.lower() for each in variables}:
            variables[name] = value
    registry = variables.get("npm_config_registry")
    if registry:
        variables.setdefault("YARN_NPM_REGISTRY_SERVER", registry.rstrip("/"))
    for name, value in _for_uv(variables).items():
        variables.setdefault(name, value)
    names = (*_PROXIES, "no_proxy")
    proxies = {name: value for name, value in environment.items() if name.lower() in names}
    proxy_urls = [
        value if "://" in value else f"http://{value}"
        for name, value in proxies.items()
        if value and name.lower() in _PROXIES
    ]
    urls = [word for value in variables.values() for word in value.split() if "://" in word]
    paths = dict.fromkeys(
        path for name, value in variables.items() for path in _local_paths(name, value)
    )
    return Passing(variables, tuple(paths), (*urls, *extra, *proxy_urls), proxies)


def _for_uv(variables: Mapping[str, str]) -> dict[str, str]:
    """What pip is configured to, for uv, which does not read it."""
    if any(name.upper() in ("UV_DEFAULT_INDEX", "UV_INDEX_URL") for name in variables):
        return {}
    found = {}
    by_name = {name.upper(): value for name, value in variables.items()}
    if index := by_name.get("PIP_INDEX_URL"):
        found["UV_DEFAULT_INDEX"] = index
    if extra := by_name.get("PIP_EXTRA_INDEX_URL"):
        found["UV_INDEX"] = extra
        # As pip has it: no index goes before another.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if links := by_name.get("PIP_FIND_LINKS"):
        found["UV_FIND_LINKS"] = ",".join(links.split())
    if hosts := by_name.get("PIP_TRUSTED_HOST"):
        found["UV_INSECURE_HOST"] = hosts
    if "SSL_CERT_FILE" not in variables and (bundle := by_name.get("PIP_CERT")):
        found["SSL_CERT_FILE"] = bundle
    return found


def _local_paths(name: str, value: str) -> list[Path]:
    words = [value] if name in _CERTIFICATES else value.split()
    found = []
    for word in words:
        text = unquote(urlsplit(word).path) if word.startswith("file://") else word
        path = Path(text)
        if not path.is_absolute() or not path.exists():
            continue
        # The simple index of a local directory links to files beside it.
        found.append(path.parent if word.startswith("file://") and path.is_dir() else path)
    return [path for path in found if len(path.parts) > 2]


async def _ask(argv: list[str], environment: Mapping[str, str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env={**told(environment), "NO_COLOR": "1", "COLUMNS": "1000"},
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            out, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode(errors="replace") if process.returncode == 0 else ""


async def _ask_npm(environment: Mapping[str, str]) -> dict[str, str]:
    npm = shutil.which("npm", path=environment.get("PATH", os.defpath))
    if npm is None:
        return {}
    found = {}
    text = await _ask([npm, "config", "get", "registry", "cafile"], environment)
    for line in text.splitlines():
        name, _, value = line.partition("=")
        value = value.strip()
        if name in ("registry", "cafile") and value not in ("", "null", "undefined"):
            found[f"npm_config_{name}"] = value
    return found


async def _ask_pip(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    pip = [sys.executable, "-m", "pip"]
    settings, text = await asyncio.gather(
        _ask([*pip, "config", "list"], environment), _ask([*pip, "download", "--help"], environment)
    )
    found = {}
    for line in settings.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section not in ("global", "install"):
            continue
        if key in ("index-url", "extra-index-url", "find-links", "cert", "trusted-host"):
            with contextlib.suppress(ValueError, SyntaxError):
                words = str(ast.literal_eval(value)).split()
                found["PIP_" + key.upper().replace("-", "_")] = " ".join(words)
    default = re.search(r"--index-url\b.*?\(default\s+(\S+?)\)", text, re.DOTALL)
    return found, [default.group(1)] if default else []
