"""Accepting callers on the socket all workers share, and looking after every open connection."""

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
# A process out of file descriptors tries again after this long.
REST_S = 0.1
# Callers taken from the queue in one go, so that a burst does not starve the requests in progress.
GULP = 64


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
        self._sock = sock
        self._handler = handler
        self._limits = limits
        self._refuse = refuse
        self._tls = tls
        self._joining: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._open = True
        self.connections: set[CallerConnection] = set()
        self._accept_more()
        self._timer = self._loop.call_later(EVERY_S, self._round)

    @property
    def busy(self) -> bool:
        """Whether any request is in progress."""
        return any(connection.busy for connection in self.connections)

    def stop(self) -> None:
        """Take no further callers; the queue is left to another worker."""
        if self._open:
            self._open = False
            self._rest()
            self._sock.close()

    def retire(self) -> None:
        """Take no further callers and close every connection as soon as it has nothing to do."""
        self.stop()
        for connection in self.connections:
            connection.retire()

    def close(self) -> None:
        self.stop()
        self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _accept_more(self) -> None:
        if self._open and not self._accepting and len(self.connections) + len(self._joining) < CONNECTIONS:
            self._accepting = True
            self._loop.add_reader(self._sock, self._accept)

    def _rest(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._sock)

    def _accept(self) -> None:
        for _ in range(GULP):
            if len(self.connections) + len(self._joining) >= CONNECTIONS:
                self._rest()
                return
            try:
                caller, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._rest()
                self._loop.call_later(REST_S, self._accept_more)
                return
            task = self._loop.create_task(self._join(caller))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

    async def _join(self, caller: socket.socket) -> None:
        try:
            caller.setblocking(False)
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol, caller, ssl=self._tls)
        except (OSError, asyncio.CancelledError):
            caller.close()  # a handshake that fails, or a caller that left meanwhile

    def _protocol(self) -> CallerConnection:
        scheme = "https" if self._tls else "http"
        return CallerConnection(self._loop, self._handler, self._limits, self.connections, self._refuse, scheme)

    def _round(self) -> None:
        now = self._loop.time()
        for connection in list(self.connections):
            connection.look(now)
        self._accept_more()
        self._timer = self._loop.call_later(EVERY_S, self._round)
