"""The gateway: host → alias → release → bytes. What visitors of the sites meet.

A request for what was asked for before reaches neither Redis nor S3: aliases are known, manifests
and contents kept, answers prepared. It holds no state but these caches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.types import Receive, Scope, Send

from bot.core.bucket import Bucket, NotInBucket
from bot.core.errors import Errored
from bot.core.ledger import Alias, Aliases, Changes
from bot.core.release import Manifest
from bot.gateway import plain
from bot.gateway.aliases import KnownAliases
from bot.gateway.asked import asked
from bot.gateway.contents import Contents
from bot.gateway.disk import Disk
from bot.gateway.located import Located, blocks
from bot.gateway.prepared import Answer
from bot.gateway.reading import Reading
from bot.gateway.route import Redirect, find, is_text, label_of
from bot.gateway.sites import Sites

__all__ = ["Gateway", "label_of"]

log = logging.getLogger(__name__)

_SLICE: Final = 131_072
"""Bytes in one message of a long answer: what a slow visitor makes the server hold."""
_MISSING: Final = "404.html"


class Gateway:
    """An ASGI application for the hosts below `sites_domain`, HTTP only."""

    def __init__(
        self,
        *,
        aliases: Aliases,
        changes: Changes,
        bucket: Bucket,
        sites_domain: str,
        cache_dir: Path,
        memory_bytes: int = 256_000_000,
        disk_bytes: int = 2_000_000_000,
    ) -> None:
        """`cache_dir` is made when needed, 0700. A quarter of the memory is for manifests."""
        self._sites_domain = sites_domain
        self._aliases = KnownAliases(aliases, changes)
        self._disk = Disk(cache_dir, most_bytes=disk_bytes)
        reading = Reading()
        self._sites = Sites(bucket, self._disk, reading, memory_bytes=memory_bytes // 4)
        self._contents = Contents(
            bucket, self._disk, reading, memory_bytes=memory_bytes - memory_bytes // 4
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        method = scope["method"]
        if method in ("GET", "HEAD"):
            answer, body = await self._answer(scope, get=method == "GET")
        else:
            answer = plain.OPTIONS if method == "OPTIONS" else plain.READ_ONLY
            body = answer.body
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        if method == "GET" and answer.content and len(body) < answer.stop - answer.start:
            await self._send_on(answer, body, receive, send)
        else:
            body = body if method != "HEAD" else b""
            await send({"type": "http.response.body", "body": body})

    async def follow(self) -> None:
        """Forgets aliases as they move, for ever. Without it they are up to a second old."""
        await asyncio.gather(self._aliases.follow(), self._disk.look())

    async def aclose(self) -> None:
        """Ends reads under way. What it was given stays open."""
        await self._aliases.aclose()
        await self._sites.aclose()
        await self._contents.aclose()
        await self._disk.aclose()

    async def _answer(self, scope: Scope, *, get: bool) -> tuple[Answer, bytes]:
        """The answer, and its body, or the beginning of one that is longer than a block."""
        headers = asked(scope["headers"])
        label = label_of(headers.get(b"host", b"").decode("latin-1"), self._sites_domain)
        alias: Alias | None = None
        try:
            if label:
                alias = self._aliases.at_once(label) or await self._aliases.get(label)
            if alias is None:
                return _whole(plain.NO_SITE)
            if not alias.release:
                return _whole(plain.GONE if alias.kind == "deployment" else plain.DELETED)
            name = alias.release
            manifest = self._sites.held(name) or await self._sites.manifest(name)
            answer = self._found(alias, manifest, scope, headers, get=get)
            if answer.content is None or not get:
                return _whole(answer)
            return answer, await self._beginning(answer, answer.content)
        except Errored as error:
            return _whole(await self._failed(alias, error))

    def _found(
        self,
        alias: Alias,
        manifest: Manifest,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        *,
        get: bool,
    ) -> Answer:
        path = scope["path"]
        indexed = alias.kind == "production"
        found = find(manifest.files, path, spa=manifest.spa)
        if "\ufffd" in path and not is_text(scope.get("raw_path") or b""):
            found = None
        match found:
            case Redirect():
                return plain.redirect(found, scope["query_string"], indexed=indexed)
            case None if _MISSING not in manifest.files:
                return plain.NOT_FOUND
            case None:
                found, status = _MISSING, 404
            case _:
                status = 200
        prepared = self._sites.prepared(
            alias.release, manifest, found, indexed=indexed, status=status
        )
        return prepared.answer(headers, get=get)

    async def _beginning(self, answer: Answer, content: Located) -> bytes:
        """The part of the first block that is asked for."""
        block, start, stop = next(blocks(content, answer.start, answer.stop))
        body = self._contents.held(block) or await self._contents.read(block)
        return body if stop - start == len(body) else body[start:stop]

    async def _failed(self, alias: Alias | None, error: Errored) -> Answer:
        """410 for a deployment that is no longer kept, 503 for what should be there."""
        if alias and alias.kind == "deployment" and isinstance(error, NotInBucket):
            try:
                if not await self._sites.kept(alias.release):
                    return plain.GONE
            except Errored:
                pass
        return plain.UNREADABLE

    async def _send_on(self, answer: Answer, body: bytes, receive: Receive, send: Send) -> None:
        """Sends what is longer than a block, while the visitor stays.

        The next block is read while the last of this one is sent: of a visitor who takes nothing,
        no more is held than one.

        When it cannot be read to its end the answer is left short, so that the server cuts the
        connection and nobody takes a part for the whole.
        """
        assert answer.content is not None
        left = asyncio.create_task(_left(receive))
        rest = blocks(answer.content, answer.start, answer.stop)
        next(rest)
        try:
            while True:
                ahead, reading = next(rest, None), None
                for at in range(0, len(body), _SLICE):
                    if left.done():
                        return
                    last = at + _SLICE >= len(body)
                    if last and ahead:
                        reading = self._contents.begin(ahead[0])
                    more = not last or ahead is not None
                    part = body[at : at + _SLICE]
                    await send({"type": "http.response.body", "body": part, "more_body": more})
                if ahead is None or reading is None:
                    return
                body = (await asyncio.shield(reading))[ahead[1] : ahead[2]]
        except Errored as error:
            log.warning("an answer was left short", extra={"code": error.code})
        finally:
            left.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _whole(answer: Answer) -> tuple[Answer, bytes]:
    return answer, answer.body
