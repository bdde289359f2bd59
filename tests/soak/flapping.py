"""One tier that fails half of the time, one healthy tier behind it, callers without a pause (contract 24, figure 9)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from tests.router import tier as t
from tests.router.conftest import config_toml, tier_toml
from tests.soak.house import ROUTER, House, house

CALLERS = 16
ANSWER_S = 0.02
SEED = 20
TEXT = "an answer of some words"
# before commit an answer of another tier is still possible; after it a cut can only be told, so it is not in here
FAILURES: dict[str, t.Script] = {
    "500": t.response(500, b'{"error":{"message":"broken"}}'),
    "closed": t.Script([], close=True),
    "reset": t.Script([], reset=True),
    "not JSON": t.response(200, b"<html>"),
    "cut head": t.Script([b"HTTP/1.1 200 OK\r\ncontent-"], close=True),
}
Flap = Callable[[int, float], bool]


@dataclass
class Flapping:
    """What one run showed."""

    name: str
    seconds: float
    requests: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    opened: float = 0

    @property
    def success(self) -> float:
        return 1 - sum(self.failed.values()) / self.requests

    @property
    def attempts(self) -> float:
        """Calls the tiers saw, per request."""
        return sum(self.calls.values()) / self.requests

    @property
    def reached(self) -> bool:
        return self.success >= 0.999 and self.attempts <= 1.2


def coin() -> Flap:
    """Every answer fails with probability one half; the series is the same in every run."""
    chance = random.Random(SEED)
    return lambda _count, _now: chance.random() < 0.5


def waves(period_s: float) -> Flap:
    """Down for half of each period."""
    return lambda _count, now: now % period_s < period_s / 2


def alternating() -> Flap:
    """Every second answer fails: never two failures in a row, were there one caller."""
    return lambda count, _now: count % 2 == 0


def run(name: str, flap: Flap, seconds: float, *, router: str = "") -> Flapping:
    """Drive the router for ``seconds``. ``router``: tables put behind ``[router]``."""
    result = Flapping(name, seconds)
    bad = t.Tier(_bad(flap, result.calls)).start()
    good = t.Tier(_good(result.calls)).start()
    text = config_toml(tier_toml("flapping", bad.url), tier_toml("steady", good.url), router=ROUTER + router)
    try:
        with house(text) as made:
            asyncio.run(_load(made, result))
            result.opened = made.total("anvil_breaker_opened_total")
    finally:
        bad.stop()
        good.stop()
    return result


def _bad(flap: Flap, calls: Counter[str]) -> t.Behaviour:
    good = _good(calls, "flapping")
    kinds = list(FAILURES.values())

    def behave(request: t.Received) -> t.Script:
        script = good(request)
        assert isinstance(script, t.Script)
        count = calls["flapping"]
        failing = request.method == "POST" and flap(count, time.monotonic())
        return kinds[count // 2 % len(kinds)] if failing else script

    return behave


def _good(calls: Counter[str], name: str = "steady") -> t.Behaviour:
    answer = t.auto(TEXT)

    def behave(request: t.Received) -> t.Script:
        if request.method == "POST":
            calls[name] += 1
        script = answer(request)
        assert isinstance(script, t.Script)
        return t.Script([ANSWER_S, *script.steps])

    return behave


async def _load(made: House, result: Flapping) -> None:
    end = time.monotonic() + result.seconds
    limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
    async with httpx.AsyncClient(base_url=made.running.url, timeout=30, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(_caller(client, number, end, result) for number in range(CALLERS)))


async def _caller(client: httpx.AsyncClient, number: int, end: float, result: Flapping) -> None:
    stream = number % 2 == 0
    body = {"model": "chat", "stream": stream, "messages": [{"role": "user", "content": f"from caller {number}"}]}
    while time.monotonic() < end:
        result.requests += 1
        try:
            answer = await client.post("/v1/chat/completions", json=body)
        except httpx.TransportError as error:
            result.failed[type(error).__name__] += 1
            continue
        if answer.status_code != 200:
            result.failed[str(answer.status_code)] += 1
        elif not _whole(answer.text, stream):
            result.failed["cut"] += 1


def _whole(text: str, stream: bool) -> bool:
    if stream:
        return json.dumps(TEXT) in text and text.rstrip().endswith("data: [DONE]")
    return bool(json.loads(text)["choices"][0]["message"]["content"] == TEXT)
