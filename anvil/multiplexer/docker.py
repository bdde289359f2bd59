"""Containers through the Docker Engine's socket: four calls, each naming one container of the registry.

API: https://docs.docker.com/reference/api/engine/ ; paths without a version mean the daemon's newest.
"""

from __future__ import annotations

import asyncio
import struct
from urllib.parse import quote

import httptools
import msgspec
from msgspec import Struct

from anvil.multiplexer.config import Row
from anvil.multiplexer.containers import ContainerError, State

CALL_S = 10.0
# A stop takes as long as the container's own grace period (compose's stop_grace_period), then it is killed.
STOP_S = 660.0
TAIL_LINES = 20
ANSWER_CAP = 4_194_304
_FRAME = struct.Struct(">BxxxI")


class _State(Struct, rename="pascal"):
    running: bool = False
    restarting: bool = False
    exit_code: int = 0
    started_at: str = ""


class _Inspected(Struct, rename="pascal"):
    state: _State


class _Message(Struct):
    message: str = ""


class Answer:
    """httptools' callback object: one response, read whole."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class Docker:
    """The containers of one daemon. ``socket`` is the path of its unix socket."""

    def __init__(self, socket: str) -> None:
        self._socket = socket

    async def start(self, row: Row) -> None:
        await self._call("POST", row, "start", good=(204, 304), limit=CALL_S * 3)

    async def stop(self, row: Row) -> None:
        await self._call("POST", row, "stop", good=(204, 304), limit=STOP_S)

    async def inspect(self, row: Row) -> State:
        """One that was never created is not running."""
        body = await self._call("GET", row, "json", good=(200, 404))
        try:
            state = msgspec.json.decode(body, type=_Inspected).state
        except msgspec.ValidationError:
            return State(running=False)
        except msgspec.DecodeError:
            raise ContainerError(f"docker's answer about {row.container} is not JSON") from None
        # Docker calls a container running while it waits to restart it after a crash.
        running = state.running and not state.restarting
        return State(running, None if running else state.exit_code, state.started_at)

    async def tail(self, row: Row) -> str:
        query = f"logs?stdout=1&stderr=1&tail={TAIL_LINES}"
        return unframed(await self._call("GET", row, query, good=(200,))).decode(errors="replace")

    async def release(self) -> None:
        """Nothing is held: containers outlive us, and the next start adopts them."""

    async def _call(self, method: str, row: Row, what: str, *, good: tuple[int, ...], limit: float = CALL_S) -> bytes:
        path = f"/containers/{quote(row.container, safe='')}/{what}"
        try:
            async with asyncio.timeout(limit):
                status, body = await self._exchange(f"{method} {path} HTTP/1.1".encode())
        except TimeoutError:
            raise ContainerError(f"docker did not answer within {limit:g} s") from None
        except OSError as error:
            raise ContainerError(f"docker's socket {self._socket}: {error.strerror or error}") from None
        except httptools.HttpParserError:
            raise ContainerError("docker's answer is not HTTP") from None
        if status not in good:
            raise ContainerError(f"docker answers {status}: {_reason(body)}")
        return body

    async def _exchange(self, request_line: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        answer = Answer()
        parser = httptools.HttpResponseParser(answer)
        try:
            writer.write(request_line + b"\r\nhost: docker\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            while not answer.complete and (data := await reader.read(65_536)):
                parser.feed_data(data)
                if len(answer.body) > ANSWER_CAP:
                    raise ContainerError("docker's answer is too large")
        finally:
            writer.close()
        if not answer.complete and not answer.body:
            raise ContainerError("docker closed the connection without an answer")
        return parser.get_status_code(), bytes(answer.body)


def unframed(data: bytes) -> bytes:
    """Log output without the 8-byte frame heads that Docker puts before it for containers without a terminal."""
    parts = []
    at = 0
    while len(data) - at >= _FRAME.size:
        stream, size = _FRAME.unpack_from(data, at)
        if stream > 2 or data[at + 1 : at + 4] != b"\0\0\0":
            return data
        at += _FRAME.size
        parts.append(data[at : at + size])
        at += size
    return b"".join(parts)


def _reason(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Message).message[:300]
    except msgspec.DecodeError:
        return body[:300].decode(errors="replace")
