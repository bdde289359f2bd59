"""Contract 5.1, 9, 10, 15.3, 15.5, 16, 19, 20.4 end to end: who may serve what, and what the record says of it."""

from __future__ import annotations

import json
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}
PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three small tiers, one without tools, one that sees, and an unbound cloud tier."""
    upstream = t.Tier(t.auto()).start()
    text = config_toml(
        tier_toml("plain-one", upstream.url, context_limit=100, tool_support=False),
        tier_toml("blind-one", upstream.url, context_limit=200, vision=False),
        tier_toml("seeing", upstream.url, context_limit=300, vision=True),
        tier_toml("paid", "https://api.example.com", privacy="cloud", auth_env="NO_SUCH_KEY"),
        presets={
            "chat": ["plain-one", "blind-one", "seeing"], "quick-edit": ["plain-one"], "planning": ["paid"],
            "look": ["plain-one", "blind-one"],
        },
        router='metered_cloud = ["planning"]\n[router.preset_classes]\nlook = "chat"',
    )  # fmt: skip
    running = start_router(tmp_path_factory.mktemp("small"), text)
    yield running
    running.stop(expect=None)
    upstream.stop()


def ask(router: Running, **body: Any) -> httpx.Response:
    return router.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI]} | body)


def words(count: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "w " * count}]


BAD = [b"", b"[]", b"{", b'{"a":1} x', b"\xff{}", b'\xef\xbb\xbf{"a":1}', b'{"messages": NaN}', b'{"x": 1e999}',
       b'{"x": "\\ud800"}', b'"text"', b"null", b"[" * 1_000_000]  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/messages/count_tokens"])
def test_what_is_no_json_object_is_400_with_one_record_and_one_count(small: Running, path: str) -> None:
    before = metric(small, 'anvil_refused_total{reason="json"}')
    for number, body in enumerate(BAD, 1):
        answer = small.client.post(path, content=body)
        assert answer.status_code == 400, body[:20]
        kind = answer.json()["error"]["type"]
        assert kind == "invalid_request" or (body == b"" and kind == "invalid_request_error"), body[:20]
        assert (answer.json().get("type") == "error") == path.startswith("/v1/messages")
        record = small.last()
        assert record["id"] == answer.headers["x-anvil-decision"]
        assert (record["outcome"], record["status"], record["attempts"]) == ("invalid_request", 400, [])
        assert metric(small, 'anvil_refused_total{reason="json"}') == before + number


def metric(router: Running, line: str) -> float:
    for row in router.client.get("/metrics").text.splitlines():
        if row.startswith(line):
            return float(row.rsplit(" ", 1)[1])
    return 0.0


@pytest.mark.parametrize(("depth", "status"), [(128, 200), (129, 400)])
def test_nesting_is_accepted_up_to_128(small: Running, depth: int, status: int) -> None:
    inner = depth - 1
    body = b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"x":%s%s}' % (b"[" * inner, b"]" * inner)
    assert small.client.post("/v1/chat/completions", content=body).status_code == status


def test_refusals_before_the_body_leave_no_record(small: Running) -> None:
    newest = small.last()["id"]
    small.client.get("/v1/none")
    small.client.put("/v1/messages")
    small.client.post("/v1/messages", content=iter([b"{}"]))
    assert small.last()["id"] == newest


def test_context_picks_the_tier_and_names_what_it_drops(small: Running) -> None:
    for count, expected, dropped in ((100, "plain-one", []), (101, "blind-one", ["plain-one"])):
        ask(small, messages=words(count))
        record = small.last()
        assert (record["served_tier"], record["dropped"]["context"]) == (expected, dropped)
        assert record["needs"]["context"] == count


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/chat/completions", {"messages": words(301)}, "maximum context length is 300 tokens"),
        ("/v1/responses", {"input": "w " * 301}, "maximum context length is 300 tokens"),
        (
            "/v1/messages",
            {"messages": words(301), "max_tokens": 5},
            "prompt is too long: at least 301 tokens > 300 maximum",
        ),
    ],
)
def test_too_long_is_413_in_words_clients_know(small: Running, path: str, body: dict[str, Any], expected: str) -> None:
    for stream in (False, True):
        answer = small.client.post(path, json={"model": "chat", "stream": stream} | body)
        assert answer.status_code == 413
        error = answer.json()["error"]
        assert error["type"] == "payload_too_large"
        assert expected in error["message"]
        assert (error.get("code") == "context_length_exceeded") == (path != "/v1/messages")
        assert small.last()["outcome"] == "over_context"


def test_a_pin_that_is_too_small_is_not_redirected(small: Running) -> None:
    assert ask(small, model="plain-one", messages=words(150)).status_code == 413
    assert ask(small, model="plain-one", tools=[TOOL]).status_code == 503
    record = small.last()
    assert (record["outcome"], record["dropped"]["constraint"]) == ("constrained", ["plain-one"])


def test_images_go_where_they_are_seen(small: Running) -> None:
    look = [{"role": "user", "content": [{"type": "text", "text": "see"}, PIXEL]}]
    ask(small, messages=look)
    record = small.last()
    assert record["served_tier"] == "seeing"
    assert set(record["dropped"]["constraint"]) == {"plain-one", "blind-one"}
    ask(small, model="look", messages=look)
    assert small.last()["served_tier"] == "plain-one"
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}}
    body = {"model": "chat", "max_tokens": 5, "messages": [{"role": "user", "content": [document]}]}
    answer = small.client.post("/v1/messages", json=body)
    assert (answer.status_code, small.last()["outcome"]) == (503, "constrained")


def test_an_unbound_tier_is_not_replaced(small: Running) -> None:
    answer = ask(small, model="planning")
    record = small.last()
    assert (answer.status_code, record["outcome"], record["dropped"]["unbound"]) == (503, "unbound", ["paid"])
    assert "NO_SUCH_KEY" not in answer.text
    assert "planning" not in [row["id"] for row in small.client.get("/v1/models").json()["data"]]


def test_the_caller_is_recorded_in_safe_words(small: Running) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    small.client.post(
        "/v1/chat/completions",
        json={
            "model": "evil\n> model \x1b[31m" + "x" * 300,
            "messages": [{"role": "user", "content": "canary-prompt"}],
        },
        headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
    )
    record = small.last()
    assert record["trace_id"] == trace
    assert len(record["caller_model"]) <= 128
    assert not re.search(r"[\s\x00-\x1f>]", record["caller_model"])
    assert "canary-prompt" not in json.dumps(record)
    until = time.monotonic() + 5
    while record["id"] not in small.logged() and time.monotonic() < until:
        time.sleep(0.05)
    line = next(row for row in reversed(small.logged().splitlines()) if record["id"] in row)
    assert re.search(
        r"decision=dec_\w+ intent=\S+ work_class=\S+ served=\S+ verify=(pass|fail|-) fell_back=(true|false) "
        r"tiers=\S+ prompt=\d+ completion=\d+", line,
    )  # fmt: skip
    assert "canary-prompt" not in small.logged()


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("traceparent", "valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"01-{TRACE}-{SPAN}-01-more", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
    ],
)
def test_only_a_valid_traceparent_is_recorded(small: Running, traceparent: str, valid: bool) -> None:
    small.client.post("/v1/route", json={}, headers={"traceparent": traceparent})
    assert small.last()["trace_id"] == (TRACE if valid else None)


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, "planning"),
        ({"type": "disabled"}, "chat"),
        ({"type": "adaptive"}, "chat"),
    ],
)
def test_explicit_thinking_is_planning(small: Running, thinking: Any, expected: str) -> None:
    body = {"model": None, "max_tokens": 5, "messages": [HI], "thinking": thinking}
    small.client.post("/v1/messages", json=body)
    assert small.last()["work_class"] == expected


def test_costs_follow_the_tier_that_earned_them(tier: Tiers, router: Routers) -> None:
    bad, good = tier(lambda _: t.chat("", usage=(1000, 100))), tier(lambda _: t.chat("ok", usage=(2000, 200)))
    prices = {"cost_input_per_mtok": 1.0, "cost_output_per_mtok": 10.0}
    running = router(
        config_toml(tier_toml("one", bad.url, **prices), tier_toml("two", good.url, cost_output_per_mtok=5))
    )
    ask(running)
    record = running.last()
    assert record["cost_usd"] == pytest.approx(0.001)
    assert record["wasted_cost_usd"] == pytest.approx(0.002)
    assert [a["cost_usd"] for a in record["attempts"]] == pytest.approx([0.002, 0.001])
    assert (record["total_prompt_tokens"], record["total_completion_tokens"]) == (3000, 300)
    assert record["fell_back"] is True
    assert record["attempts"][0]["verify_reason"] == "non_empty_content"
    assert record["served_tier_privacy"] == "local"


def test_every_real_attempt_is_charged_the_prompt_and_pays_for_what_it_generated(tier: Tiers, router: Routers) -> None:
    refused = tier(lambda _: t.response(500, b"{}"))
    cut = tier(lambda _: t.sse(t.chunk({"content": " "}), t.chunk({"content": "one two"}), end=False, reset=True))
    prices = {"cost_input_per_mtok": 1000.0, "cost_output_per_mtok": 1000.0}
    running = router(
        config_toml(
            tier_toml("one", refused.url, **prices), tier_toml("two", cut.url, **prices), tier_toml("three", tier().url),
            presets={"review": ["one", "two", "three"]},
        )
    )  # fmt: skip
    ask(running, model="review", messages=words(4), stream=True)  # verified, so nothing of the cut answer has left
    record = running.last()
    assert [(a["prompt_tokens"], a["completion_tokens"]) for a in record["attempts"]] == [(4, 0), (4, 2), (7, 3)]
    assert (record["total_prompt_tokens"], record["total_completion_tokens"]) == (15, 5)
    assert [a["cost_usd"] for a in record["attempts"]] == pytest.approx([0, 0.006, 0])
    assert record["wasted_cost_usd"] == pytest.approx(0.006)


def test_the_resident_of_a_swap_group_comes_first(tier: Tiers, router: Routers) -> None:
    up = tier()
    tiers = [tier_toml(name, up.url, swap_group="gpu0") for name in ("one", "two")]
    running = router(
        config_toml(*tiers, tier_toml("other", up.url), presets={"chat": ["other", "one", "two"], "b": ["one", "two"]})
    )
    advice = {"model": "b", "messages": [HI]}
    assert running.client.post("/v1/route", json=advice).json()["provider"] == "one"
    ask(running, model="two")
    assert running.client.post("/v1/route", json=advice).json()["provider"] == "two"
    ask(running, model="chat")
    record = running.last()
    assert record["requested_tiers"] == ["other", "two", "one"]
    assert record["residency"] == {"group": "gpu0", "resident": "two"}
    rows = {row["id"]: row["resident"] for row in running.client.get("/readyz").json()["tiers"]}
    assert rows["two"]
    assert not rows["one"]
    assert metric(running, 'anvil_resident{swap_group="gpu0",tier="two"}') == 1


def test_attempts_and_tokens_are_limited(tier: Tiers, router: Routers) -> None:
    broken = tier(lambda _: t.response(500, b"{}"))
    tiers = [tier_toml(f"t{i}", broken.url) for i in range(4)]
    running = router(config_toml(*tiers, router="[router.limits]\nmax_attempts = 2"))
    answer = ask(running)
    assert (answer.status_code, answer.headers["x-anvil-attempts"], len(broken.seen)) == (503, "2", 2)
    frugal = router(config_toml(*tiers, router="[router.limits]\ntoken_ceiling = 12"))
    ask(frugal, messages=words(5))
    outcomes = [a["outcome"] for a in frugal.last()["attempts"]]
    assert outcomes == ["error", "error", "budget-stop"]
    assert frugal.last()["attempts"][-1]["verify_reason"] == "token budget"


@pytest.mark.parametrize("code", [400, 422])
def test_a_callers_mistake_keeps_its_status_and_loses_every_name(tier: Tiers, router: Routers, code: int) -> None:
    up = tier()
    text = f"bad field for upstream-model on only at 127.0.0.1:{up.port} key sk-abcdefghijklmnopqrstuvwxyz"
    up.behaviour = lambda _: t.response(code, json.dumps({"error": {"message": text}}).encode())
    running = router(config_toml(tier_toml("only", up.url)))
    answer = ask(running)
    assert answer.status_code == code
    error = answer.json()["error"]
    assert error["type"] == "invalid_request"
    for secret in ("upstream-model", "127.0.0.1", str(up.port), "sk-abc"):
        assert secret not in error["message"]
    assert error["message"].startswith("bad field for chat on [upstream]")
    assert answer.headers["x-anvil-tier"] == "only"
    assert answer.headers["x-anvil-model"] == "upstream-model"
    record = running.last()
    assert (record["outcome"], record["status"], record["fell_back"]) == ("caller_error", code, False)


def test_records_outlive_the_process_in_a_private_file(tier: Tiers, router: Routers, tmp_path: Path) -> None:
    store = tmp_path / "decisions.db"
    text = config_toml(
        tier_toml("only", tier().url), router=f'[router.decisions]\nring_size = 2\nstore_path = "{store}"'
    )
    first = router(text)
    ids = [ask(first).headers["x-anvil-decision"] for _ in range(4)]
    until = time.monotonic() + 5
    while len(first.decisions(limit=10)) < 4 and time.monotonic() < until:
        time.sleep(0.1)
    assert [row["id"] for row in first.decisions(limit=10)] == ids[::-1]
    first.stop()
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    second = router(text)
    assert [row["id"] for row in second.decisions(tier="only")] == ids[::-1]
    assert second.client.get(f"/v1/decisions/{ids[0]}").json()["id"] == ids[0]
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as rows:
        columns = [row[1] for row in rows.execute("pragma table_info(decisions)")]
    assert columns == [
        "id", "ts", "endpoint", "work_class", "preset", "served_tier", "outcome", "status", "fell_back", "record",
    ]  # fmt: skip
