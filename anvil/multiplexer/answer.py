"""The caller's side of a relayed answer: an engine's status and headers, then its bytes as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anvil.router.exchange import CallerGone

if TYPE_CHECKING:
    from anvil.router.http_request import HttpRequest


class Answer:
    """Over the router's HttpRequest, whose own streams are always a 200 of events."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.started = False

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send the head. With a content-length the body is sent as it is, else in chunks. Raises CallerGone."""
        request = self._request
        if request.gone:
            raise CallerGone
        sized = any(name == "content-length" for name, _ in headers)
        if sized:
            request._chunked = False
        elif not request._chunked:  # HTTP/1.0 knows no chunks: the body ends with the connection
            request.closing = True
        request.answered = request.streaming = self.started = True
        lines = [
            f"HTTP/1.1 {status} \r\nserver: anvil\r\n",
            *[f"{name}: {value}\r\n" for name, value in headers],
            "transfer-encoding: chunked\r\n" if request._chunked else "",
            request._connection_header(),
        ]
        request._connection.write("".join(lines).encode("latin-1", "replace"))

    async def send(self, data: bytes) -> None:
        """Raises CallerGone."""
        await self._request.send(data)

    def break_off(self) -> None:
        """End the connection: an answer cut short must not look complete."""
        self._request.gone = True
        self._request._connection.abort()
