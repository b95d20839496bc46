"""Where the command finds the server, and as whom it speaks to it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bot.core.errors import SettingInvalid
from bot.embedded.process import write_private
from bot.embedded.up import credentials_file

_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A server's URL, without a slash at its end, and a token that it takes.

    `source` says where they came from: `environment`, or the path of the file.
    """

    url: str
    token: str = field(repr=False)
    source: str = "environment"


def find(environ: Mapping[str, str]) -> Credentials:
    """What the environment says, else what `pushlane login` or `pushlane up` has stored.

    A stored token is given only to the server that it was stored for.

    Raises:
        SettingInvalid: There are none, or they cannot be used.
    """
    given = environ.get("PUSHLANE_URL", "").strip()
    url = checked_url(given, name="PUSHLANE_URL") if given else ""
    token = _given_token(environ)
    if url and token:
        return Credentials(url=url, token=token)
    file = credentials_file(environ)
    stored = _stored(file)
    if token and stored:
        return Credentials(url=stored.url, token=token)
    if stored and url in ("", stored.url):
        return stored
    if url:
        raise SettingInvalid(
            "PUSHLANE_TOKEN",
            f"is not set, and no token is stored for {url}; set it, or: pushlane login {url}",
        )
    raise SettingInvalid(
        "PUSHLANE_URL",
        "is not set, and no server is stored; start one here by `pushlane up`, "
        "or name one by `pushlane login URL`",
    )


def store(credentials: Credentials, environ: Mapping[str, str]) -> Path:
    """Keeps them for later, mode 0600; answers where. Raises `SettingInvalid` when it cannot."""
    file = credentials_file(environ)
    kept = {"url": credentials.url, "token": credentials.token}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, json.dumps(kept, indent=2) + "\n")
    except OSError as error:
        raise SettingInvalid(
            str(file), f"cannot be written ({error.strerror}); XDG_CONFIG_HOME names another place"
        ) from error
    return file


def checked_url(text: str, *, name: str = "URL") -> str:
    """A server's URL in the form that is kept. Raises `SettingInvalid`, which says `name`."""
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        right = right and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        right = False
    if not right:
        raise SettingInvalid(name, f"is {text!r}; it takes https://HOST[:PORT], or http://…")
    return text.rstrip("/")


def checked_token(text: str, *, name: str = "the token") -> str:
    """A token that fits into a header. Raises `SettingInvalid`, which never shows it."""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise SettingInvalid(name, "is empty or holds a character that no token has")
    return token


def _given_token(environ: Mapping[str, str]) -> str:
    if token := environ.get("PUSHLANE_TOKEN", "").strip():
        return checked_token(token, name="PUSHLANE_TOKEN")
    if place := environ.get("PUSHLANE_TOKEN_FILE", ""):
        try:
            return checked_token(Path(place).read_text("utf-8"), name="PUSHLANE_TOKEN_FILE")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingInvalid(
                "PUSHLANE_TOKEN_FILE", f"is {place!r}, which cannot be read"
            ) from error
    return ""


def _stored(file: Path) -> Credentials | None:
    try:
        kept = json.loads(file.read_text("utf-8"))
        return Credentials(
            url=checked_url(kept["url"]), token=checked_token(kept["token"]), source=str(file)
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SettingInvalid) as error:
        raise SettingInvalid(
            str(file), "cannot be read; write it anew by: pushlane login URL"
        ) from error


def is_loopback(url: str) -> bool:
    """Whether the URL names this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
