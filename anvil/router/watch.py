"""The caller's side of one request: where a stream goes out, and who notices that nobody is there any more."""

from __future__ import annotations

import asyncio
from typing import Any

from granian.rsgi import ProtocolClosed, ProtocolError

from anvil.router.exchange import CallerGone
from anvil.router.pace import LOOK_EVERY, Pace

# How often the requests in progress are looked at, and the age below which one is left alone: most end before.
EVERY_S = 0.2
YOUNG_S = 0.1
SSE_HEADERS = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
    ("server", "anvil"),
]


class Outlet:
    """The caller's side of a stream over granian. ``peer``: its address and port. ``blocked_since``: loop time since
    which the write in progress has got nowhere."""

    __slots__ = ("_headers", "_loop", "_pace", "_peer", "_proto", "_transport", "_unseen", "blocked_since")

    def __init__(self, proto: Any, loop: asyncio.AbstractEventLoop, version: str, peer: str) -> None:
        # HTTP/1.0 knows no chunks: the body ends with the connection
        self._headers = SSE_HEADERS if version == "1.1" else [*SSE_HEADERS, ("connection", "close")]
        self._proto = proto
        self._loop = loop
        self._transport: Any = None
        self._peer = peer
        self._pace: Pace | None = None
        self._unseen = 0
        self.blocked_since: float | None = None

    async def start(self, headers: list[tuple[str, str]]) -> None:
        self._transport = self._proto.response_stream(200, [*self._headers, *headers])

    async def send(self, data: bytes) -> None:
        """Raises CallerGone when the caller left; one that does not read is cut off by the Watch."""
        self.blocked_since = self._loop.time()
        try:
            await self._transport.send_bytes(data)
        except (ProtocolClosed, ProtocolError):
            raise CallerGone from None
        self._unseen += len(data)
        if self._unseen >= LOOK_EVERY:
            await self._keep_pace()
        self.blocked_since = None

    async def gone(self) -> None:
        """Returns when the caller has left."""
        await self._proto.client_disconnect()

    async def _keep_pace(self) -> None:
        size, self._unseen = self._unseen, 0
        if self._pace is None:
            self._pace = Pace(self._peer)
        await self._pace.keep(size, self._progress)

    def _progress(self) -> None:
        self.blocked_since = self._loop.time()

    def cut(self) -> None:
        """End the connection of a caller that does not read."""
        if self._pace is not None:
            self._pace.cut()

    def close(self) -> None:
        """granian ends a streamed answer when its transport is dropped; a reference elsewhere must not keep it open."""
        self._transport = None
        if self._pace is not None:
            self._pace.close()
            self._pace = None


class Watch:
    """Looks after one request: a small body that comes too slowly, a caller that goes away or does not read.

    It cancels the handler's task and says why through ``slow`` or ``gone``. Most requests end before its first look.
    """

    __slots__ = (
        "_future", "_limit", "_proto", "_rounds", "_started", "_task", "gone", "outlet", "reading", "slow",
    )  # fmt: skip

    def __init__(self, outlet: Outlet, proto: Any, rounds: Rounds, limit: float) -> None:
        self.outlet = outlet
        self._proto = proto
        self._rounds = rounds
        self._limit = limit
        self._task = asyncio.current_task()
        self._future: asyncio.Future[None] | None = None
        self._started = rounds.loop.time()
        self.reading = True
        self.slow = False
        self.gone = False
        rounds.join(self)

    def look(self, now: float) -> None:
        if self.reading:
            if now - self._started >= self._limit:
                self.slow = True
                self._cancel()
            return
        blocked = self.outlet.blocked_since
        if blocked is not None and now - blocked > self._rounds.stall_s:
            self.gone = True
            self.outlet.cut()
            self._cancel()
        elif self._future is None and now - self._started >= YOUNG_S:
            self._future = asyncio.ensure_future(self._proto.client_disconnect())
            self._future.add_done_callback(self._left)

    def _left(self, future: asyncio.Future[None]) -> None:
        if not future.cancelled() and not self.gone:
            self.gone = True
            self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        self._rounds.leave(self)
        self.outlet.close()
        if self._future is not None:
            self._future.remove_done_callback(self._left)
            self._future.cancel()


class Rounds:
    """One timer for every request in progress: a timer each would cost more than all the looking."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stall_s: float) -> None:
        self.loop = loop
        self.stall_s = stall_s
        self._watches: set[Watch] = set()
        self._armed = False

    def join(self, watch: Watch) -> None:
        self._watches.add(watch)
        if not self._armed:
            self._armed = True
            self.loop.call_later(EVERY_S, self._go)

    def leave(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def _go(self) -> None:
        now = self.loop.time()
        for watch in list(self._watches):
            watch.look(now)
        self._armed = bool(self._watches)
        if self._armed:
            self.loop.call_later(EVERY_S, self._go)
