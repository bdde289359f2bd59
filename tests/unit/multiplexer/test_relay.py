"""The relay in the one moment in which the engine's head and something else come together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from anvil.multiplexer.config import MultiplexerConfig
from anvil.multiplexer.relay import Relay
from anvil.multiplexer.standing import Lease, Resident
from anvil.router.exchange import CallerGone
from anvil.router.upstream import UpstreamError
from tests.unit.multiplexer.parts import Lines, row

ROW = row("a")


class Answer:
    """An engine's connection."""

    status = 200
    headers: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self) -> None:
        self.aborted = ""

    def abort(self, reason: str) -> None:
        self.aborted = reason

    def finish(self) -> None:
        return

    async def next(self, silence: float) -> bytes:
        if self.aborted:
            raise UpstreamError(self.aborted)
        return b""


class Request:
    head: ClassVar[dict[str, str]] = {}
    streaming = False

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.streaming = True

    def break_off(self) -> None:
        return


def relay(lease: Lease, answer: Answer, meanwhile: Any) -> Relay:
    """``meanwhile`` is called after the head has come and before the request goes on."""

    @asynccontextmanager
    async def leased(_: str) -> AsyncIterator[Lease]:
        yield lease

    async def send(*_: object, **__: object) -> Answer:
        asyncio.get_running_loop().call_soon(meanwhile)
        return answer

    made = Relay(MultiplexerConfig(registry=(ROW,)), Lines())
    made.residency = SimpleNamespace(lease=leased)  # type: ignore[assignment]
    made._upstreams = {ROW.name: SimpleNamespace(send=send)}  # type: ignore[dict-item]
    return made


async def test_a_caller_that_leaves_as_the_head_comes_lets_the_engine_go() -> None:
    answer = Answer()
    task: asyncio.Task[Any]
    made = relay(Lease(Resident(ROW, 0.0, "")), answer, lambda: task.cancel())
    task = asyncio.create_task(made.serve("a", "/v1/chat/completions", {}, b"{}", Request()))  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await task
    assert answer.aborted == "the caller has left"


async def test_a_cut_that_comes_as_the_head_comes_cuts() -> None:
    answer, lease = Answer(), Lease(Resident(ROW, 0.0, ""))
    made = relay(lease, answer, lease.cut)
    with pytest.raises(CallerGone):
        await made.serve("a", "/v1/chat/completions", {}, b"{}", Request())  # type: ignore[arg-type]
    assert answer.aborted == "cut"
