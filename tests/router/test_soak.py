"""The soak itself, in small: its figures hold here too, and its instruments see what does stay behind."""

from __future__ import annotations

import asyncio
import json

from tests.router import tier as t
from tests.router.conftest import config_toml, tier_toml
from tests.soak import flapping, storm
from tests.soak.house import ROUTER, Held, House, house


def test_callers_that_leave_at_any_stage_leave_nothing_behind() -> None:
    for one in storm.run(8):
        assert one.reached, one


def test_a_flapping_tier_costs_few_attempts_and_no_answer() -> None:
    result = flapping.run("coin", flapping.coin(), 1.5)
    assert result.requests > 100
    assert not result.failed
    assert result.attempts <= 1.3, result  # the figure is judged over a minute
    assert result.opened


def test_what_is_still_in_flight_shows_in_tasks_sockets_and_gauges() -> None:
    tier = t.Tier(lambda _: t.Script([20.0])).start()
    try:
        with house(config_toml(tier_toml("fast-local", tier.url), router=ROUTER)) as made:
            before, during = made.held(), asyncio.run(_during(made))
    finally:
        tier.stop()
    assert during.tasks > before.tasks
    assert during.sockets >= before.sockets + 2
    assert during.in_flight == 2  # at the lane and at the tier


async def _during(made: House) -> Held:
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "go"}]}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", made.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    await asyncio.sleep(0.3)
    held = await asyncio.to_thread(made.held)
    writer.close()
    return held
