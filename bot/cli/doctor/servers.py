"""What Pushlane must reach: Redis, S3, GitHub, and the bot itself."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from bot.cli.doctor.check import Check, failed, ok, warning
from bot.core.bucket import Bucket
from bot.core.errors import Errored, SettingInvalid
from bot.core.github import GitHub
from bot.core.ledger import DURABLE_SETTINGS, open_ledger
from bot.core.settings import Settings
from bot.embedded.seaweedfs import weed_binary
from bot.embedded.up import loopback_url
from bot.embedded.valkey import valkey_binary

_S3_SECONDS = 30.0
_BOT_SECONDS = 3.0


async def server_checks(settings: Settings) -> list[Check]:
    """Everything that is spoken to over a network."""
    # One after the other: making a client takes a while, in which another's answer would be late.
    return [await look(settings) for look in (_redis, _s3, _github, _bot)]


async def _redis(settings: Settings) -> Check:
    name = "Redis"
    if not settings.redis_url:
        return _embedded(name, "PUSHLANE_REDIS_URL", valkey_binary)
    ledger = open_ledger(settings.redis_url, prefix=settings.redis_prefix)
    try:
        begun = time.monotonic()
        await ledger.view.ping()
        took = time.monotonic() - begun
        await ledger.connection.ensure_room()
        durability = await ledger.connection.durability()
    except Errored as error:
        if error.code == "redis_unreachable":
            return failed(name, error.message, "start it, or mend PUSHLANE_REDIS_URL")
        return failed(name, error.message, "until then nothing is recorded")
    finally:
        await ledger.aclose()
    match durability:
        case "durable":
            return ok(name, f"reachable in {took * 1000:.0f} ms, durable")
        case "may lose writes":
            words = "reachable, but it may lose acknowledged writes"
            cure = f"set there: {DURABLE_SETTINGS}"
            if settings.require_durable:
                words += ", and PUSHLANE_REQUIRE_DURABLE is on"
                return failed(name, words, cure)
            return warning(name, words, cure)
        case "unknown":
            return warning(
                name,
                "reachable; whether it is durable it does not tell (CONFIG is forbidden)",
                f"ask whoever keeps it for {DURABLE_SETTINGS}",
            )


async def _s3(settings: Settings) -> Check:
    name = "S3"
    if settings.sources["PUSHLANE_S3_BUCKET"] == "default" and not settings.s3_endpoint_url:
        return _embedded(name, "PUSHLANE_S3_BUCKET", weed_binary)
    cure = "see PUSHLANE_S3_BUCKET, PUSHLANE_S3_ENDPOINT_URL and AWS's own variables"
    try:
        bucket = await asyncio.to_thread(
            Bucket,
            settings.s3_bucket,
            prefix=settings.s3_prefix,
            endpoint_url=settings.s3_endpoint_url,
        )
    except Exception as error:  # noqa: BLE001 (whatever boto3 thinks of AWS's variables)
        return failed(name, str(error), cure)
    probe, body = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(16)
    try:
        async with asyncio.timeout(_S3_SECONDS):
            await bucket.ready()
            begun = time.monotonic()
            await bucket.put(probe, body, content_type="application/octet-stream")
            same = await bucket.get(probe) == body
            await bucket.delete(probe)
            took = time.monotonic() - begun
            await bucket.aclose()
    except TimeoutError:
        return failed(name, f"does not answer within {_S3_SECONDS:.0f} s", cure)
    except Errored as error:
        return failed(name, error.message, cure)
    if not same:
        return failed(name, "gave back other bytes than were put there", cure)
    return ok(name, f"bucket {settings.s3_bucket}: put, get and delete in {took * 1000:.0f} ms")


def _embedded(name: str, variable: str, binary: Callable[[], Path]) -> Check:
    """`pushlane up` brings its own, and the bot's readiness tells how that does."""
    try:
        return ok(name, f"embedded by `pushlane up` ({binary()}), since {variable} is not set")
    except Errored as error:
        return failed(name, f"{variable} is not set, and: {error.message}", f"set {variable}")


async def _github(settings: Settings) -> Check:
    """That there are credentials, and that an App's key can sign; GitHub itself is not asked."""
    name = "GitHub"
    cure = "set PUSHLANE_GITHUB_TOKEN, or PUSHLANE_GITHUB_APP_ID and its private key"
    try:
        github = GitHub(
            api_url=settings.github_api_url,
            token=settings.github_token,
            app_id=settings.github_app_id,
            app_private_key=settings.github_app_private_key,
        )
    except SettingInvalid as error:
        return failed(name, error.message, cure)
    await github.aclose()
    if not github.configured:
        words = "no credentials: only public repositories, and no status on commits"
        return warning(name, words, cure)
    app = f"the App {settings.github_app_id}" if settings.github_app_id else ""
    token = "a token" if settings.github_token else ""
    return ok(name, f"credentials of {' and '.join(filter(None, (app, token)))}")


async def _bot(settings: Settings) -> Check:
    name, url = "bot", loopback_url(settings)
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_BOT_SECONDS) as client:
            answer = await client.get(f"{url}/readyz")
    except httpx2.HTTPError:
        return warning(name, f"nothing serves at {url}", "start it by `pushlane up`")
    said = _detail(answer)
    if not answer.is_success:
        return failed(name, f"{url} is not ready: {said}", "see what it logs")
    return ok(name, f"ready at {url}{f': {said}' if said else ''}")


def _detail(answer: httpx2.Response) -> str:
    """What the bot says about itself, as one line."""
    try:
        told: Any = answer.json()
    except ValueError:
        return answer.text[:200]
    if not isinstance(told, dict):
        return ""
    return ", ".join(f"{part} {state}" for part, state in told.items() if part != "ready")
