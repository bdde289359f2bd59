"""`anvil socket`: holds the published listening socket while routers come and go. Standard library only.

A router takes the socket over a Unix connection (SCM_RIGHTS) and keeps that connection for as long as it accepts: its
lease. Between two routers callers wait in the socket's queue; nobody is refused. When no router has had a lease for
LEFT_S the socket closes, so that callers of a router that is down learn it at once.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any, NoReturn

BACKLOG = 1024
LEFT_S = 10.0
LOOK_S = 1.0


class Holder:
    """``at``: the path of the Unix socket. Raises OSError when it cannot be made."""

    def __init__(self, host: str, port: int, at: str) -> None:
        self._address = (host, port)
        self._published: socket.socket | None = None
        self._leases: set[socket.socket] = set()
        self._left = 0.0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(at)  # of a holder that was killed
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._door.bind(at)
        finally:
            os.umask(before)
        self._door.listen()
        self._events = selectors.DefaultSelector()
        self._events.register(self._door, selectors.EVENT_READ, self._lease)

    def run(self) -> NoReturn:
        while True:
            self.look(LOOK_S)

    def look(self, seconds: float) -> None:
        """Answer what has happened, at most ``seconds`` from now."""
        for key, _ in self._events.select(seconds):
            key.data(key.fileobj)
        if self._published and not self._leases and time.monotonic() - self._left > LEFT_S:
            self._published.close()
            self._published = None
            say(f"no router for {LEFT_S:.0f} s: callers are refused until one comes")

    def close(self) -> None:
        """Give up the socket and every lease."""
        for each in (self._door, *self._leases, self._published):
            if each is not None:
                each.close()
        self._events.close()

    def _lease(self, door: socket.socket) -> None:
        router, _ = door.accept()
        try:
            published = self._listening()
            socket.send_fds(router, [b"1"], [published.fileno()])
        except OSError as error:
            say(f"a router went without the socket: {error}")
            router.close()
            return
        self._leases.add(router)
        self._events.register(router, selectors.EVENT_READ, self._returned)
        say(f"a router takes callers; {len(self._leases)} do")

    def _listening(self) -> socket.socket:
        if self._published is None:
            family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
            self._published = socket.create_server(self._address, family=family, backlog=BACKLOG)
        return self._published

    def _returned(self, router: Any) -> None:
        with contextlib.suppress(OSError):
            if router.recv(1):
                return
        self._events.unregister(router)
        router.close()
        self._leases.discard(router)
        self._left = time.monotonic()
        say(f"a router takes no more callers; {len(self._leases)} do")


def run(host: str, port: int, at: str) -> NoReturn:
    """Hold until SIGTERM or SIGINT: exit code 0. Raises SystemExit 1 when the Unix socket cannot be made."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        holder = Holder(host, port, at)
    except OSError as error:
        say(f"{at}: {error.strerror}")
        raise SystemExit(1) from None
    with contextlib.closing(holder):
        holder.run()


def say(message: str) -> None:
    sys.stderr.write(f"anvil: {message}\n")
    sys.stderr.flush()
