"""The tier client against raw sockets: reuse, retry of stale connections, caps, silence, cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from anvil.router.upstream import Upstream, UpstreamError, header_block

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@asynccontextmanager
async def tier(handler: Handler) -> AsyncIterator[Upstream]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Upstream(f"http://127.0.0.1:{port}/v1", connect_timeout=1)
    try:
        yield client
    finally:
        client.close()
        server.close()
        await asyncio.sleep(0.01)


async def request_of(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


async def whole(client: Upstream, body: bytes = b"{}") -> bytes:
    connection = await client.send("POST", "/v1/x", body, head_timeout=1)
    data = b""
    while part := await connection.next(1):
        data += part
    connection.finish()
    return data


async def test_one_connection_serves_many_requests_and_sends_head_and_body_together() -> None:
    seen: list[bytes] = []
    connections = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            try:
                seen.append(await request_of(reader))
            except asyncio.IncompleteReadError:
                return
            writer.write(OK)

    async with tier(handler) as client:
        assert [await whole(client) for _ in range(3)] == [b"hi"] * 3
        assert client.open_sockets == 1
    assert connections == 1
    assert seen[0].startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"accept-encoding: identity" in seen[0]


async def test_a_reused_connection_that_died_is_retried_once_on_a_fresh_one() -> None:
    count = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await request_of(reader)
        writer.write(OK)
        await writer.drain()
        if count == 1:
            await request_of(reader)  # takes the second request, then closes without a byte

    async with tier(handler) as client:
        assert await whole(client) == b"hi"
        assert await whole(client) == b"hi"
    assert count == 2


async def test_a_request_that_ends_its_server_is_told_from_one_that_was_never_sent() -> None:
    """Whoever starts a server again on a refused connection must not send what has just killed it."""
    servers: list[asyncio.Server] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK)
        await request_of(reader)
        servers[0].close()  # nobody listens any more when the connection ends
        writer.close()

    servers.append(await asyncio.start_server(handler, "127.0.0.1", 0))
    client = Upstream(f"http://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}/v1", connect_timeout=1)
    assert await whole(client) == b"hi"
    with pytest.raises(UpstreamError, match="reset"):
        await whole(client)
    with pytest.raises(UpstreamError, match="connect"):
        await whole(client)
    client.close()


async def test_a_fresh_connection_that_dies_is_not_retried() -> None:
    count = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await request_of(reader)

    async with tier(handler) as client:
        with pytest.raises(UpstreamError, match="reset"):
            await whole(client)
    assert count == 1


async def test_silence_is_limited_before_the_head_and_between_reads() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await asyncio.sleep(5)

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        await asyncio.sleep(5)

    async with tier(mute) as client:
        with pytest.raises(UpstreamError, match="silence limit"):
            await client.send("POST", "/", b"", head_timeout=0.05)
        await asyncio.sleep(0.02)
        assert client.open_sockets == 0
    async with tier(stall) as client:
        connection = await client.send("POST", "/", b"", head_timeout=1)
        assert await connection.next(1) == b"abc"
        with pytest.raises(UpstreamError, match="silence limit"):
            await connection.next(0.05)
        connection.finish()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "reset"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "reset"),
        (b"garbage\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", "too large|malformed"),
    ],
)
async def test_cut_and_malformed_answers_are_errors(answer: bytes, reason: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer)

    async with tier(handler) as client:
        with pytest.raises(UpstreamError, match=reason):
            await whole(client)


async def test_a_body_without_length_ends_with_the_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

    async with tier(handler) as client:
        assert await whole(client) == b"all of it"


async def test_leaving_early_closes_the_socket_so_the_tier_sees_the_cancel() -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nabc")
        await reader.read()
        gone.set()

    async with tier(handler) as client:
        connection = await client.send("POST", "/", b"", head_timeout=1)
        await connection.next(1)
        connection.finish()
        await asyncio.wait_for(gone.wait(), 1)
        assert client.open_sockets == 0


async def test_a_slow_reader_pauses_the_tier() -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        total = 64 * 1_048_576
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        for _ in range(64):
            writer.write(b"x" * 1_048_576)
            await writer.drain()
            sent += 1

    async with tier(handler) as client:
        connection = await client.send("POST", "/", b"", head_timeout=1)
        await asyncio.sleep(0.3)
        assert sent < 40
        got = 0
        while part := await connection.next(2):
            got += len(part)
        assert got == 64 * 1_048_576
        connection.finish()


async def test_refused_and_black_holed_connects_are_labelled() -> None:
    with pytest.raises(UpstreamError, match="connect ConnectionRefusedError"):
        await Upstream("http://127.0.0.1:9", connect_timeout=1).send("GET", "/", b"", head_timeout=1)


def test_header_values_that_could_split_a_request_are_refused() -> None:
    with pytest.raises(ValueError, match="x-a"):
        header_block([("x-a", "1\r\nx-b: 2")])
