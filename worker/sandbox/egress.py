"""The only way out of a sandbox: a proxy (CONNECT and plain HTTP) that asks `reach` first."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from worker.sandbox.lookup import Lookup
from worker.sandbox.reach import Address, Reach, host_of, literal, own_addresses, plain

_HEAD_LIMIT = 64 * 1024
_CONNECT_SECONDS = 20.0
_HEAD_SECONDS = 30.0
_CONNECTIONS = 512
_CHUNK = 128 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):
    """The policy says no. The message is for the person who reads the build's log."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The proxy that the worker itself has to go through."""

    host: str
    port: int
    authorization: str | None


class _Asked(NamedTuple):
    """The first line of a request to the proxy."""

    method: str
    target: str
    version: str
    scheme: str
    host: str
    port: int


class Egress:
    """What all executions of one worker share: the policy, and the worker's own proxies."""

    def __init__(self, reach: Reach, environment: Mapping[str, str]) -> None:
        self.reach = reach
        lower = {name.lower(): value for name, value in environment.items()}
        both = lower.get("all_proxy", "")
        self._upstream = {
            "https": _upstream(lower.get("https_proxy") or both),
            "http": _upstream(lower.get("http_proxy") or both),
        }
        self._direct = tuple(
            entry.strip().lower() for entry in lower.get("no_proxy", "").split(",") if entry.strip()
        )

    async def serve(self, listener: socket.socket) -> EgressPort:
        """Serves one execution on `listener`, which lives in its network namespace."""
        port = EgressPort(self)
        await port.open(listener)
        return port

    async def connect(
        self, host: str, port: int, scheme: str, lookup: Lookup
    ) -> tuple[Streams, bool]:
        """Streams to host:port, and whether they end at a proxy that wants absolute URLs.

        Raises Refused, or OSError where the host cannot be reached.
        """
        if not self.reach.permits_name(host, port):
            raise Refused(f"{host}:{port} is not on the list of hosts that builds may reach")
        upstream = self._upstream[scheme]
        if upstream is not None and not self._goes_direct(host):
            await self._permitted(host, port, lookup, must_resolve=False)
            streams = await asyncio.open_connection(upstream.host, upstream.port, limit=_HEAD_LIMIT)
            if scheme == "https":
                await _tunnel(streams, host, port, upstream)
            return streams, scheme == "http"
        problem: OSError | None = None
        for address in await self._permitted(host, port, lookup, must_resolve=True):
            try:
                return await asyncio.open_connection(address, port, limit=_HEAD_LIMIT), False
            except OSError as error:
                problem = error
        raise problem or OSError(f"{host} has no address")

    def authorization(self) -> str | None:
        """What plain requests must show to the upstream proxy."""
        upstream = self._upstream["http"]
        return None if upstream is None else upstream.authorization

    async def _permitted(
        self, host: str, port: int, lookup: Lookup, *, must_resolve: bool
    ) -> list[str]:
        # Resolved once, and the very addresses that were looked at are connected to: a name that
        # answers differently the second time gains nothing.
        address = literal(host)
        if address is not None:
            found = [str(address)]
        else:
            try:
                found = await lookup.addresses(host, port)
            except OSError:
                if must_resolve:
                    raise
                return []
        if self.reach.trusted(host, port):
            return found
        own: set[Address] = await asyncio.to_thread(own_addresses)
        good = [
            text
            for text in found
            if self.reach.permits_address(ipaddress.ip_address(text.partition("%")[0]), own)
        ]
        if not good:
            raise Refused(f"{host}:{port} is on a private or local network, which builds never see")
        return good

    def _goes_direct(self, host: str) -> bool:
        for entry in self._direct:
            bare = entry.lstrip("*").lstrip(".")
            if entry == "*" or host == bare or (bare and host.endswith("." + bare)):
                return True
            with contextlib.suppress(ValueError):
                address = literal(host)
                if address is not None and address in ipaddress.ip_network(entry, strict=False):
                    return True
        return False


class EgressPort:
    """The proxy of one execution. It remembers what it refused, and which registry was away."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._lookup = Lookup()
        self._server: asyncio.Server | None = None
        self._refused: dict[str, None] = {}
        self._away: dict[str, None] = {}
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def refused_hosts(self) -> tuple[str, ...]:
        """`host:port` of what was refused, each once, at most a hundred."""
        return tuple(self._refused)

    @property
    def away_registries(self) -> tuple[str, ...]:
        """`host:port` of what the operator's configuration names and was out of reach at last."""
        return tuple(self._away)

    async def open(self, listener: socket.socket) -> None:
        """Starts to accept."""
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=_HEAD_LIMIT)

    async def aclose(self) -> None:
        """Ends the proxy and each of its connections."""
        if self._server is not None:
            self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.gather(*self._handlers, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._handlers) >= _CONNECTIONS:
            writer.transport.abort()
            return
        handler = asyncio.ensure_future(self._handle(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            await self._answer(head, reader, writer)
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line, _, rest = head.partition(b"\r\n")
        try:
            asked = _asked(line)
        except ValueError:
            await _say(writer, 400, "this proxy takes CONNECT host:port and http:// requests")
            return
        host, port = asked.host, asked.port
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                (far_reader, far_writer), absolute = await self._egress.connect(
                    host, port, asked.scheme, self._lookup
                )
        except Refused as refused:
            if len(self._refused) < 100:
                self._refused.setdefault(f"{host}:{port}")
            await _say(writer, 403, str(refused))
            return
        except (OSError, TimeoutError) as problem:
            self._note(host, port, away=True)
            await _say(writer, 502, f"{host}:{port} cannot be reached: {problem or 'no answer'}")
            return
        self._note(host, port, away=False)
        try:
            if asked.scheme == "https":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                secret = self._egress.authorization() if absolute else None
                far_writer.write(_forwarded(asked, rest, absolute, secret))
            await _both_ways((reader, writer), (far_reader, far_writer))
            if isinstance(far_reader.exception(), OSError):
                self._note(host, port, away=True)
        finally:
            far_writer.transport.abort()

    def _note(self, host: str, port: int, *, away: bool) -> None:
        """What a repository reaches for by itself is its own affair, and not noted."""
        if not self._egress.reach.trusted(host, port):
            return
        if away:
            self._away.setdefault(f"{host}:{port}")
        else:
            self._away.pop(f"{host}:{port}", None)


def _asked(line: bytes) -> _Asked:
    method, target, version = line.decode("ascii").split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    if method == "CONNECT":
        scheme = "https"
        name, _, number = target.rpartition(":")
        host, port = plain(name), int(number)
    else:
        scheme = "http"
        pair = host_of(target)
        if pair is None or not target.lower().startswith("http://"):
            raise ValueError(target)
        host, port = pair
    if not host or not 0 < port < 65536 or not (host + target).isprintable():
        raise ValueError(target)
    return _Asked(method, target, version, scheme, host, port)


def _forwarded(asked: _Asked, rest: bytes, absolute: bool, secret: str | None) -> bytes:
    target = asked.target
    parts = urlsplit(target)
    if not absolute:
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    # One request a connection: a second one on it could name another host, unasked.
    kept = [
        line
        for line in rest.split(b"\r\n")
        if line
        and line.partition(b":")[0].strip().lower()
        not in (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"host")
    ]
    network = parts.netloc.rpartition("@")[2].encode()
    lines = [f"{asked.method} {target} {asked.version}".encode(), b"Host: " + network, *kept]
    lines.append(b"Connection: close")
    if secret:
        lines.append(b"Proxy-Authorization: " + secret.encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _both_ways(near: Streams, far: Streams) -> None:
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()

    async with asyncio.TaskGroup() as group:
        for reader, writer in ((near[0], far[1]), (far[0], near[1])):
            group.create_task(_quietly(copy(reader, writer), near[1], far[1]))


async def _quietly(copying: object, *writers: asyncio.StreamWriter) -> None:
    try:
        await copying  # type: ignore[misc]
    except OSError:
        for writer in writers:
            writer.transport.abort()


async def _say(writer: asyncio.StreamWriter, status: int, message: str) -> None:
    reason = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway"}[status]
    body = f"pushlane: {message}\n".encode()
    writer.write(
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _tunnel(streams: Streams, host: str, port: int, upstream: Upstream) -> None:
    reader, writer = streams
    name = f"[{host}]" if ":" in host else host
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    if upstream.authorization:
        lines.append(f"Proxy-Authorization: {upstream.authorization}")
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if status.split(" ")[1:2] != ["200"]:
            raise OSError(f"the worker's own proxy answered: {status}")
    except EOFError:
        writer.transport.abort()
        raise OSError("the worker's own proxy hung up") from None
    except BaseException:
        writer.transport.abort()
        raise


def _upstream(url: str) -> Upstream | None:
    if not url:
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if not parts.hostname:
        return None
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Upstream(parts.hostname, parts.port or 80, authorization)
