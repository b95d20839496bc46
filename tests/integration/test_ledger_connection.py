"""What of Redis's connections becomes an error that everyone knows how to meet."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection

from bot.core.errors import Errored
from bot.core.ledger import open_ledger


def test_a_connection_that_is_reset_while_a_command_is_being_sent_is_a_redis_out_of_reach(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On uvloop, as in the bot: it raises a RuntimeError for what asyncio passes over."""
    sent = AbstractConnection._send_packed_command

    async def reset(self: AbstractConnection, command: list[bytes]) -> None:
        self._writer.transport.abort()  # type: ignore[union-attr]
        await asyncio.sleep(0.01)
        await sent(self, command)

    async def called() -> str:
        ledger = open_ledger(valkey, prefix="reset:")
        try:
            await ledger.records.cancel("d0")
            monkeypatch.setattr(AbstractConnection, "_send_packed_command", reset)
            with pytest.raises(Errored) as raised:
                await ledger.records.cancel("d0")
            monkeypatch.undo()
            assert await ledger.records.cancel("d0") == "unknown"
        finally:
            await ledger.aclose()
        return raised.value.code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(called()) == "redis_unreachable"
