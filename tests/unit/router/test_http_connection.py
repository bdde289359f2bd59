"""A caller's connection without a socket: who waits for the caller to read, and empty lines before a request."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from anvil.router.config import ServerConfig
from anvil.router.exchange import Plain
from anvil.router.http_connection import CallerConnection
from anvil.router.http_request import HttpRequest

GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default


def connected(handler: Any) -> tuple[CallerConnection, Wire]:
    wire = Wire()
    connection = CallerConnection(
        asyncio.get_running_loop(), handler, ServerConfig(), set(), lambda reason: None, "http"
    )
    connection.connection_made(wire)
    return connection, wire


async def hello(request: HttpRequest) -> None:
    request.respond(Plain(200, b"{}"))
    request.end()


async def paused() -> tuple[Any, asyncio.Task[None], asyncio.Task[None]]:
    """A connection whose caller does not read, and a stream and its keep-alive comment that wait for it."""
    connection, _ = connected(hello)
    connection.pause_writing()
    stream = asyncio.create_task(connection.drained())
    comment = asyncio.create_task(connection.drained())
    await asyncio.sleep(0)
    return connection, stream, comment


async def test_a_stream_and_its_keep_alive_comment_both_go_on_when_the_caller_reads_again() -> None:
    connection, stream, comment = await paused()
    connection.resume_writing()
    await asyncio.wait_for(asyncio.gather(stream, comment), 5)


async def test_a_comment_that_is_given_up_leaves_the_stream_waiting_for_its_caller() -> None:
    connection, stream, comment = await paused()
    comment.cancel()
    await asyncio.wait([comment])
    assert not stream.done()
    connection.connection_lost(None)
    await asyncio.wait_for(stream, 5)


async def test_empty_lines_before_a_request_are_passed_over_in_one_go() -> None:
    connection, wire = connected(hello)
    began = time.process_time()
    connection.data_received(b"\r\n" * 2**21 + GET)
    assert time.process_time() - began < 5  # one copy for each of them would take minutes
    await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200 ")
