"""The holder's socket while nothing can be opened: it is given back, not kept once more with every try."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from anvil.router import lease
from anvil.router.config import ServerConfig
from anvil.router.listener import Listener


async def test_a_socket_that_cannot_be_served_is_closed_before_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = socket.create_server(("127.0.0.1", 0))
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "s"))
    door.listen()
    own = socket.create_server(("127.0.0.1", 0))
    listener = Listener(own, _nobody, ServerConfig(), lambda reason: None)
    await listener.start()
    monkeypatch.setattr(lease, "RETRY_S", 0.01)
    monkeypatch.setattr(listener, "_accept", _out_of_descriptors)
    with closing(published), closing(own), closing(door):
        task = asyncio.create_task(lease.keep(str(tmp_path / "s"), listener))
        counts = [await _given(door, published) for _ in range(4)]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        listener.close()
    assert len(set(counts[1:])) == 1, counts


async def _given(door: socket.socket, published: socket.socket) -> int:
    """Give the socket to one asker; open descriptors of this process once it has been tried."""
    loop = asyncio.get_running_loop()
    door.setblocking(False)
    asker, _ = await loop.sock_accept(door)
    with closing(asker):
        socket.send_fds(asker, [b"1"], [published.fileno()])
        await loop.sock_recv(asker, 1)  # the asker closes: it has tried
    return len(os.listdir("/dev/fd"))


async def _out_of_descriptors() -> None:
    raise OSError(errno.EMFILE, "too many open files")


async def _nobody(request: Any) -> None:
    raise AssertionError("no caller comes here")
