"""Endpoints that never stop talking: what the lab reads of them is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from anvil.lab import chat, reach
from anvil.lab.endpoint import Endpoint

ENDPOINT = Endpoint("http://127.0.0.1:9/v1", "m")


class Endless(httpx.AsyncByteStream):
    """Talks without end; a reader without a bound fails the test instead of filling the memory."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000
        pytest.fail("read on and on")


class Dripping(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "


def client(status: int, stream: httpx.AsyncByteStream) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(status, stream=stream)))


async def test_a_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "WHOLE_CAP", 100_000)
    async with client(200, Endless()) as http:
        with pytest.raises(chat.Failure, match="larger than") as raised:
            await chat.complete(http, ENDPOINT, {}, 60)
    assert raised.value.kind == "malformed"


async def test_a_refusal_keeps_its_status() -> None:
    async with client(500, Endless()) as http:
        with pytest.raises(chat.Failure) as raised:
            await chat.complete(http, ENDPOINT, {}, 60)
    assert raised.value.kind == "http_500"


async def test_the_list_of_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "WHOLE_CAP", 100_000)
    async with client(200, Endless()) as http:
        assert (await reach.look(http, ENDPOINT)).window is None


async def test_a_list_that_only_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "LIST_S", 0.2)
    monkeypatch.setattr(reach, "PROBE_S", 0.2)
    async with asyncio.timeout(30), client(200, Dripping()) as http:
        assert (await reach.look(http, ENDPOINT)).window is None


async def test_a_health_page_is_not_read() -> None:
    async with client(200, Endless()) as http:
        await reach.reach(http, ENDPOINT)
