"""Contract 2.3, 2.4, 2.12, 15.4, 17: lanes, caps, token counts, rests and the measured time of the router itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import ROOT, Running, config_toml, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}


def ask(router: Running, **body: Any) -> httpx.Response:
    return router.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI]} | body)


def metric(router: Running, line: str) -> float:
    """The value of the sample that starts with ``line``."""
    for row in router.client.get("/metrics").text.splitlines():
        if row.startswith(line):
            return float(row.rsplit(" ", 1)[1])
    raise AssertionError(f"no sample {line}")


def test_a_rest_the_tier_asked_for_is_told_and_does_not_make_the_router_unready(tier: Tiers, router: Routers) -> None:
    limited = tier(lambda _: t.response(429, b"{}", retry_after="7"))
    running = router(config_toml(tier_toml("only", limited.url)))
    first = ask(running)
    assert first.status_code == 503
    assert first.headers["retry-after"] == "7"
    assert running.last()["attempts"][0]["outcome"] == "rate-limited"
    second = ask(running)
    assert (second.status_code, len(limited.seen)) == (503, 1)
    assert 1 <= int(second.headers["retry-after"]) <= 7
    assert second.headers["x-anvil-attempts"] == "0"
    assert running.last()["attempts"][0]["outcome"] == "resting"
    row = running.client.get("/readyz").json()
    assert row["status"] == "ready"
    assert row["tiers"][0]["breaker"] == "resting"
    assert 0 < row["tiers"][0]["resting_s"] <= 7
    advice = running.client.post("/v1/route", json={"model": "chat"})
    assert advice.status_code == 503
    assert 1 <= int(advice.headers["retry-after"]) <= 7
    assert metric(running, 'anvil_breaker_state{tier="only",work_class=""}') == 3


def test_an_open_breaker_makes_the_router_unready_and_says_until_when(tier: Tiers, router: Routers) -> None:
    running = router(
        config_toml(
            tier_toml("only", tier(lambda _: t.response(500, b"{}")).url), router="[router.breaker]\ncooldown_s = 30"
        )
    )
    assert "retry-after" not in ask(running).headers
    ask(running)
    ready = running.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
    assert ready.json()["tiers"][0]["breaker"] == "open"
    assert 25 <= int(ask(running).headers["retry-after"]) <= 30
    assert metric(running, 'anvil_breaker_state{tier="only",work_class=""}') == 2


def test_a_mixed_failure_carries_no_retry_after(tier: Tiers, router: Routers) -> None:
    limited, broken = tier(lambda _: t.response(429, b"{}", retry_after="7")), tier(lambda _: t.response(500, b"{}"))
    running = router(config_toml(tier_toml("one", limited.url), tier_toml("two", broken.url)))
    assert "retry-after" not in ask(running).headers


@pytest.mark.parametrize("stream", [False, True])
def test_overhead_is_the_routers_own_time_not_the_tiers(tier: Tiers, router: Routers, stream: bool) -> None:
    body = t.chat("slow").steps[0]
    assert isinstance(body, bytes)

    def dawdle(request: t.Received) -> t.Script | Awaitable[t.Script]:
        if request.json.get("stream"):
            return t.chat_stream("a", "b", "c", pause=0.15)
        return t.Script([0.2, body[:-40], 0.3, body[-40:]])

    running = router(config_toml(tier_toml("only", tier(dawdle).url)))
    assert ask(running, stream=stream).status_code == 200
    assert metric(running, 'anvil_overhead_seconds_count{endpoint="chat"}') == 1
    assert 0 < metric(running, 'anvil_overhead_seconds_sum{endpoint="chat"}') < 0.2
    assert metric(running, "gen_ai_server_request_duration_seconds_sum") > 0.4


def test_a_slow_body_is_the_callers_time(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier().url)))
    body = json.dumps({"model": "chat", "messages": [HI]}).encode()
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        time.sleep(0.4)
        sock.sendall(body)
        assert sock.recv(100)[9:12] == b"200"
    assert running.last()["received_ms"] > 300
    assert metric(running, 'anvil_overhead_seconds_sum{endpoint="chat"}') < 0.2


def counting(request: t.Received) -> t.Script | Awaitable[t.Script]:
    if request.path.endswith("/tokenize"):
        return t.response(200, json.dumps({"count": 41 + len(request.json["messages"]), "tokens": []}).encode())
    if request.path.endswith("/count_tokens"):
        return t.response(200, b'{"input_tokens": 77}')
    return t.auto()(request)


def test_an_engines_own_count_is_exact(tier: Tiers, router: Routers) -> None:
    engine = tier(counting)
    running = router(config_toml(tier_toml("only", engine.url)))
    body = {
        "model": "chat",
        "system": "be brief",
        "messages": [HI],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
    }
    answer = running.client.post("/v1/messages/count_tokens?beta=true", json=body)
    assert (answer.json(), answer.headers["x-anvil-token-count"]) == ({"input_tokens": 43}, "exact")
    asked = engine.seen[-1]
    assert asked.path == "/tokenize"
    assert asked.json["add_generation_prompt"] is True
    assert asked.json["model"] == "upstream-model"
    assert [m["role"] for m in asked.json["messages"]] == ["system", "user"]
    assert asked.json["tools"][0]["function"]["name"] == "f"


def test_a_long_prompt_is_counted_whatever_cap_and_however_many_ids(tier: Tiers, router: Routers) -> None:
    """vLLM answers with every token id, and a cap that leaves no room for an answer is no matter for counting."""
    ids = list(range(100_000, 200_000))
    engine = tier(lambda _: t.response(200, json.dumps({"count": len(ids), "tokens": ids}).encode()))
    running = router(config_toml(tier_toml("only", engine.url, context_limit=2000)))
    long = {"role": "user", "content": "w " * 1500}
    for cap in ({}, {"max_tokens": 32_000}):
        body = {"model": "chat", "messages": [long], **cap}
        answer = running.client.post("/v1/messages/count_tokens", json=body)
        assert (answer.status_code, answer.headers.get("x-anvil-token-count")) == (200, "exact"), answer.text
        assert answer.json() == {"input_tokens": 100_000}


def test_a_count_below_nothing_is_none(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier(lambda _: t.response(200, b'{"count": -1}')).url)))
    answer = running.client.post("/v1/messages/count_tokens", json={"model": "chat", "messages": [HI]})
    assert answer.headers["x-anvil-token-count"] == "bound"


def test_an_anthropic_tier_counts_itself_without_a_cap(tier: Tiers, router: Routers) -> None:
    engine = tier(counting)
    running = router(config_toml(tier_toml("only", engine.url, dialect="anthropic")))
    answer = running.client.post("/v1/messages/count_tokens", json={"model": "chat", "messages": [HI]})
    assert (answer.json(), answer.headers["x-anvil-token-count"]) == ({"input_tokens": 77}, "exact")
    assert engine.seen[-1].path == "/v1/messages/count_tokens"
    assert "max_tokens" not in engine.seen[-1].json
    assert engine.seen[-1].headers["anthropic-version"] == "2023-06-01"


def test_an_auto_tokenizer_that_fails_is_left_alone_and_a_named_one_is_asked_again(
    tier: Tiers, router: Routers
) -> None:
    engine = tier(lambda r: t.response(404, b"{}") if "token" in r.path else t.auto()(r))
    running = router(
        config_toml(
            tier_toml("auto", engine.url),
            tier_toml("named", engine.url, tokenizer="vllm"),
            tier_toml("no", engine.url, tokenizer="none"),
        )
    )
    for model, expected in (("auto", 1), ("auto", 1), ("named", 2), ("named", 3), ("no", 3)):
        answer = running.client.post("/v1/messages/count_tokens", json={"model": model, "messages": [HI]})
        assert answer.headers["x-anvil-token-count"] == "bound"
        assert len([r for r in engine.seen if "token" in r.path]) == expected, model
    assert running.client.get("/readyz").json()["tiers"][0]["breaker"] == "closed"


def stuck(release: threading.Event) -> t.Behaviour:
    async def behave(request: t.Received) -> t.Script:

        while not release.is_set():
            await asyncio.sleep(0.02)
        answer = t.auto()(request)
        assert isinstance(answer, t.Script)
        return answer

    return behave


def hold(running: Running, tier: t.Tier, count: int) -> list[threading.Thread]:
    seen = len(tier.seen)
    threads = [threading.Thread(target=lambda: httpx.post(
        running.url + "/v1/chat/completions", json={"model": "chat", "messages": [HI]}, trust_env=False, timeout=20
    )) for _ in range(count)]  # fmt: skip
    for thread in threads:
        thread.start()
    until = time.monotonic() + 5
    while len(tier.seen) < seen + count and time.monotonic() < until:
        time.sleep(0.02)
    return threads


def test_lanes_are_separate_and_a_full_one_refuses_at_once(tier: Tiers, router: Routers) -> None:
    release = threading.Event()
    slow = tier(stuck(release))
    running = router(config_toml(tier_toml("only", slow.url), server="max_concurrency = 2\ncontrol_concurrency = 1"))
    threads = hold(running, slow, 2)
    try:
        full = ask(running)
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")
        assert full.json()["error"]["type"] == "server_busy"
        assert "x-anvil-decision" not in full.headers
        anthropic = running.client.post("/v1/messages", json={"model": "chat", "max_tokens": 5, "messages": [HI]})
        assert anthropic.json()["type"] == "error"
        assert running.client.post("/v1/route", json={}).status_code == 200
        assert metric(running, 'anvil_in_flight{lane="serve"}') == 2
        assert metric(running, 'anvil_slots{lane="serve"}') == 2
        assert metric(running, 'anvil_refused_total{reason="busy"}') == 2
        with running.client.stream("GET", "/v1/decisions?follow=1") as followed:
            assert followed.status_code == 200
            for path in ("/v1/models", "/metrics", "/readyz", "/v1/decisions"):
                refused = httpx.get(running.url + path, trust_env=False)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1"), path
            advice = httpx.post(running.url + "/v1/route", json={}, trust_env=False)
            assert (advice.status_code, advice.json()["error"]["type"]) == (503, "server_busy")
            assert httpx.get(running.url + "/healthz", trust_env=False).status_code == 200
    finally:
        release.set()
        for thread in threads:
            thread.join(10)
    assert ask(running).status_code == 200


def test_requests_per_client_are_capped_with_429(tier: Tiers, router: Routers) -> None:
    release = threading.Event()
    slow = tier(stuck(release))
    running = router(config_toml(tier_toml("only", slow.url), server="max_per_client = 1"))
    threads = hold(running, slow, 1)
    try:
        more = ask(running)
        assert (more.status_code, more.headers["retry-after"]) == (429, "1")
        assert more.json()["error"]["type"] == "rate_limited"
        assert metric(running, 'anvil_refused_total{reason="per_client"}') == 1
    finally:
        release.set()
        for thread in threads:
            thread.join(10)
    assert ask(running).status_code == 200


def test_the_environment_decides_the_largest_body_and_the_cap_itself_is_accepted(tier: Tiers, router: Routers) -> None:
    text = config_toml(tier_toml("only", tier().url), server="max_body_bytes = 100000")
    running = router(text, {"ANVIL_MAX_BODY_BYTES": "2048", "ANVIL_MAX_CONCURRENCY": "7"})
    body = json.dumps({"model": "chat", "messages": [HI]}).encode()
    exact = body + b" " * (2048 - len(body))
    assert running.client.post("/v1/chat/completions", content=exact).status_code == 200
    large = running.client.post("/v1/messages", content=exact + b" ")
    assert (large.status_code, large.json()["error"]["type"]) == (413, "payload_too_large")
    assert large.json()["type"] == "error"
    assert large.headers["connection"] == "close"
    assert "too long" not in large.text
    assert metric(running, 'anvil_slots{lane="serve"}') == 7
    assert metric(running, 'anvil_refused_total{reason="size"}') == 1


@pytest.mark.parametrize(("name", "value"), [("ANVIL_MAX_BODY_BYTES", "12"), ("ANVIL_MAX_CONCURRENCY", "many")])
def test_a_bad_override_is_a_start_up_error(tmp_path: Path, name: str, value: str) -> None:
    config = tmp_path / "router.toml"
    config.write_text(config_toml(tier_toml("only", "http://127.0.0.1:9/v1")))
    done = subprocess.run(
        [sys.executable, "-m", "anvil", "serve", "--config", str(config)],
        capture_output=True, text=True, cwd=ROOT, timeout=20, check=False, env={"PATH": "/usr/bin:/bin", name: value},
    )  # fmt: skip
    assert done.returncode == 2
    assert name in done.stderr


def test_switches_of_the_server_table(tier: Tiers, router: Routers) -> None:
    text = config_toml(
        tier_toml("only", tier().url),
        server='auth_env = "TOK"\nopen_metrics = true\ndashboard = false\npublic_url = "https://anvil.example/"',
        router="pins = false",
    )
    running = router(text, {"TOK": "secret"})
    assert running.client.get("/metrics").status_code == 200
    assert running.client.get("/").status_code == 404
    known = {"authorization": "Bearer secret"}
    assert [m["id"] for m in running.client.get("/v1/models", headers=known).json()["data"]] == [
        "planning", "quick-edit", "review", "chat", "long-context",
    ][1:]  # fmt: skip
    document = running.client.get("/v1/harness/openai", headers=known).json()
    assert document["router"]["base_url"] == "https://anvil.example"
    advice = running.client.post("/v1/route", headers=known, json={"model": "only", "messages": [HI]}).json()
    assert advice["reason"].startswith("inferred")


FAMILIES = frozenset(
    """anvil_requests_total anvil_refused_total anvil_attempts_total anvil_verify_failures_total
anvil_advisories_total anvil_fallbacks_total anvil_stream_aborts_total anvil_lossy_steps_total anvil_cost_usd_total
anvil_tokens_total anvil_breaker_state anvil_breaker_opened_total anvil_tier_in_flight anvil_tier_waiting anvil_resident
anvil_in_flight anvil_slots anvil_overhead_seconds anvil_commit_hold_seconds anvil_verify_seconds
anvil_client_gone_total anvil_upstream_bad_events_total anvil_token_bound_violations_total anvil_decisions_dropped_total
anvil_decision_store_errors_total anvil_decision_queue_length anvil_decision_followers anvil_profile_stale_rows
anvil_buffer_bytes anvil_config_info anvil_build_info anvil_config_reloads_total anvil_price_sync_failures_total
anvil_observer_dropped_total process_cpu_seconds_total process_resident_memory_bytes process_open_fds
gen_ai_server_request_duration_seconds gen_ai_server_time_to_first_token_seconds
gen_ai_server_time_per_output_token_seconds gen_ai_client_operation_duration_seconds gen_ai_client_token_usage""".split()  # noqa: SIM905  # forty-one lines would say no more
)


def test_every_metric_of_the_contract_is_there(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier().url)))
    ask(running)
    ask(running, stream=True)
    ask(running, model="some-model-of-a-caller")
    answer = running.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = set(re.findall(r"^# TYPE (\S+)", answer.text, re.M))
    assert FAMILIES - found == set()
    assert "some-model-of-a-caller" not in answer.text
    assert metric(running, 'anvil_requests_total{endpoint="chat",outcome="served",status="200",work_class="chat"}') >= 2
    assert 'gen_ai_request_model="other"' in answer.text
    buckets = re.findall(r'gen_ai_server_request_duration_seconds_bucket\{[^}]*le="([^"]+)"\}', answer.text)
    assert [float(b) for b in dict.fromkeys(buckets)][:14] == [0.01 * 2**n for n in range(14)]
    opened = running.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_nine_followers_are_one_too_many(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier().url)))
    streams = [httpx.Client(trust_env=False) for _ in range(9)]
    opened = []
    try:
        for client in streams:
            request = client.build_request(
                "GET", running.url + "/v1/decisions", headers={"accept": "text/event-stream"}
            )
            opened.append(client.send(request, stream=True))
        assert [answer.status_code for answer in opened] == [200] * 8 + [503]
        assert opened[0].headers["content-type"].startswith("text/event-stream")
        decision = ask(running).headers["x-anvil-decision"]
        lines = opened[0].iter_lines()
        told = (line for line in lines if line and not line.startswith(":"))
        event = [next(told) for _ in range(3)]
        assert event[:2] == ["event: decision", f"id: {decision}"]
        assert json.loads(event[2].removeprefix("data: "))["id"] == decision
    finally:
        for client in streams:
            client.close()


def test_a_follower_that_leaves_gives_its_place_back_at_once(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier().url), server="control_concurrency = 2"))
    for _ in range(4):
        with httpx.Client(trust_env=False) as client, client.stream("GET", running.url + "/v1/decisions?follow=1") as s:
            assert s.status_code == 200
            next(s.iter_bytes())
        until = time.monotonic() + 2
        while metric(running, "anvil_decision_followers") and time.monotonic() < until:
            time.sleep(0.02)
        assert metric(running, "anvil_decision_followers") == 0
        assert metric(running, 'anvil_in_flight{lane="control"}') <= 1


def test_an_open_follower_does_not_delay_a_shutdown(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("only", tier().url)))
    with httpx.stream("GET", running.url + "/v1/decisions?follow=1", trust_env=False) as followed:
        data = followed.iter_bytes()
        next(data)
        began = time.monotonic()
        running.process.terminate()
        assert list(data) == []
        running.process.wait(10)
    assert time.monotonic() - began < 5
    assert running.process.returncode == 0


def test_a_draining_worker_answers_503_and_says_so(tier: Tiers, router: Routers) -> None:
    """On connections that callers kept; new ones find nobody."""
    release = threading.Event()
    slow = tier(stuck(release))
    running = router(config_toml(tier_toml("only", slow.url)))
    threads = hold(running, slow, 1)
    kept = [httpx.Client(base_url=running.url, timeout=5, trust_env=False) for _ in range(3)]
    try:
        for client in kept:
            client.get("/healthz")
        parent = running.process.pid
        (worker,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        os.kill(int(worker), signal.SIGTERM)
        until = time.monotonic() + 3
        while kept[0].get("/healthz").json()["status"] != "draining" and time.monotonic() < until:
            time.sleep(0.02)
        assert kept[0].get("/healthz").json()["status"] == "draining"
        assert kept[0].get("/readyz").status_code == 503
        asked = kept[1].post("/v1/chat/completions", json={"model": "chat", "messages": [HI]})
        for refused in (kept[2].get("/v1/models"), asked):
            assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_busy")
            assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    finally:
        release.set()
        for thread in threads:
            thread.join(10)
        for client in kept:
            client.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_window_before_the_first_word_asks_a_larger_tier_and_counts_against_nobody(
    tier: Tiers, router: Routers, stream: bool
) -> None:
    stop = {"stop_reason": "model_context_window_exceeded", "stop_sequence": None}
    events = [t.event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 0}})]
    events += [t.event("message_delta", delta=stop, usage={"output_tokens": 0}), t.event("message_stop")]
    full = t.sse(*events) if stream else t.messages(content=[], stop_reason=stop["stop_reason"] or "")
    tiers = [
        tier_toml("full", tier(lambda _: full).url, dialect="anthropic", context_limit=1000),
        tier_toml("small", tier().url, context_limit=500),
        tier_toml("large", tier().url, context_limit=5000),
    ]
    running = router(config_toml(*tiers, presets={"chat": ["full", "small", "large"], "review": ["full", "small"]}))
    for _ in range(3):
        body = {"model": "chat", "messages": [HI], "stream": stream}
        assert running.client.post("/v1/chat/completions", json=body).status_code == 200
        told = [(a["tier_id"], a["outcome"], a["failure_class"]) for a in running.last()["attempts"]]
        assert told == [("full", "over-context", "over_context"), ("large", "served", None)]
    body = {"model": "review", "messages": [HI], "stream": stream}
    answer = running.client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "context_length_exceeded")
