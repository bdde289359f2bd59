"""One request on a caller's connection: its body as it comes, its answer as it goes (contract 2.4, 2.5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from anvil.router.door import Refusal
from anvil.router.exchange import CallerGone, Plain
from anvil.router.http_head import RequestHead

if TYPE_CHECKING:
    from anvil.router.http_connection import CallerConnection

# Bytes of a refused request that are read and thrown away so that a pipelined next request works.
DRAIN_BYTES = 65_536
DRAIN_S = 1.0
# The rate of a body is judged only after this long: a short stall on a good link is not an attack.
GRACE_S = 10.0

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\nserver: anvil\r\ndate: " for s in HTTPStatus}
_STREAM_HEADERS = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
CLOSE = "connection: close\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Clock:
    """The Date header, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def text(self) -> str:
        now = int(time.time())
        if now != self._second:
            self._second, self._text = now, formatdate(now, usegmt=True)
        return self._text


_clock = _Clock()


def header_lines(headers: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}\r\n" for name, value in headers]


def response_head(status: int, lines: list[str], last: str) -> bytes:
    """Status line, Server, Date and the header lines; ``last`` is what says whether the connection stays, and the end.

    A status may be one without a name of its own: engines and exhaustion_status know 529.
    """
    first = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\nserver: anvil\r\ndate: "
    return "".join([first, _clock.text(), "\r\n", *lines, last]).encode("latin-1", "replace")


class HttpRequest:
    """Head, body and answer. It is the outlet of a streamed answer. Times are the loop's, in seconds.

    ``blocked_since``: since when the write in progress has got nowhere.
    """

    __slots__ = (
        "_chunked", "_connection", "_missing", "_parts", "_slow", "_waiter", "_waiting_since", "_whole", "answered",
        "blocked_since", "closing", "gone", "head", "method", "query", "scheme", "streaming", "target", "task",
        "version",
    )  # fmt: skip

    def __init__(self, connection: CallerConnection, parsed: RequestHead) -> None:
        self._connection = connection
        self.method = parsed.method
        self.target = parsed.target
        self.query = parsed.query
        self.version = parsed.version
        self.head = parsed.head
        self.scheme = connection.scheme
        # a length that cannot be trusted means that nothing behind this request can be: answer and close
        self.closing = not parsed.keep_alive or parsed.length is None
        self._missing: int = parsed.length or 0
        self._whole = parsed.length or 0
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._slow = False
        self._chunked = parsed.version == "1.1"
        self.task: asyncio.Task[Any] | None = None
        self.gone = False
        self.answered = False
        self.streaming = False
        self.blocked_since: float | None = None

    @property
    def client(self) -> str:
        """The caller's address, without its port."""
        return self._connection.peer

    @property
    def missing(self) -> int:
        """Declared bytes of the body that are not here yet."""
        return self._missing

    # ------------------------------------------------------------------------------------------ body

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what lies behind it."""
        rest = b""
        if len(data) > self._missing:
            data, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(data)
        if not self.answered and data:
            self._parts.append(data)
        if not self._missing and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return rest

    async def body(self) -> bytes:
        """The whole body. Raises Refusal 408 when it comes too slowly; a caller that leaves cancels the task."""
        if self._missing:
            if self.version == "1.1" and self.head.values.get("expect", "").lower() == "100-continue":
                self._connection.write(_CONTINUE)  # HTTP/1.0 knows no interim answers
            await self._arrival()
            if self._slow:
                raise Refusal(408, "request_timeout", "the body came too slowly", reason="slow_body", close=True)
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def drained(self) -> bool:
        """Throw a refused request's body away; False when it is too much or too slow, so the connection must close."""
        self._parts.clear()
        if self._whole > DRAIN_BYTES:
            return False
        if not self._missing:
            return True
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._arrival()
        except TimeoutError:
            return False
        return True

    async def _arrival(self) -> None:
        loop = self._connection.loop
        self._waiting_since = loop.time()
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # ---------------------------------------------------------------------------------------- answer

    def respond(self, plain: Plain, *, head_only: bool = False) -> None:
        """A complete answer: head and body in one write."""
        lines = [f"content-type: {plain.content_type}\r\ncontent-length: {len(plain.body)}\r\n"]
        for name, value in plain.headers:
            if name != "connection":
                lines.append(f"{name}: {value}\r\n")
            elif value == "close":
                self.closing = True
        if self._whole > DRAIN_BYTES and (self._missing or self._parts):  # a large body that nobody took
            self.closing = True
        head = response_head(plain.status, lines, self._connection_header())
        self.answered = True  # only now: a defect before this line can still be told
        self._connection.write(head if head_only else head + plain.body)

    async def start(self, headers: list[tuple[str, str]]) -> None:
        """The head of a stream of events. Raises CallerGone."""
        self.begin(200, [*_STREAM_HEADERS, *headers])

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """The head of an answer that ``send`` goes on with: as it is where a content-length is given, else in chunks.

        Raises CallerGone.
        """
        if self.gone:
            raise CallerGone
        if any([name == "content-length" for name, _ in headers]):
            self._chunked = False
        elif self._chunked:
            headers = [*headers, ("transfer-encoding", "chunked")]
        else:  # HTTP/1.0 knows no chunks: the body ends with the connection
            self.closing = True
        head = response_head(status, header_lines(headers), self._connection_header())
        self.answered = self.streaming = True
        self._connection.write(head)

    async def send(self, data: bytes) -> None:
        """Part of an answer that has begun; waits while the caller reads too slowly. Raises CallerGone."""
        if self.gone:
            raise CallerGone
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self._connection.full:
            self.blocked_since = self._connection.loop.time()
            await self._connection.drained()
            self.blocked_since = None

    def break_off(self) -> None:
        """End the connection: an answer cut short must not look complete."""
        self.gone = True
        self._connection.abort()

    def end(self) -> None:
        """The handler is done: finish the answer, or break the connection off when there is none."""
        if self.gone:
            return
        if self.streaming and self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._connection.ended(self)

    def _connection_header(self) -> str:
        if self.closing or self._connection.retiring:
            self.closing = True
            return CLOSE
        return "\r\n" if self.version == "1.1" else "connection: keep-alive\r\n\r\n"

    # ------------------------------------------------------------------------------------------ time

    def look(self, now: float, limits: Any) -> None:
        """Called every so often: a body or a reader that is too slow ends here."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._too_slow(now - self._waiting_since, limits):
            self._slow = True
            waiter.set_result(None)
        if self.blocked_since is not None and now - self.blocked_since > limits.idle_timeout_s:
            self._connection.abort()

    def _too_slow(self, waited: float, limits: Any) -> bool:
        if waited >= limits.body_deadline_s:
            return True
        received = self._whole - self._missing
        return bool(limits.body_min_rate) and waited >= GRACE_S and received < limits.body_min_rate * waited

    def leave(self) -> None:
        """The caller closed its connection: whatever is done for it stops."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()
