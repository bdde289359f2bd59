"""Places at a tier, and small questions asked of one: who leaves gives way, who drips is not waited for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from anvil.router.backends import Busy, Places, fetch
from anvil.router.upstream import Upstream, UpstreamError


async def waiting(places: Places) -> asyncio.Task[None]:
    before = places.waiting
    task = asyncio.create_task(places.take(30))
    while places.waiting == before:
        await asyncio.sleep(0)
    return task


async def test_a_caller_that_leaves_while_waiting_is_cancelled_and_not_told_that_the_tier_is_busy() -> None:
    places = Places(1)
    assert places.take_free()
    task = await waiting(places)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (places.in_flight, places.waiting) == (1, 0)


async def test_a_place_given_to_a_caller_that_leaves_at_that_moment_goes_to_the_next() -> None:
    places = Places(1)
    assert places.take_free()
    leaving, next_ = await waiting(places), await waiting(places)
    places.release()
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(next_, 5)
    assert (places.in_flight, places.waiting) == (1, 0)


async def test_waiting_ends_with_its_time() -> None:
    places = Places(1)
    assert places.take_free()
    with pytest.raises(Busy):
        await places.take(0.01)
    assert (places.in_flight, places.waiting) == (1, 0)


async def test_a_body_that_drips_is_not_waited_for_longer_than_asked() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    upstream = Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connect_timeout=5)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(UpstreamError):
                await fetch(upstream, "/v1/models", 0.3)
    finally:
        upstream.close()
        server.close()
        await asyncio.sleep(0.05)  # the dripping tier sees that nobody listens
