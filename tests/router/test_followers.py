"""Readers who follow decisions do not hold up a reload: they are let go at once and resume at the new worker."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import httpx

from tests.router.conftest import Running, config_toml, tier_toml
from tests.router.tier import Tier

BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def test_a_reload_lets_followers_go_at_once(tier: Callable[..., Tier], router: Callable[..., Running]) -> None:
    one = tier_toml("fast-local", tier().url)
    running = router(config_toml(one))
    with running.client.stream("GET", "/v1/decisions", params={"follow": "1"}) as following:
        lines = following.iter_lines()
        assert next(lines) == ": anvil"
        running.config.write_text(config_toml(one, router="swap_idle_s = 101"))
        running.process.send_signal(signal.SIGHUP)
        begin = time.monotonic()
        assert "event: decision" not in list(lines)  # the end of the stream, not the drain deadline 30 s later
        assert time.monotonic() - begin < 10
    deadline = time.monotonic() + 10
    while "reloaded: configuration" not in running.logged():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with httpx.Client(base_url=running.url, trust_env=False) as fresh:  # the old worker still answers where it is known
        last = fresh.post("/v1/chat/completions", json=BODY).headers["x-anvil-decision"]
        resume = {"last-event-id": "dec_" + "0" * 24}
        with fresh.stream("GET", "/v1/decisions", params={"follow": "1"}, headers=resume) as again:
            assert f"id: {last}" in [line for line, _ in zip(again.iter_lines(), range(5), strict=False)]
