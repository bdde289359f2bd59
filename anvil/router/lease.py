"""The published socket that a holder keeps for this router (holder.py): taken where there is one, and again after it
was gone."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from anvil.router.listener import Listener

RETRY_S = 0.25


async def keep(at: str, listener: Listener) -> NoReturn:
    """Take callers from the holder's socket at the path ``at`` until cancelled, which gives the lease back."""
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
            holder.setblocking(False)
            with contextlib.suppress(OSError):  # no holder yet, or it went: callers wait for the next one, not for us
                await _serve(holder, at, listener)
        await asyncio.sleep(RETRY_S)


async def _serve(holder: socket.socket, at: str, listener: Listener) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(holder, at)
    published = await _received(holder)
    published.setblocking(False)
    try:
        await listener.add(published)
        await loop.sock_recv(holder, 1)  # nothing is ever said: this ends with the holder
    finally:
        listener.drop(published)


async def _received(holder: socket.socket) -> socket.socket:
    """Raises OSError when the holder has nothing to give."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(holder, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(holder)
    _, given, _, _ = socket.recv_fds(holder, 1, 1)
    if not given:
        raise ConnectionError("the holder gave no socket")
    return socket.socket(fileno=given[0])
