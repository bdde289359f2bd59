"""A caller's connection: asyncio.Protocol, one request at a time, pipelined ones wait (contract 2.4, 2.5).

granian hands every request from its threads to ours and back, four context switches each, and tells us neither the
escaped path nor how much a caller has read. One thread that reads, works and writes costs half (scripts/bench).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anvil.router import dialects
from anvil.router.config import ServerConfig
from anvil.router.door import HEADERS_CAP
from anvil.router.exchange import JSON_TYPE
from anvil.router.http_head import BadHead, parse
from anvil.router.http_request import CLOSE, DRAIN_BYTES, DRAIN_S, HttpRequest, header_lines, response_head

Handler = Callable[[HttpRequest], Coroutine[Any, Any, None]]
# Bytes behind the request in progress that are kept; more waits in the kernel.
AHEAD = 65_536


class CallerConnection(asyncio.Protocol):
    """Of one socket. ``refuse`` counts a head that could not be read."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        limits: ServerConfig,
        connections: set[CallerConnection],
        refuse: Callable[[str], None],
        scheme: str,
    ) -> None:
        self.loop = loop
        self.scheme = scheme
        self.peer = ""
        self.full = False
        self.retiring = False
        self._handler = handler
        self._limits = limits
        self._connections = connections
        self._refuse = refuse
        self._transport: Any = None
        self._request: HttpRequest | None = None
        self._buffer = b""
        self._head_since: float | None = None
        self._idle_since = loop.time()
        self._unread = 0  # bytes of an answered request's body still to be thrown away
        self._leaving: float | None = None
        self._paused = False
        self._writable = asyncio.Event()  # a stream and its keep-alive comments may wait at the same time
        self._pending_write = 0

    # ------------------------------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if isinstance(peer, tuple) else ""
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._leaving is not None:
            self._throw_away(len(data))
            return
        request = self._request
        if request is not None:
            self._behind(request.feed(data) if request.missing else data)
            return
        if self._unread:
            taken = min(self._unread, len(data))
            self._unread -= taken
            data = data[taken:]
        self._buffer = self._buffer + data if self._buffer else data
        self._next()

    def eof_received(self) -> bool:
        return False  # asyncio closes; connection_lost tells whoever works for this caller

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self.full = False
        self._writable.set()
        if self._request is not None:
            request, self._request = self._request, None
            request.leave()

    def pause_writing(self) -> None:
        self.full = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.full = False
        self._writable.set()

    # ---------------------------------------------------------------------------------- for a request

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drained(self) -> None:
        """Returns when the caller has read enough for more to be written, or has left."""
        if self.full:
            await self._writable.wait()

    def abort(self) -> None:
        self._transport.abort()

    def ended(self, request: HttpRequest) -> None:
        """The request's handler is done."""
        if self._request is not request:
            return
        self._request = None
        self._idle_since = self.loop.time()
        if not request.answered:
            self.abort()
        elif request.closing:
            self._leave(unread=bool(request.missing or self._buffer))
        else:
            self._unread = request.missing
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            if self._buffer:
                self._next()

    def retire(self) -> None:
        """Every further answer says that it is the last; who is quiet for a moment is let go."""
        self.retiring = True

    @property
    def busy(self) -> bool:
        return self._request is not None

    # --------------------------------------------------------------------------------------- the head

    def _next(self) -> None:
        """Start the request at the front of the buffer, if its head is all there."""
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):  # RFC 9112 2.2: empty lines before a request are passed over
            buffer = buffer[_leading_breaks(buffer) :]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = buffer
            self._incomplete(buffer)
            return
        self._head_since = None
        try:
            parsed = parse(buffer[:end])
        except BadHead as bad:
            self._malformed(bad)
            return
        request = self._request = HttpRequest(self, parsed)
        self._buffer = b""
        rest = buffer[end + 4 :]
        if rest:
            self._behind(request.feed(rest) if request.missing else rest)
        request.task = self.loop.create_task(self._handler(request))

    def _incomplete(self, buffer: bytes) -> None:
        if len(buffer) > HEADERS_CAP:
            self._malformed(BadHead(431, "headers too large"))
        elif self._head_since is None and buffer:
            self._head_since = self.loop.time()

    def _malformed(self, bad: BadHead) -> None:
        self._refuse("framing")
        module = dialects.caller("openai")
        body = module.error(bad.status, "invalid_request", bad.message)
        headers = [("content-type", JSON_TYPE), ("content-length", str(len(body)))]
        self.write(response_head(bad.status, header_lines(headers), CLOSE) + body)
        self._leave(unread=True)

    def _behind(self, data: bytes) -> None:
        """Keep what came behind the request in progress."""
        if not data:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if len(self._buffer) > AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    # ------------------------------------------------------------------------------------------ the end

    def _leave(self, *, unread: bool) -> None:
        """Close so that the answer arrives: a socket closed over unread bytes resets and may take it along."""
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._leaving = self.loop.time() + DRAIN_S
        self._unread = DRAIN_BYTES
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._transport.write_eof()

    def _throw_away(self, size: int) -> None:
        self._unread -= size
        if self._unread < 0:
            self._transport.close()

    def look(self, now: float) -> None:
        """Called every so often: everything that takes too long ends here."""
        if self._leaving is not None:
            if now >= self._leaving:
                self._transport.abort()
            return
        self._note_progress(now)
        request = self._request
        if request is not None:
            request.look(now, self._limits)
        elif self._head_since is not None:
            if now - self._head_since >= self._limits.header_timeout_s:
                self._transport.abort()
        elif now - self._idle_since >= (RETIRED_IDLE_S if self.retiring else self._idle_limit()):
            self._transport.close()

    def _idle_limit(self) -> float:
        return DRAIN_S if self._unread else self._limits.idle_timeout_s

    def _note_progress(self, now: float) -> None:
        """A caller that takes some of what was written is alive, however slowly it reads."""
        size = self._transport.get_write_buffer_size()
        if size and size < self._pending_write:
            self._idle_since = now
            if self._request is not None and self._request.blocked_since is not None:
                self._request.blocked_since = now
        self._pending_write = size


def _leading_breaks(buffer: bytes) -> int:
    """Bytes of the empty lines a buffer begins with."""
    at = 0
    while buffer.startswith(b"\r\n", at):
        at += 2
    return at


# A kept connection of a worker that is being replaced closes when it has been quiet this long.
RETIRED_IDLE_S = 0.5
