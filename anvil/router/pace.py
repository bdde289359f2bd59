"""Back-pressure towards the caller of a long stream.

granian queues whatever it is given, without bound and without a word. What the caller's kernel has acknowledged is
known to ours (TCP_INFO, Linux), so a long stream waits there for a reader that falls behind. Where the kernel does not
say, nothing waits.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable

from anvil.router.exchange import CallerGone

# A stream looks after its caller each time it has sent this much: most streams are shorter and never do.
LOOK_EVERY = 262_144
# Sent but not acknowledged, above which the stream waits.
AHEAD = 1_048_576
WAIT_S = 0.02
# struct tcp_info of linux/tcp.h: tcpi_state is its first byte, tcpi_bytes_acked the u64 at 120 (since 4.1)
_ACKED = struct.Struct("=Q")
_ACKED_AT = 120
_ALIVE = (1, 8)  # TCP_ESTABLISHED; TCP_CLOSE_WAIT: a caller that only ended its own side


class Pace:
    """Of one stream, from its first look on. ``peer`` is the caller's ``address:port`` as granian gives it."""

    __slots__ = ("_base", "_sent", "_sock")

    def __init__(self, peer: str) -> None:
        self._sock = _find(peer)
        self._sent = 0
        self._base = self._acked()

    async def keep(self, size: int, progress: Callable[[], None]) -> None:
        """Note ``size`` bytes sent; wait while too many are under way. Raises CallerGone."""
        self._sent += size
        if self._sock is None:
            return
        acked = self._acked()
        while acked and self._sent - (acked - self._base) > AHEAD:
            await asyncio.sleep(WAIT_S)
            before, acked = acked, self._acked()
            if acked > before:
                progress()

    def cut(self) -> None:
        """End the connection: what is queued for a caller that does not read will never leave."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # already gone

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _acked(self) -> int:
        """Bytes the caller's kernel has acknowledged, 0 when ours does not count them."""
        if self._sock is None:
            return 0
        try:
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except OSError:
            raise CallerGone from None
        if info[0] not in _ALIVE:
            raise CallerGone
        if len(info) < _ACKED_AT + _ACKED.size:
            return 0
        acked: int = _ACKED.unpack_from(info, _ACKED_AT)[0]
        return acked


def _find(peer: str) -> socket.socket | None:
    """A duplicate of the process's socket whose other end is ``peer``, None when there is none or no TCP_INFO."""
    address, _, port = peer.rpartition(":")
    if not hasattr(socket, "TCP_INFO") or not port.isdigit():
        return None
    wanted = (address.strip("[]"), int(port))
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=int(name))
        except OSError:  # not a socket
            continue
        try:
            host, number, *_ = found.getpeername()
            if (str(host).removeprefix("::ffff:"), number) == wanted:
                return found.dup()
        except (OSError, ValueError):
            continue
        finally:
            found.detach()
    return None
