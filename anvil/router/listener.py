"""Accepting callers on the sockets all workers share, and looking after every open connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from anvil.router.http_connection import CallerConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from anvil.router.config import ServerConfig
    from anvil.router.http_connection import Handler

# Connections a worker holds at once, and the kernel's queue behind them (contract 2.4).
CONNECTIONS = 1024
# How often connections are looked at: one timer for all, because a timer each would cost more than all the looking.
EVERY_S = 0.2


class Listener:
    """``sock`` is listening and non-blocking."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        limits: ServerConfig,
        refuse: Callable[[str], None],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._servers: dict[socket.socket, asyncio.Server | None] = {sock: None}
        self._handler = handler
        self._limits = limits
        self._refuse = refuse
        self._tls = tls
        self._open = False
        self._timer: asyncio.TimerHandle | None = None
        self._reopening: asyncio.Task[None] | None = None
        self.connections: set[CallerConnection] = set()

    async def start(self) -> None:
        """Take callers from now on."""
        self._open = True
        await self._accept()
        self._timer = self._loop.call_later(EVERY_S, self._round)

    async def add(self, sock: socket.socket) -> None:
        """Take callers from this one too; it is closed when dropped or stopped."""
        if not self._open:
            sock.close()
            return
        self._servers[sock] = None
        await self._accept()

    def drop(self, sock: socket.socket) -> None:
        """Take no more from it; its queue is left to others who hold it."""
        server = self._servers.pop(sock, None)
        if server is not None:
            server.close()
        sock.close()

    @property
    def busy(self) -> bool:
        """Whether any request is in progress."""
        return any(connection.busy for connection in self.connections)

    def stop(self) -> None:
        """Take no further callers; the queue is left to another worker."""
        if self._open:
            self._open = False
            for sock in list(self._servers):
                self.drop(sock)

    def retire(self) -> None:
        """Take no further callers and close every connection as soon as it has nothing to do."""
        self.stop()
        for connection in self.connections:
            connection.retire()

    def close(self) -> None:
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    async def _accept(self) -> None:
        """A copy of the socket: closing it stops the accepting and leaves the queue as it is."""
        for sock in [each for each, server in self._servers.items() if server is None]:
            server = await self._loop.create_server(self._protocol, sock=sock.dup(), ssl=self._tls, backlog=CONNECTIONS)
            if self._servers.get(sock, server) is None:
                self._servers[sock] = server
            else:  # dropped meanwhile
                server.close()

    def _rest(self) -> None:
        for sock, server in self._servers.items():
            if server is not None:
                server.close()
            self._servers[sock] = None

    def _protocol(self) -> CallerConnection:
        if len(self.connections) >= CONNECTIONS - 1:
            self._rest()  # who comes now waits in the queue
        scheme = "https" if self._tls else "http"
        return CallerConnection(self._loop, self._handler, self._limits, self.connections, self._refuse, scheme)

    def _round(self) -> None:
        now = self._loop.time()
        for connection in list(self.connections):
            connection.look(now)
        resting = self._open and None in self._servers.values()
        if resting and not self._reopening and len(self.connections) < CONNECTIONS:
            self._reopening = self._loop.create_task(self._accept())
            self._reopening.add_done_callback(self._reopened)
        self._timer = self._loop.call_later(EVERY_S, self._round)

    def _reopened(self, task: asyncio.Task[None]) -> None:
        self._reopening = None
        if not task.cancelled():
            task.exception()  # out of file descriptors: the next round tries again
