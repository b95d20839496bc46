"""Pipes and descriptors of a child, waited for on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

_CHUNK = 256 * 1024


async def ready(handle: int, *, to_write: bool = False) -> None:
    """Returns once `handle` can be read (or written) without waiting, or has been hung up."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    add, remove = (
        (loop.add_writer, loop.remove_writer) if to_write else (loop.add_reader, loop.remove_reader)
    )
    add(handle, wake)
    try:
        await future
    finally:
        remove(handle)


async def pump(handle: int, receive: Callable[[bytes], Awaitable[None]] | None) -> None:
    """Hands each chunk to `receive`, and reads on when it has returned, until the end."""
    os.set_blocking(handle, False)
    while True:
        try:
            chunk = os.read(handle, _CHUNK)
        except BlockingIOError:
            await ready(handle)
            continue
        if not chunk:
            return
        if receive is not None:
            await receive(chunk)
        # A receiver that never waits must not starve the timeout.
        await asyncio.sleep(0)


async def feed(handle: int, content: AsyncIterator[bytes] | BinaryIO) -> None:
    """Writes all of `content` and closes `handle`. A reader that ended early is no error."""
    os.set_blocking(handle, False)
    try:
        async for chunk in _chunks(content):
            rest = memoryview(chunk)
            while rest:
                try:
                    rest = rest[os.write(handle, rest) :]
                except BlockingIOError:
                    await ready(handle, to_write=True)
    except BrokenPipeError:
        pass
    finally:
        os.close(handle)


async def receive_answer(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One message with the descriptors that came along; empty where the sender is gone."""
    channel.setblocking(False)
    while True:
        try:
            message, handles, _, _ = socket.recv_fds(channel, 8192, 4)
        except BlockingIOError:
            await ready(channel.fileno())
            continue
        except ConnectionResetError:
            return b"", []
        return message, list(handles)


async def _chunks(content: AsyncIterator[bytes] | BinaryIO) -> AsyncIterator[bytes]:
    if isinstance(content, AsyncIterator):
        async for chunk in content:
            yield chunk
        return
    while chunk := await asyncio.to_thread(content.read, _CHUNK):
        yield chunk


def sealed(content: bytes, name: str) -> int:
    """A descriptor to read `content` from, that is in no directory."""
    handle = os.memfd_create(name, os.MFD_CLOEXEC)
    with contextlib.suppress(OSError):
        os.fchmod(handle, 0o600)
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
    os.lseek(handle, 0, os.SEEK_SET)
    return handle
