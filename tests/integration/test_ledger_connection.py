"""What of Redis's connections becomes an error that everyone knows how to meet."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
import uvloop
from redis.asyncio.connection import AbstractConnection

from bot.core.errors import Errored
from bot.core.ledger import Refusal, open_ledger
from tests.builders import a_push


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


async def test_a_delivery_is_recorded_while_readers_hold_every_connection(valkey: str) -> None:
    ledger = open_ledger(valkey, prefix=f"{secrets.token_hex(6)}:")
    pool: Any = ledger.connection.redis.connection_pool
    held = [await pool.get_connection() for _ in range(pool.max_connections)]
    try:
        with pytest.raises(Errored):
            await ledger.view.deployments()
        recorded = await ledger.records.record(a_push("A"))
        assert recorded.outcome == "recorded"
        ledger.refusals.note(Refusal(code="signature_invalid", peer="192.0.2.1"))
        await ledger.refusals.aclose()
        for connection in held:
            await pool.release(connection)
        assert await ledger.view.deployment(recorded.deployment)
        assert (await ledger.refusals.read())[0] == {"signature_invalid": 1}
    finally:
        await ledger.aclose()
