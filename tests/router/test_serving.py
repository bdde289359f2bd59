"""One real router process in front of scriptable tiers: what callers see, and what the record says."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, tier_toml

Tiers = Callable[..., t.Tier]
Routers = Callable[..., Running]
HI = {"role": "user", "content": "hi"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(router: Running, path: str = "/v1/chat/completions", **body: Any) -> Any:
    base: dict[str, Any] = {"model": "chat", "messages": [HI]}
    if path == "/v1/messages":
        base["max_tokens"] = 100
    return router.client.post(path, json=base | body)


def pair(router: Routers, tier: Tiers, fast: t.Behaviour, heavy: t.Behaviour | None = None, **kw: str) -> Running:
    one, two = tier(fast), tier(heavy or t.auto("from heavy"))
    return router(config_toml(tier_toml("fast-local", one.url), tier_toml("heavy-local", two.url), **kw))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_every_dialect_over_every_tier(tier: Tiers, router: Routers, path: str, stream: bool, dialect: str) -> None:
    running = router(config_toml(tier_toml("fast-local", tier(t.auto("hello", " world")).url, dialect=dialect)))
    body: dict[str, Any] = {"stream": stream}
    if path == "/v1/responses":
        body = {"model": "chat", "input": "hi", "stream": stream, "messages": None}
    answer = ask(running, path, **body)
    assert answer.status_code == 200, answer.text
    assert "hello" in answer.text
    assert answer.headers["x-anvil-tier"] == "fast-local"
    assert answer.headers["server"] == "anvil"
    record = running.last()
    assert record["outcome"] == "served"
    assert record["id"] == answer.headers["x-anvil-decision"]
    assert record["attempts"][0]["usage_source"] == "upstream"


def test_a_stream_is_live_its_first_byte_arrives_while_the_tier_still_generates(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier(lambda _: t.chat_stream("a", "b", "c", pause=0.3)).url)))
    started = time.monotonic()
    arrivals = []
    with running.client.stream(
        "POST", "/v1/chat/completions", json={"model": "chat", "messages": [HI], "stream": True}
    ) as s:
        for line in s.iter_lines():
            if '"content"' in line:
                arrivals.append(time.monotonic() - started)
    assert len(arrivals) == 3
    assert arrivals[0] < 0.6
    assert arrivals[2] > 0.85


def test_an_answer_that_fails_a_check_is_answered_by_the_next_tier(tier: Tiers, router: Routers) -> None:
    running = pair(router, tier, lambda _: t.chat(""))
    answer = ask(running)
    assert answer.json()["choices"][0]["message"]["content"] == "from heavy"
    record = running.last()
    assert [a["outcome"] for a in record["attempts"]] == ["fallback", "served"]
    assert record["attempts"][0]["verify_reason"] == "non_empty_content"
    assert record["fell_back"] is True
    assert record["served_tier"] == "heavy-local"


def test_a_required_tool_call_that_does_not_come_falls_back_streaming_too(tier: Tiers, router: Routers) -> None:
    call = t.sse(
        t.chunk({"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "type": "function",
                "function": {"name": "get_weather", "arguments": '{"ci'}}]}),
        t.chunk({"tool_calls": [{"index": 0, "function": {"arguments": 'ty":"Rome"}'}}]}),
        t.chunk(finish="tool_calls"),
        t.DONE,
    )  # fmt: skip
    running = pair(router, tier, lambda _: t.chat_stream("no tool, sorry"), lambda _: call)
    answer = ask(running, stream=True, tools=[WEATHER], tool_choice="required")
    assert answer.status_code == 200
    assert "sorry" not in answer.text
    assert '{\\"city\\":\\"Rome\\"}' in answer.text
    assert running.last()["attempts"][0]["verify_reason"] == "tool_choice_honoured"


@pytest.mark.parametrize("status", [500, 502, 503, 404, 401, 429, 529, 408])
def test_a_tiers_failure_status_never_reaches_the_caller_while_another_tier_lives(
    tier: Tiers, router: Routers, status: int
) -> None:
    running = pair(router, tier, lambda _: t.response(status, b'{"error":{"message":"nope"}}'))
    assert ask(running).json()["choices"][0]["message"]["content"] == "from heavy"
    assert running.last()["attempts"][0]["upstream_status"] == status


def test_a_callers_mistake_comes_back_scrubbed(tier: Tiers, router: Routers) -> None:
    def refuse(_: t.Received) -> t.Script:
        return t.response(400, b'{"error":{"message":"upstream-model at fast-local: temperature must be <= 2"}}')

    running = pair(router, tier, refuse)
    answer = ask(running)
    assert answer.status_code == 400
    assert "temperature" in answer.json()["error"]["message"]
    assert "upstream-model" not in answer.text
    assert "fast-local" not in answer.json()["error"]["message"]
    assert running.last()["outcome"] == "caller_error"


def test_exhaustion_is_an_honest_503_before_any_byte(tier: Tiers, router: Routers) -> None:
    running = pair(router, tier, lambda _: t.response(500, b"x"), lambda _: t.response(500, b"y"))
    for stream in (False, True):
        answer = ask(running, stream=stream)
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "service_unavailable"
        assert "local" not in answer.text
        assert "x-should-retry" not in answer.headers  # a tier may be back in a moment
    assert running.last()["outcome"] == "exhausted"


@pytest.mark.parametrize("status", [429, 529, 599])
def test_an_exhaustion_status_need_not_have_a_name(tier: Tiers, router: Routers, status: int) -> None:
    one = tier(lambda _: t.response(500, b"x"))
    running = router(config_toml(tier_toml("fast-local", one.url), router=f"exhaustion_status = {status}"))
    answer = ask(running)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "service_unavailable"


def test_breakers_open_and_the_answer_says_when_to_come_back(tier: Tiers, router: Routers) -> None:
    one = tier(lambda _: t.response(500, b"x"))
    running = router(config_toml(tier_toml("fast-local", one.url)))
    for _ in range(2):
        ask(running)
    started = time.monotonic()
    answer = ask(running)
    assert time.monotonic() - started < 0.2
    assert answer.status_code == 503
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert len(one.seen) == 2
    assert running.last()["attempts"][0]["outcome"] == "skipped-circuit"


def test_too_long_for_every_tier_is_413_worded_so_that_clients_recognise_it(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url, context_limit=50)))
    long = [{"role": "user", "content": "word " * 60}]
    answer = ask(running, messages=long)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "this model's maximum context length is 50 tokens" in answer.json()["error"]["message"]
    answer = ask(running, "/v1/messages", messages=long)
    assert answer.status_code == 413
    assert "prompt is too long" in answer.json()["error"]["message"]


def test_a_stream_cut_before_commit_falls_back_and_after_it_ends_in_one_error_event(
    tier: Tiers, router: Routers
) -> None:
    early = t.sse(t.chunk({"role": "assistant", "content": ""}), end=False)
    running = pair(router, tier, lambda _: early)
    assert "from heavy" in ask(running, stream=True).text
    late = t.sse(t.chunk({"role": "assistant", "content": "some text"}), end=False)
    running = pair(router, tier, lambda _: late)
    text = ask(running, stream=True).text
    assert "some text" in text
    assert "upstream_error" in text
    assert "[DONE]" not in text
    assert "from heavy" not in text
    record = running.last()
    assert record["outcome"] == "aborted_after_commit"
    assert record["status"] == 200


def test_an_error_event_in_an_anthropic_stream_is_told_in_the_callers_dialect(tier: Tiers, router: Routers) -> None:
    late = t.sse(t.chunk({"role": "assistant", "content": "some text"}), b'data: {"error":{"message":"boom"}}\n\n')
    running = pair(router, tier, lambda _: late)
    text = ask(running, "/v1/messages", stream=True).text
    assert "event: error" in text
    assert "boom" not in text
    assert "message_stop" not in text


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_vanishes_cancels_the_tiers_work_within_a_second(
    tier: Tiers, router: Routers, stream: bool
) -> None:
    one = tier(lambda _: t.Script([30.0]))
    running = router(config_toml(tier_toml("fast-local", one.url)))
    body = json.dumps({"model": "chat", "messages": [HI], "stream": stream}).encode()
    port = int(running.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        while not one.seen:
            time.sleep(0.01)
        time.sleep(0.3)
    deadline = time.monotonic() + 1
    while not one.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    assert one.cancelled == 1
    time.sleep(0.1)
    record = running.last()
    assert record["outcome"] == "client_gone"
    assert record["status"] == 499


def test_concurrent_requests_never_share_state(tier: Tiers, router: Routers) -> None:
    def echo(request: t.Received) -> t.Script:
        return t.chat("echo " + request.json["messages"][-1]["content"])

    running = router(config_toml(tier_toml("fast-local", tier(echo).url)))
    wrong: list[str] = []

    def work(name: str) -> None:
        import httpx

        with httpx.Client(base_url=running.url, timeout=20) as client:
            for index in range(30):
                said = f"{name}-{index}"
                body = {"model": "chat", "messages": [{"role": "user", "content": said}]}
                got = client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
                if got != f"echo {said}":
                    wrong.append(got)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tiers_own_concurrency_is_respected_and_a_full_one_is_skipped(tier: Tiers, router: Routers) -> None:
    slow = tier(lambda _: t.Script([0.8, *t.chat("slow").steps]))
    other = tier(t.auto("other"))
    running = router(
        config_toml(
            tier_toml("fast-local", slow.url, max_concurrency=1),
            tier_toml("heavy-local", other.url),
            router="[router.limits]\nqueue_timeout_s = 0.1",
        )
    )
    first = threading.Thread(target=ask, args=(running,))
    first.start()
    time.sleep(0.3)
    assert ask(running).json()["choices"][0]["message"]["content"] == "other"
    first.join()
    assert any(r["attempts"][0]["outcome"] == "busy" for r in running.decisions())


def test_the_request_that_reaches_a_tier_is_the_callers_with_only_what_must_change(
    tier: Tiers, router: Routers
) -> None:
    one = tier()
    running = router(
        config_toml(tier_toml("fast-local", one.url, extra_body={"top_k": 7}, extra_body_defaults={"temperature": 0.1}))
    )
    ask(running, temperature=0.5, unknown_field={"b": 1, "a": 2}, seed=3, user="me")
    sent = one.seen[-1].json
    assert sent["model"] == "upstream-model"
    assert sent["unknown_field"] == {"b": 1, "a": 2}
    assert (sent["temperature"], sent["top_k"]) == (0.5, 7)
    assert "seed" not in sent
    assert "user" not in sent
    assert set(running.last()["lossy"]) == {"never_forwarded.seed", "never_forwarded.user"}


def test_comments_of_a_tier_that_still_reads_the_prompt_do_not_end_its_patience(tier: Tiers, router: Routers) -> None:
    script = t.chat_stream("at last")
    script.steps[1:1] = [b"3\r\n:\n\n\r\n", 1.6, b"3\r\n:\n\n\r\n", 1.6]
    running = router(
        config_toml(tier_toml("fast-local", tier(lambda _: script).url), router="relay_timeout = 1\nhead_timeout_s = 3")
    )
    assert "at last" in ask(running, stream=True).text
    assert running.last()["outcome"] == "served"


def test_a_stream_without_usage_is_estimated_by_its_words(tier: Tiers, router: Routers) -> None:
    pieces = [t.chunk({"content": text}) for text in ("one tw", "o  three", " four")]
    upstream = tier(lambda _: t.sse(*pieces, t.chunk(finish="stop"), t.DONE))
    running = router(config_toml(tier_toml("fast-local", upstream.url)))
    running.client.post("/v1/chat/completions", json={"model": "chat", "messages": [HI], "stream": True})
    attempt = running.last()["attempts"][0]
    assert (attempt["completion_tokens"], attempt["usage_source"]) == (4, "estimate")


UNDECLARED = {
    "/v1/chat/completions": {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "nope"}}},
    "/v1/messages": {
        "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "nope"},
    },
    "/v1/responses": {
        "input": "hi",
        "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "nope"},
    },
}


@pytest.mark.parametrize("path", UNDECLARED)
def test_a_choice_of_a_tool_nobody_declared_is_the_callers_fault(tier: Tiers, router: Routers, path: str) -> None:
    upstream = tier()
    running = router(config_toml(tier_toml("fast-local", upstream.url)))
    answer = ask(running, path, **UNDECLARED[path])
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    assert 'no tool named "nope"' in answer.json()["error"]["message"]
    assert upstream.seen == []


def test_a_tier_that_cannot_get_the_callers_tools_is_not_held_to_a_call(tier: Tiers, router: Routers) -> None:
    upstream = tier()
    running = router(config_toml(tier_toml("fast-local", upstream.url)))
    search = [{"type": "web_search_20250305", "name": "web_search"}]
    for choice in ({"type": "any"}, {"type": "tool", "name": "web_search"}):
        for stream in (False, True):
            answer = ask(running, "/v1/messages", tools=search, tool_choice=choice, stream=stream)
            assert (answer.status_code, "hello" in answer.text) == (200, True)
            assert "tool_choice" not in upstream.seen[-1].json
            assert {"tool_choice", "tools.hosted"} <= set(running.last()["lossy"])


def test_null_fields_of_an_anthropic_caller_lose_nothing(tier: Tiers, router: Routers) -> None:
    running = router(config_toml(tier_toml("fast-local", tier().url)))
    ask(running, "/v1/messages", top_k=None, container=None, service_tier=None, zzz=None)
    assert running.last()["lossy"] == []


def test_a_document_the_tier_has_no_words_for_goes_to_one_that_has(tier: Tiers, router: Routers) -> None:
    talks = {"openai": tier(), "anthropic": tier()}
    text = config_toml(
        *[tier_toml(name, made.url, dialect=name, documents=True, vision=True) for name, made in talks.items()]
    )
    running = router(text)
    link = {"type": "url", "url": "http://127.0.0.1:1/x.pdf"}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    mixed = {"type": "content", "content": [{"type": "text", "text": "two words"}, image]}
    for source in (link, mixed):
        content = [{"type": "text", "text": "read"}, {"type": "document", "source": source}]
        ask(running, "/v1/messages", messages=[{"role": "user", "content": content}])
        assert running.last()["served_tier"] == "anthropic"
        assert talks["anthropic"].seen[-1].json["messages"][0]["content"][1]["source"] == source
    assert running.last()["needs"]["context"] == 3
    parts = [{"type": "input_text", "text": "read"}, {"type": "input_file", "file_url": link["url"]}]
    ask(running, "/v1/responses", messages=None, input=[{"role": "user", "content": parts}])
    assert running.last()["served_tier"] == "anthropic"
    assert talks["anthropic"].seen[-1].json["messages"][0]["content"][1] == {"type": "document", "source": link}
    assert talks["openai"].seen == []


def test_tools_of_a_namespace_reach_a_tier_where_the_caller_asks_for_it(tier: Tiers, router: Routers) -> None:
    """Contract 5.5 leaves them out; Codex has the tools of MCP servers in no other form, and is given this header."""
    upstream = tier()
    running = router(config_toml(tier_toml("fast-local", upstream.url)))
    add = {"type": "function", "name": "add", "parameters": {"type": "object"}}
    calc = {"type": "namespace", "name": "mcp__calc", "tools": [add]}
    body = {"model": "chat", "input": "hi", "messages": None, "tools": [add, calc]}
    names: list[list[str]] = []
    for headers in ({}, {"x-anvil-namespaces": "joined"}):
        running.client.headers.update(headers)
        assert ask(running, "/v1/responses", **body).status_code == 200
        names.append([each["function"]["name"] for each in upstream.seen[-1].json["tools"]])
    assert names == [["add"], ["add", "mcp__calc__add"]]


def test_the_model_that_extra_body_names_is_the_one_told(tier: Tiers, router: Routers) -> None:
    upstream = tier()
    running = router(config_toml(tier_toml("fast-local", upstream.url, extra_body={"model": "lora-7"})))
    answer = ask(running)
    assert upstream.seen[-1].json["model"] == "lora-7"
    assert answer.headers["x-anvil-model"] == "lora-7"
    assert (running.last()["served_model"], running.last()["attempts"][0]["model"]) == ("lora-7", "lora-7")


@pytest.mark.parametrize("stream", [False, True])
def test_usage_has_its_total_and_no_negative_count(tier: Tiers, router: Routers, stream: bool) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "odd": 1, "prompt_tokens_details": {"cached_tokens": 9}}
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
    events = [t.chunk({"content": "x"}), t.chunk(finish="stop", usage=usage), t.DONE]
    whole = t.response(200, json.dumps({**body, "usage": usage}).encode())
    running = router(config_toml(tier_toml("fast-local", tier(lambda _: t.sse(*events) if stream else whole).url)))
    told = ask(running, stream=stream, stream_options={"include_usage": True} if stream else None).text
    assert json.loads(told.split("data: ")[-2] if stream else told)["usage"] == {**usage, "total_tokens": 7}
    told = ask(running, "/v1/messages", stream=stream).text
    assert '"input_tokens":0' in told
    assert '"cache_read_input_tokens":9' in told
