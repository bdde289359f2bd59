"""One HTTP/1.1 client per tier: asyncio.Protocol + httptools, idle connections in a LIFO list, nothing scans a pool.

Stock httpx costs 15 to 150 times more CPU here because its pool is scanned per request (encode/httpx#3215). No proxies,
no redirects, no decompression.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httptools

if TYPE_CHECKING:
    from collections.abc import Sequence

# An engine's response head; llama-server and vLLM send under 1 KiB, proxies in front may add cookies.
HEAD_CAP = 65_536
# How late a silence limit of seconds may fire.
SILENCE_TICK_S = 0.25
# Unread bytes above which the socket is not read any further (a slow caller must not fill our memory).
HIGH_WATER = 1_048_576


class UpstreamError(Exception):
    """The tier could not be reached or broke off. ``label`` is metadata for the record, never shown to callers."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


class Silence:
    """Wakes connections whose tier has been silent too long. One timer for all of a tier's waits: most waits are short,
    and a timer each would cost more than the rest of the wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waits: dict[asyncio.Future[None], float] = {}
        self._armed = False

    def watch(self, waiter: asyncio.Future[None], timeout: float) -> None:
        if timeout < 2 * SILENCE_TICK_S:
            self.loop.call_later(timeout, _silent, waiter)
            return
        self._waits[waiter] = self.loop.time() + timeout
        if not self._armed:
            self._armed = True
            self.loop.call_later(SILENCE_TICK_S, self._look)

    def forget(self, waiter: asyncio.Future[None]) -> None:
        self._waits.pop(waiter, None)

    def _look(self) -> None:
        now = self.loop.time()
        for waiter, end in list(self._waits.items()):
            if now >= end:
                _silent(waiter)
        self._armed = bool(self._waits)
        if self._armed:
            self.loop.call_later(SILENCE_TICK_S, self._look)


def _silent(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(UpstreamError("silence limit"))


class Connection(asyncio.Protocol):
    """One socket; also httptools' callback object for the response being read."""

    def __init__(self, idle: deque[Connection], open_: set[Connection], silence: Silence, keep: int = 100) -> None:
        self._idle = idle
        self._keep_idle = keep
        self._open = open_
        self._silence = silence
        self._transport: Any = None
        self._loop = silence.loop
        self._waiter: asyncio.Future[None] | None = None
        self._parser: Any = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._error: str = ""
        self.reused = False
        self.closed = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.head_done = False
        self.complete = False
        self.got_bytes = False
        # seconds this response kept us waiting: no work of ours
        self.waited = 0.0

    # -- asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self.complete:
            self.abort("unexpected bytes")
            return
        self.got_bytes = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("malformed response")
            return
        if not self.head_done:
            self._before_head += len(data)
            if self._before_head > 2 * HEAD_CAP:  # one line without an end never reaches on_header
                self._fail("response head too large")
                return
        if self._buffered > HIGH_WATER and not self._paused and not self.complete:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._open.discard(self)
        if self._parser is None:
            with contextlib.suppress(ValueError):
                self._idle.remove(self)
            return
        if not self.complete:
            if self.head_done and self._until_eof():
                self.complete = True
            else:
                self._error = self._error or "connection reset"
        self._wake()

    # -- httptools callbacks
    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > HEAD_CAP:
            self._error = "response head too large"
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self.head_done = True

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self.status < 200:
            # An interim 1xx response: the real one follows on the same parser.
            self.headers = {}
            return
        self.complete = True
        self._keep = self._parser.should_keep_alive()

    # -- request
    def begin(self, data: bytes) -> None:
        """Send one request (head and body in one write) and get ready for its response."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_size = 0
        self._before_head = 0
        self._keep = False
        self._chunks = []
        self._buffered = 0
        self._error = ""
        self.status = 0
        self.headers = {}
        self.head_done = False
        self.complete = False
        self.got_bytes = False
        self.waited = 0.0
        self._transport.write(data)

    def has_head(self) -> bool:
        """Whether the response head is here. Raises UpstreamError on reset or a malformed head."""
        if self._error:
            raise UpstreamError(self._error)
        return self.head_done

    async def next(self, timeout: float) -> bytes:
        """All body bytes received since the last call; waits up to ``timeout`` seconds for some; b"" at the end."""
        while True:
            if self._chunks:
                return self._take()
            if self.complete:
                return b""
            if self._error:
                raise UpstreamError(self._error)
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            await self.wait(timeout)

    def finish(self) -> None:
        """Give the connection back when its response is complete, else close it (which cancels the tier's work)."""
        reusable = self.complete and self._keep and not self.closed and not self._error and not self._chunks
        if reusable and len(self._idle) < self._keep_idle:
            self._parser = None
            self.reused = True
            self._idle.append(self)
        else:
            self.abort("closed")

    def abort(self, reason: str) -> None:
        self._error = self._error or reason
        if not self.closed and self._transport is not None:
            self._transport.abort()

    # -- inside
    def _take(self) -> bytes:
        chunks = self._chunks
        self._buffered = 0
        if len(chunks) == 1:
            data = chunks[0]
            chunks.clear()
            return data
        self._chunks = []
        return b"".join(chunks)

    def _until_eof(self) -> bool:
        return b"content-length" not in self.headers and b"chunked" not in self.headers.get(b"transfer-encoding", b"")

    def _fail(self, reason: str) -> None:
        self.abort(reason)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, timeout: float) -> None:
        """Until something comes. Raises UpstreamError after ``timeout`` seconds of silence."""
        waiter = self._waiter = self._loop.create_future()
        self._silence.watch(waiter, timeout)
        began = time.perf_counter()
        try:
            await waiter
        finally:
            self.waited += time.perf_counter() - began
            self._silence.forget(waiter)
            self._waiter = None


class Upstream:
    """All connections to one tier. ``base_url`` decides scheme, host and port for ever; requests give only paths."""

    def __init__(
        self, base_url: str, *, connect_timeout: float, headers: Sequence[tuple[str, str]] = (), pool: int = 100
    ) -> None:
        url = urlsplit(base_url)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if url.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._pool = pool
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._silence: Silence | None = None
        default_port = 443 if self._ssl else 80
        name = f"[{self._host}]" if ":" in self._host else self._host
        authority = name if self._port == default_port else f"{name}:{self._port}"
        self._head = f"host: {authority}\r\nuser-agent: anvil\r\naccept-encoding: identity\r\n".encode()
        self._head += header_block(headers)
        self._prefixes: dict[tuple[str, str, bool], bytes] = {}

    @property
    def open_sockets(self) -> int:
        return len(self._open)

    async def send(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        head_timeout: float,
        headers: Sequence[tuple[str, str]] = (),
        streams: bool = False,
    ) -> Connection:
        """Send one request; return the connection once the response head is here. ``streams``: events are wanted.

        Raises UpstreamError. A reused connection that dies before any response byte is retried once on a fresh one;
        where none can be had, its own error stands: the request may have been read, and may be why nobody listens.
        """
        data = self._request(method, path, body, headers, streams)
        now = asyncio.get_running_loop().time
        end = now() + head_timeout  # for the whole head: one that drips must not outlive the request
        connection = self._idle_connection() or await self._connect(head_timeout)
        while True:
            connection.begin(data)
            try:
                while not connection.has_head():
                    await connection.wait(end - now())
            except UpstreamError as error:
                died = error
                stale = connection.reused and not connection.got_bytes and connection.closed
                connection.abort("failed")
                if not stale:
                    raise
            except BaseException:
                connection.abort("cancelled")
                raise
            else:
                return connection
            try:
                connection = await self._connect(end - now())
            except UpstreamError:
                raise died from None

    def close(self) -> None:
        for connection in list(self._open):
            connection.abort("shutdown")

    def _idle_connection(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _request(self, method: str, path: str, body: bytes, headers: Sequence[tuple[str, str]], streams: bool) -> bytes:
        prefix = self._prefixes.get((method, path, streams))
        if prefix is None:
            accept = "text/event-stream" if streams else "application/json"
            prefix = f"{method} {path} HTTP/1.1\r\n".encode("ascii") + self._head + f"accept: {accept}\r\n".encode()
            if len(self._prefixes) < 16:
                self._prefixes[method, path, streams] = prefix
        length = b"content-length: %d\r\n\r\n" % len(body)
        if headers:
            return b"".join((prefix, header_block(headers), length, body))
        return b"".join((prefix, length, body))

    async def _connect(self, limit: float) -> Connection:
        loop = asyncio.get_running_loop()
        silence = self._silence
        if silence is None or silence.loop is not loop:
            silence = self._silence = Silence(loop)
        try:
            async with asyncio.timeout(min(self._connect_timeout, limit)):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._idle, self._open, silence, self._pool),
                    self._host,
                    self._port,
                    ssl=self._ssl,
                    server_hostname=self._host if self._ssl else None,
                )
        except TimeoutError:
            raise UpstreamError("connect timeout") from None
        except ssl.SSLError:
            raise UpstreamError("tls error") from None
        except OSError as error:
            raise UpstreamError(f"connect {type(error).__name__}") from None
        return connection


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines for the wire. Values with control or non-latin characters are refused (ValueError)."""
    lines = []
    for name, value in headers:
        if any(ord(c) < 0x20 or ord(c) > 0x7E for c in value):
            raise ValueError(f"header {name} holds a character that cannot be sent")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")
