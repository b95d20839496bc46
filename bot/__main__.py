"""`python -m bot`: reads the settings and serves until it is told to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

import uvicorn

from bot import connections
from bot.app import Bot
from bot.core import log as logs
from bot.core import settings as all_settings
from bot.core.errors import SettingInvalid
from bot.core.settings import Settings

_GRACE_SECONDS = 2
"""How long an answer that is under way may take once the process is to end."""


class _Server(uvicorn.Server):
    """Tells the bot at once that it is to end, before the connections are closed."""

    def __init__(self, config: uvicorn.Config, bot: Bot) -> None:
        super().__init__(config)
        self._bot = bot

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn names it
        """A signal came.

        Uvicorn's own way would raise it again at the end, and so not end with exit code 0.
        """
        self._bot.end()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def main() -> None:
    """The process. Exit code 0 after a signal, 2 for a setting that cannot be used."""
    try:
        settings = _settings()
        logs.set_up(settings.log_format, secrets=all_settings.secrets_of(settings, os.environ))
        all_settings.tell_unknown(os.environ)
        bot = Bot(settings, dict(os.environ))
    except SettingInvalid as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the one line that a person reads
        sys.exit(2)
    server = _Server(
        uvicorn.Config(
            bot,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws="none",
            http=connections.within(connections.limits()),
        ),
        bot,
    )
    server.run()
    logging.shutdown()
    if not server.started:
        sys.exit(1)


def _settings() -> Settings:
    settings = all_settings.load(os.environ)
    if not settings.redis_url:
        raise SettingInvalid(
            "PUSHLANE_REDIS_URL",
            "is not set; it takes redis://…, rediss://… or unix://… (`pushlane up` brings a Redis "
            "of its own)",
        )
    if not settings.webhook_secrets:
        raise SettingInvalid(
            "PUSHLANE_WEBHOOK_SECRET",
            "is not set; it takes the secret of the webhook on GitHub, or several separated by "
            "commas (`pushlane up` makes one)",
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return settings


if __name__ == "__main__":
    main()
