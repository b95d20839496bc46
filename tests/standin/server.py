"""Serve an ASGI application with uvicorn from a thread of its own, up and down within moments."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import TRANSPORT

T = TypeVar("T")


class _Protocol(HttpToolsProtocol):
    """Lets the application find its connection, so that a test may order it reset."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, dict[object, object]] = self.scope.setdefault("extensions", {})
        extensions[TRANSPORT] = {"find": lambda: self.transport}


class _Server(uvicorn.Server):
    """Uvicorn without its waits: it ends at once, and cuts what is still open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leave = asyncio.Event()

    async def main_loop(self) -> None:
        counter = 0
        while not self.leave.is_set():
            await self.on_tick(counter)
            counter += 10
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.leave.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in (*self.servers, *(sockets or ())):
            listening.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # now each request knows that its client is gone
        for task in (tasks := list(self.server_state.tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Serving:
    """An application that is being served, and the loop that its own work belongs to."""

    def __init__(self) -> None:
        self.port = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._leave: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None
        self._background: set[asyncio.Task[object]] = set()

    def start(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        tls: tuple[Path, Path] | None = None,
        at_end: Callable[[], Awaitable[None]],
    ) -> None:
        """Bind (`port` 0: any free one, then `self.port`) and serve; OSError when it is taken.

        `at_end` is awaited in the serving loop when all requests have ended.
        """
        listener = socket.create_server((host, port), backlog=512)
        self.port = listener.getsockname()[1]
        self._at_end = at_end
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._main(app, listener, tls),), name="standin", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    async def _main(
        self, app: ASGIApp, listener: socket.socket, tls: tuple[Path, Path] | None
    ) -> None:
        try:
            config = uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                ssl_certfile=tls[0] if tls else None,
                ssl_keyfile=tls[1] if tls else None,
            )
            server = _Server(config)
            config.load()
            server.lifespan = config.lifespan_class(config)
            self._loop = asyncio.get_running_loop()
            self._leave = server.leave.set
            await server.startup(sockets=[listener])
        except BaseException as error:  # noqa: BLE001  raised again by `start`, in its thread
            self._failure = error
            listener.close()
            self._ready.set()
            return
        self._ready.set()
        await server.main_loop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await server.shutdown()
        await self._at_end()

    def background(self, work: Awaitable[object]) -> None:
        """Do this in the serving loop, outside any request. Call it from that loop."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def settled(self) -> None:
        """Wait until no background work is left; raises what any of it raised."""
        while self._background:
            await asyncio.gather(*self._background)

    async def within(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work` in the serving loop, from any other one."""
        assert self._loop is not None, "the stand-in is not started"
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def stop(self) -> None:
        """Stop serving: connections are cut, children killed, the thread is gone."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._leave)
            await asyncio.to_thread(self._thread.join, 10)
            self._loop = None
