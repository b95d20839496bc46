"""The settings as they may be shown: secrets only as `set`, each with where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from bot.cli.credentials import find
from bot.core.errors import SettingInvalid
from bot.core.settings import SECRETS, Settings, read_dotenv
from bot.embedded.up import SECRETS_FILE

_FIELDS: Final = {"PUSHLANE_WEBHOOK_SECRET": "webhook_secrets"}
"""Variables whose field is called otherwise."""
_USER: Final = re.compile(r"(?<=//)[^/@\s]*@")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One variable, its value in words, and where that came from."""

    name: str
    value: str
    source: str


def shown_settings(settings: Settings, environ: Mapping[str, str]) -> list[Setting]:
    """All settings, in the order in which they are read; then those of the command itself."""
    made = read_dotenv(settings.data_dir / SECRETS_FILE)
    shown = []
    for name, source in settings.sources.items():
        value = getattr(settings, _FIELDS.get(name, name.removeprefix("PUSHLANE_").lower()))
        if name in SECRETS and not value and made.get(name):
            value, source = made[name], SECRETS_FILE  # noqa: PLW2901 (the nearer truth)
        shown.append(Setting(name=name, value=_in_words(name, value), source=source))
    return [*shown, *_of_the_command(environ)]


def _in_words(name: str, value: object) -> str:
    match value:
        case "" | () | None:
            return "not set"
        case _ if name in SECRETS:
            return "set"
        case bool():
            return "on" if value else "off"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return _USER.sub("", str(value))


def _of_the_command(environ: Mapping[str, str]) -> list[Setting]:
    try:
        found = find(environ)
    except SettingInvalid:
        url, token, source = "not set", "not set", "default"
    else:
        url, token, source = found.url, "set", found.source
    return [
        Setting(name="PUSHLANE_URL", value=url, source=source),
        Setting(name="PUSHLANE_TOKEN", value=token, source=source),
    ]
