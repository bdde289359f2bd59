"""Callers that leave, at every stage of a request, by close and by reset (contract 24, figures 10 and 11)."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
from dataclasses import dataclass, field

from tests.router import tier as t
from tests.router.conftest import config_toml, tier_toml
from tests.soak.house import ROUTER, Held, House, house

AT_ONCE = 32
SETTLE_S = 2.0
LATE_S = 1.0
GIVE_UP_S = 5.0
# the caller of a live stream leaves after this; the tier's id makes its answers to a chat leave unjudged
LIVE = b"some"
_CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": '}}
_TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
_QUIET = 60.0


@dataclass(frozen=True)
class Stage:
    """How far the request is when its caller leaves. ``part``: how much of the body was sent."""

    name: str
    script: t.Script
    stream: bool
    live: bool = False
    part: float = 1.0


STAGES = (
    Stage("in its own body", t.Script([_QUIET]), stream=True, part=0.5),
    Stage("tier silent, whole answer", t.Script([_QUIET]), stream=False),
    Stage("tier silent, stream", t.Script([_QUIET]), stream=True),
    Stage("half an answer read", t.Script([b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", _QUIET]), stream=False),
    Stage("stream held", t.sse(t.chunk({"role": "assistant", "tool_calls": [_CALL]}), _QUIET), stream=True),
    Stage("stream live", t.sse(t.chunk({"content": LIVE.decode()}), _QUIET), stream=True, live=True),
)


class Watched(t.Tier):
    """A tier that notes when each call began to be answered and when it was cancelled, by the word in its body."""

    def __init__(self) -> None:
        super().__init__(self._named)
        self.script = t.Script([])
        self.begun: set[str] = set()
        self.ended: dict[str, float] = {}
        self._of: dict[int, str] = {}

    def _named(self, request: t.Received) -> t.Script:
        if request.method != "POST":
            return t.response(200, b'{"data":[]}')
        word = str(request.json["messages"][-1]["content"])
        self.begun.add(word)
        script = t.Script(self.script.steps)
        self._of[id(script)] = word
        return script

    async def _play(self, script: t.Script, writer: asyncio.StreamWriter) -> None:
        word = self._of.pop(id(script), "")
        try:
            await super()._play(script, writer)
        except asyncio.CancelledError:
            self.ended[word] = time.monotonic()
            raise
        except ConnectionError:  # a write met the closed connection before the watching read did
            self.ended[word] = time.monotonic()


@dataclass
class Storm:
    """What one stage showed. Delays in seconds, from the caller's leaving to the tier's seeing it."""

    stage: str
    runs: int
    expected: int
    delays: list[float] = field(default_factory=list)
    before: Held | None = None
    after: Held | None = None
    tier_sockets: int = 0
    settled_s: float = 0.0

    @property
    def in_time(self) -> float:
        return sum(delay <= LATE_S for delay in self.delays) / self.expected if self.expected else 1.0

    @property
    def empty(self) -> bool:
        """Whether nothing stayed behind."""
        assert self.before is not None
        assert self.after is not None
        return self.tier_sockets == 0 and _none_more(self.before, self.after)

    @property
    def reached(self) -> bool:
        # a caller that leaves in its own body must cost no call at all
        return self.in_time >= 0.999 and self.empty and (self.expected > 0 or not self.delays)


def run(runs: int) -> list[Storm]:
    """Every stage, ``runs`` callers each, on one router."""
    tier = Watched()
    tier.start()
    text = config_toml(tier_toml("fast-local", tier.url), server="max_concurrency = 256", router=ROUTER)
    try:
        with house(text) as made:
            asyncio.run(_stage(made, tier, STAGES[2], AT_ONCE))  # warm: modules loaded, threads started
            return [asyncio.run(_stage(made, tier, stage, runs)) for stage in STAGES]
    finally:
        tier.stop()


async def _stage(made: House, tier: Watched, stage: Stage, runs: int) -> Storm:
    tier.script = stage.script
    tier.begun.clear()
    tier.ended.clear()
    storm = Storm(stage.name, runs, runs if stage.part == 1.0 else 0)
    storm.before = await _at_rest(made, None)
    seats = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_one(made, tier, stage, number, seats, storm) for number in range(runs)))
    began = time.monotonic()
    while tier.open and time.monotonic() < began + SETTLE_S:
        await asyncio.sleep(0.01)
    storm.after = await _at_rest(made, storm.before)
    storm.settled_s = time.monotonic() - began
    storm.tier_sockets = tier.open
    if not storm.expected:  # what the tier saw of them, which should be nothing
        storm.delays = [0.0 for _ in tier.begun]
    return storm


async def _at_rest(made: House, before: Held | None) -> Held:
    """What is held once it is no more than before, or after SETTLE_S."""
    end = time.monotonic() + SETTLE_S
    while True:
        held = await asyncio.to_thread(made.held)
        if time.monotonic() > end or (before is not None and _none_more(before, held)):
            return held
        await asyncio.sleep(0.05)
        if before is None and held.in_flight == 0:
            return held


def _none_more(before: Held, after: Held) -> bool:
    return (
        after.sockets <= before.sockets
        and after.tasks <= before.tasks
        and after.threads <= before.threads
        and after.in_flight == 0
    )


async def _one(made: House, tier: Watched, stage: Stage, number: int, seats: asyncio.Semaphore, storm: Storm) -> None:
    async with seats:
        word = f"{stage.name} {number}"
        left = await _leave(made.port, tier, stage, word, reset=number % 2 == 1)
        if not storm.expected:
            return
        while word not in tier.ended and time.monotonic() < left + GIVE_UP_S:
            await asyncio.sleep(0.005)
        if word in tier.ended:
            storm.delays.append(tier.ended[word] - left)


async def _leave(port: int, tier: Watched, stage: Stage, word: str, *, reset: bool) -> float:
    """Ask, go as far as the stage says, leave; the time of leaving."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps(
        {
            "model": "chat",
            "stream": stage.stream,
            "tools": [_TOOL],
            "messages": [{"role": "user", "content": "go"}, {"role": "user", "content": word}],
        }
    ).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    writer.write(head + body[: int(len(body) * stage.part)])
    await writer.drain()
    end = time.monotonic() + GIVE_UP_S
    while stage.part == 1.0 and word not in tier.begun and time.monotonic() < end:
        await asyncio.sleep(0.003)
    if stage.live:
        await asyncio.wait_for(reader.readuntil(LIVE), GIVE_UP_S)
    await asyncio.sleep(random.uniform(0, 0.03))
    if reset:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    left = time.monotonic()
    if reset:
        writer.transport.abort()
    else:
        writer.close()
    return left
