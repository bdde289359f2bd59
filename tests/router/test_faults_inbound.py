"""Hostile and broken callers: bodies that are none, giant ones, injections, secrets, and callers that go or do not read."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.router import tier as t
from tests.router.conftest import Running, config_toml, start_router, tier_toml
from tests.router.faults import PATHS, PATIENT, Lab, lab, request

ALL = (*PATHS, "/v1/messages/count_tokens", "/v1/route")
TOKEN = "cn4tokA7-" + "q9Zx" * 8
KEY = "cn4keyB8-" + "w3Vy" * 8


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("inbound")) as made:
        made.play("openai", t.auto("fine"))
        yield made


# --------------------------------------------------------------------------------------------------- bodies

NOT_JSON = [
    b"[1,]", b"[,1]", b"[1 true]", b"[a\xc3\xa5]", b"[1,,2]", b"[1]]", b"[1}", b"[\"x\"", b"[", b"[1\n,1\n,1",
    b"{\"x\"", b"{\"x\":", b"{\"a\":\"a", b"{'a':0}", b"{a:\"b\"}", b"{\"a\":1,}", b"{\"a\":1,,\"b\":2}", b"{\"a\" b}",
    b"{:\"b\"}", b"{\"a\":/*c*/1}", b"{\"a\":1}//", b"{\"a\":1}#", b"{}}", b"{\"a\":1}{}", b"{\"a\":1} x",
    b"{\"a\":+1}", b"{\"a\":01}", b"{\"a\":1.}", b"{\"a\":.5}", b"{\"a\":1e}", b"{\"a\":0x10}", b"{\"a\":-}",
    b"{\"a\":NaN}", b"{\"a\":-Infinity}", b"{\"a\":1e400}", b"{\"a\":True}", b"{\"a\":nul}", b"{\"a\":\"\\x15\"}",
    b"{\"a\":\"\\u12\"}", b"{\"a\":\"\x01\"}", b"{\"a\":\"tab\there\"}", b"{\"a\":\"\\ud800\"}", b"{\"a\":\"\\udc00x\"}",
    b"{\"a\":\"\xed\xa0\x80\"}", b"{\"a\":\"\xc0\xaf\"}", b"{\"a\":\"\xff\"}", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
    b"\xe2\x81\xa0{}", b"\x00", b"{\"a\":\x00}", b"<null>", b"\"", b"\\u007b}", b"{\"a\":\"\\\"}", b"7", b"null", b"true",
    b"\"text\"", b"[]", b"[{}]", b"[" * 200_000, b"{\"a\":" * 50_000, b"{\"a\":" + b"[" * 129 + b"]" * 129 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("path", ALL)
def test_what_is_not_a_json_object_is_400_everywhere(bench: Lab, path: str) -> None:
    seen = len(bench.tiers["openai"].seen)
    for body in NOT_JSON:
        told = bench.post(path, body)
        assert told.status == 400, (body[:60], told.body)
        assert told.json["error"]["type"] in ("invalid_request", "invalid_request_error")
        assert ("type" in told.json) == path.startswith("/v1/messages")
        assert told.headers["content-type"] == "application/json"
    assert len(bench.tiers["openai"].seen) == seen


WITHIN = [
    b"NaN", b"-Infinity", b"+1", b"01", b".5", b"nul", b"True", b"1.", b"{'a':0}", b"[1,]",
    b'"\\ud800"', b'"\\udc00x"', b'"\\ud800\\u0041"', b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"a\x01"', b'"tab\there"',
    b'"\\x15"', b'"\\u12"', b'{"a":1,}', b'{"a" 1}', b"[" * 129 + b"]" * 129, b'{"a":{"b":["\\ud800"]}}', b'{"\\ud800":1}',
]  # fmt: skip


OVERFLOW = [b"1e400", b"-1e400", b"[1e999]", b"9" * 5000 + b"e9"]


@pytest.mark.parametrize("path", ALL)
def test_a_number_that_overflows_anywhere_is_400_and_no_call(bench: Lab, path: str) -> None:
    refused_everywhere(bench, path, OVERFLOW)


@pytest.mark.parametrize("path", ALL)
def test_a_defect_anywhere_in_the_json_is_400_and_no_call(bench: Lab, path: str) -> None:
    refused_everywhere(bench, path, WITHIN)


def refused_everywhere(bench: Lab, path: str, values: list[bytes]) -> None:
    """Fields nobody looks at are held to the same JSON: what is forwarded is re-encoded, never passed on unread."""
    base = json.dumps(
        request(PATHS[0] if path == "/v1/route" else path.removesuffix("/count_tokens"), "openai")
    ).encode()
    seen = len(bench.tiers["openai"].seen)
    wrong = []
    for value in values:
        for body in (
            base[:-1] + b',"unknown":' + value + b"}",
            base.replace(b'"description": "w"', b'"description": ' + value),
            base.replace(b'"integer"', b'"integer", "x": ' + value),
            base.replace(b'"hi"', value),
            base.replace(b'{"model"', b'{"metadata":{"a":[' + value + b']},"model"'),
        ):
            assert body != base or path == "/v1/route"
            told = bench.post(path, body)
            if told.status != 400:
                wrong.append((told.status, body[:300] if len(body) < 600 else value[:60]))
    assert wrong == []
    assert len(bench.tiers["openai"].seen) == seen


def test_a_million_brackets_are_refused_at_once(bench: Lab) -> None:
    started = time.monotonic()
    assert bench.post(PATHS[0], b"[" * 1_000_000).status == 400
    assert time.monotonic() - started < 0.5  # the figure of 50 ms is a benchmark's business
    assert bench.running.client.get("/healthz").status_code == 200


ODD: list[Any] = [None, True, False, 0, 1, -1, 2**70, 1.5, -0.0, "", " ", "x", [], [[]], [None], ["x"], [7], {}, {"x": 1},
                  {"type": 7}, {"type": "nope"}, [{}], [{"type": None}], [{"role": 7}], [{"role": "user"}],
                  [{"role": "nobody", "content": "x"}], [{"role": "user", "content": 7}], [{"name": 7}]]  # fmt: skip


def number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def cap(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


MUST: dict[str, Callable[[Any], bool]] = {
    "model": lambda v: v is None or type(v) is str,
    "stream": lambda v: v is None or type(v) is bool,
    "temperature": number,
    "top_p": number,
    "n": lambda v: v is None or (type(v) is int and v == 1),
    "tools": lambda v: v is None or (type(v) is list),
    "max_tokens": cap,
    "max_completion_tokens": cap,
    "presence_penalty": number,
    "frequency_penalty": number,
}
MAY = ("messages", "input", "instructions", "system", "tool_choice", "response_format", "stop", "stop_sequences", "top_k",
       "metadata", "stream_options", "text", "reasoning", "thinking", "output_config", "store", "max_output_tokens", "user",
       "include", "previous_response_id", "background", "parallel_tool_calls", "context_management", "seed",
       "reasoning_effort", "thread", "conversation", "truncation", "functions", "function_call", "logit_bias")  # fmt: skip


@pytest.mark.parametrize("path", ALL)
def test_wrong_types_are_4xx_and_never_reach_a_tier(bench: Lab, path: str) -> None:
    """Every known field with every odd value: never 5xx; what the contract refuses is 400 without an upstream call."""
    one = bench.tiers["openai"]
    for field in (*MUST, *MAY):
        for value in ODD:
            seen = len(one.seen)
            body = {
                **request(PATHS[0] if path == "/v1/route" else path.removesuffix("/count_tokens"), "openai"),
                field: value,
            }
            told = bench.post(path, json.dumps(body).encode())
            assert told.status < 500, (field, value, told.body)
            applies = field in MUST and (path == PATHS[0] or field in ("model", "stream", "temperature", "tools"))
            if applies and path in PATHS and not MUST[field](value):
                assert told.status == 400, (field, value, told.body)
            if told.status == 400:
                assert len(one.seen) == seen
            elif path == PATHS[0] and len(one.seen) > seen:
                sent = one.seen[-1].json
                for name, rule in MUST.items():
                    assert name not in sent or rule(sent[name]), (field, value, sent)


@pytest.mark.parametrize("path", PATHS)
def test_giants_are_answered_in_bounded_time(bench: Lab, path: str) -> None:
    base = request(path, "openai")
    entry = base["tools"][0]

    def named(name: str) -> Any:
        return (
            {**entry, "function": {**entry["function"], "name": name}}
            if "function" in entry
            else {**entry, "name": name}
        )

    def sized(size: int) -> Any:
        schema = {
            "type": "object",
            "properties": {f"p{n}": {"type": "string", "description": "d" * 100} for n in range(size)},
        }
        key = "input_schema" if path == PATHS[1] else "parameters"
        return (
            {**entry, "function": {**entry["function"], key: schema}} if "function" in entry else {**entry, key: schema}
        )

    turns = [{"role": ("user", "assistant")[n % 2], "content": "a"} for n in range(10_001)]
    cases: list[tuple[dict[str, Any], tuple[int, ...]]] = [
        ({"tools": [named(f"tool_{n}") for n in range(1000)]}, (200, 413)),
        ({"tools": [sized(8000)]}, (200, 413)),
        ({"tools": [named("x" * 1_000_000), entry]}, (200,)),
        ({"tools": [named("x" * 256)]}, (200,)),
        ({"messages": turns} if path != PATHS[2] else {"input": turns}, (200, 413)),
        ({"model": "m" * 1_000_000}, (200, 503)),
        ({"metadata": {"k" * 100_000: "v"}}, (200, 400)),
    ]
    for fields, expected in cases:
        started = time.monotonic()
        told = bench.ask(path, "openai", **fields)
        assert told.status in expected, (list(fields), told.body[:200])
        assert time.monotonic() - started < 3
        assert b"x" * 257 not in bench.tiers["openai"].seen[-1].body


LONG = ["x" * 257, "é" * 129, "𝄞" * 65, "x" * 100_000]


@pytest.mark.parametrize("target", ["openai", "anthropic"])
@pytest.mark.parametrize("path", PATHS)
def test_a_tool_name_of_more_than_256_bytes_is_left_out_and_named(bench: Lab, path: str, target: str) -> None:
    bench.play(target, t.auto("fine"))
    base = json.dumps(request(path, target), ensure_ascii=False)
    (entry,) = json.loads(base)["tools"]
    for name in LONG:
        unfit = json.loads(json.dumps(entry).replace("get_weather", name))
        told = bench.ask(path, target, tools=[unfit, entry])
        assert told.status == 200, told.body[:200]
        sent = bench.tiers[target].seen[-1].json["tools"]
        assert [tool.get("name") or tool["function"]["name"] for tool in sent] == ["get_weather"]
        assert "tools.malformed" in bench.running.last()["lossy"]
    fits = "é" * 128  # 256 bytes
    assert bench.ask(path, target, tools=[json.loads(json.dumps(entry).replace("get_weather", fits))]).status == 200
    assert fits in str(bench.tiers[target].seen[-1].json["tools"])
    assert "tools.malformed" not in bench.running.last()["lossy"]


# ------------------------------------------------------------------------------------------------ injection

EVIL = ["chat\r\ndecision=dec_forged intent=x", "chat\x1b[31mred", "a\u2028b\u2029c\x85d", "x" * 1_000_000, "\x00\x07",
        "anvil/chat > y", "𝄞" * 5000, "%s%n{0}${jndi:x}"]  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_callers_words_stay_on_one_bounded_line(tier: Callable[..., t.Tier], tmp_path: Path, form: str) -> None:
    refusing = tier(
        lambda r: t.response(400, json.dumps({"error": {"message": r.json["messages"][0]["content"]}}).encode())
    )
    text = config_toml(tier_toml("fast-local", refusing.url), router=PATIENT)
    running = start_router(tmp_path, text, None, "--log-format", form)
    try:
        for word in EVIL:
            body = {"model": word, "messages": [{"role": "user", "content": word}], word: 1, "user": word}
            headers = {"x-request-id": "a" * 900, "traceparent": "00-evil", "user-agent": "curl decision=dec_forged"}
            data = json.dumps(body).encode()
            answer = running.client.post("/v1/chat/completions", content=data, headers=headers)
            assert answer.status_code in (400, 503)
            message = answer.json()["error"]["message"]
            assert message.isprintable()
            assert len(message) <= 512
            for value in answer.headers.values():
                assert value.isprintable()
        time.sleep(0.3)
        lines = running.log.read_bytes().decode().split("\n")
        audit = [line for line in lines if "dec_" in line]
        assert len(audit) == len(EVIL) == len(running.decisions(limit=100))
        assert all(len(line) <= 4200 and line.isprintable() for line in lines)
        assert not any(line.startswith("decision=dec_forged") for line in lines)
        for record in running.decisions(limit=100):
            assert len(record["caller_model"]) <= 128
            assert not set(record["caller_model"]) & set("\r\n\x1b\u2028\u2029\x85\x00 >")
            assert len(json.dumps(record)) < 8000
    finally:
        running.stop()


def test_nothing_of_a_caller_steers_or_reaches_the_tier_beyond_the_body(bench: Lab) -> None:
    one = bench.tiers["openai"]
    headers = {"authorization": "Bearer callers-own", "x-api-key": "callers-own", "cookie": "c=callers-own",
               "x-anvil-tier": "backup", "x-anvil-model": "evil", "forwarded": "for=evil", "x-forwarded-host": "evil",
               "x_anvil_tier": "backup", "host": "evil.example", "accept-encoding": "gzip", "te": "trailers"}  # fmt: skip
    told = bench.post(PATHS[0], json.dumps(request(PATHS[0], "openai")).encode(), headers=headers)
    assert (told.status, told.tier) == (200, "one-openai")
    sent = one.seen[-1]
    assert set(sent.headers) <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "authorization",
    }
    assert "evil" not in str(sent.headers)
    assert "callers-own" not in str(sent.headers)
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["accept"] == "application/json"
    assert sent.path == "/v1/chat/completions"
    bench.ask(PATHS[0], "openai", stream=True)
    assert one.seen[-1].headers["accept"] == "text/event-stream"


def test_urls_in_a_request_are_never_fetched(bench: Lab, tier: Callable[..., t.Tier]) -> None:
    trap = tier()
    image = {"type": "image_url", "image_url": {"url": f"{trap.url}/secret.png"}}
    bench.ask(PATHS[0], "openai", messages=[{"role": "user", "content": [{"type": "text", "text": "hi"}, image]}])
    source = {"type": "image", "source": {"type": "url", "url": f"{trap.url}/x.png"}}
    bench.ask(PATHS[1], "anthropic", messages=[{"role": "user", "content": [source]}])
    assert trap.seen == []


# -------------------------------------------------------------------------------------------------- secrets


def forms(secret: str) -> list[str]:
    """Plain, by its first eight characters, SHA-256, and base64 at every alignment."""
    data = secret.encode()
    found = [secret[:8], secret[::-1], hashlib.sha256(data).hexdigest(), hashlib.sha256(data).hexdigest()[:16]]
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + data[:12] + b"\0" * (-(lead + 12) % 3)).decode()
        found.append(encoded[4 if lead else 0 : 12])
    return found


def playing(script: t.Script) -> t.Behaviour:
    return lambda _: script


def test_canaries_are_found_nowhere(tmp_path: Path) -> None:
    prompt, argument, header, body_word = "cn4prmC1-zebra", "cn4argD2-heron", "cn4hdrE3-otter", "cn4bdyF4-lynx"
    scripts = [
        t.response(400, json.dumps({"error": {"message": f"bad key {KEY} for {TOKEN}, sk-abcdefghijklmnop"}}).encode()),
        t.response(400, json.dumps({"error": {"message": f"b64 {base64.b64encode(KEY.encode()).decode()}"}}).encode()),
        t.response(500, f"<html>{body_word} {KEY}</html>".encode(), x_key=KEY),
        t.response(401, json.dumps({"error": {"message": body_word, "type": KEY, "code": KEY}}).encode()),
        t.response(200, f"{body_word} {KEY}".encode()),
        t.sse(f"data: {body_word} {KEY}\n\n".encode() * 10),
        t.sse(t.event("error", error={"type": KEY, "message": body_word})),
        t.sse(t.chunk({"content": "x"}), b'data: {"error":{"type":"%s","message":"%s"}}\n\n' % (KEY.encode(), KEY.encode())),
        t.chat(None, finish="tool_calls", tool_calls=[
            {"id": "c", "type": "function", "function": {"name": argument, "arguments": json.dumps({"city": argument})}}]),
        t.chat(None, finish="tool_calls", tool_calls=[
            {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": argument}}]),
        t.response(429, KEY.encode(), retry_after=KEY),
    ]  # fmt: skip
    tier = t.Tier(lambda _: scripts[0]).start()
    store = tmp_path / "decisions.db"
    text = config_toml(
        tier_toml("fast-local", tier.url),
        presets={"p": ["fast-local"]},
        server='auth_env = "TEST_TOKEN"',
        router=PATIENT + f'[router.decisions]\nstore_path = "{store}"\n',
    )
    running = start_router(tmp_path, text, {"TEST_TOKEN": TOKEN, "TEST_KEY": KEY})
    given: list[str] = []
    try:
        running.client.headers = {"authorization": f"Bearer {TOKEN}", "x-secret": header, "user-agent": header}
        for script in scripts:
            tier.behaviour = playing(script)
            for path in PATHS:
                for stream in (False, True):
                    whole = request(path, "p", stream=stream)
                    whole |= (
                        {"input": prompt} if path == PATHS[2] else {"messages": [{"role": "user", "content": prompt}]}
                    )
                    given.append(running.client.post(path, json=whole).text)
        for odd in (
            {"model": KEY},
            {"model": f"{TOKEN} x"},
            {"model": "p", KEY: 1},
            {"model": "p", "messages": prompt},
        ):
            given.append(
                running.client.post(PATHS[0], json=request(PATHS[0], "p") | odd).text.replace(
                    json.dumps(odd["model"])[1:-1], ""
                )
            )
        for bad in ({"authorization": f"Bearer {KEY}"}, {"authorization": "", "x-api-key": prompt}):
            refused = running.client.post(f"{PATHS[0]}?key={prompt}", content=b"{}", headers=bad)
            assert refused.status_code == 401
            given.append(refused.text + str(refused.headers))
        names = [row["name"] for row in running.client.get("/v1/harness").json()]
        seen = {f"/v1/harness/{name}": running.client.get(f"/v1/harness/{name}").text for name in names}
        for path in ("/v1/decisions?limit=1000", "/v1/decisions?limit=1000&format=jsonl", "/metrics", "/readyz", "/healthz",
                     "/v1/models", "/v1/harness", "/"):  # fmt: skip
            seen[path] = running.client.get(path).text
        time.sleep(0.5)
    finally:
        running.stop()
        tier.stop()
    seen["log"] = running.logged()
    seen["store"] = b"".join([part.read_bytes() for part in tmp_path.glob("decisions.db*")]).decode("latin-1")
    assert len(seen["store"]) > 5000
    seen["answers"] = "\n".join(given)
    for place, words in seen.items():
        for secret in (TOKEN, KEY, header, body_word, prompt):
            for form in forms(secret):
                assert form not in words, (
                    f"{form} of {secret} in {place}: {words[max(0, words.find(form) - 200) :][:300]}"
                )
        if place != "answers":  # a caller may see its own call
            assert argument not in words, place


# ------------------------------------------------------------------------------------- callers that go away


def sent(running: Running, body: dict[str, Any], *, part: float = 1.0) -> socket.socket:
    data = json.dumps(body).encode()
    port = int(running.url.rsplit(":", 1)[1])
    caller = socket.create_connection(("127.0.0.1", port))
    caller.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data))
    caller.sendall(data[: int(len(data) * part)])
    return caller


def until(check: Callable[[], Any], seconds: float = 1.0) -> bool:
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


STAGES: dict[str, tuple[t.Script, bool]] = {
    "before the head": (t.Script([20.0]), True),
    "before the head, not streamed": (t.Script([20.0]), False),
    "in the held answer": (t.Script([b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", 20.0]), False),
    "in the stream": (t.sse(t.chunk({"content": "some"}), 20.0), True),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_caller_that_goes_frees_its_tier_within_a_second(bench: Lab, stage: str) -> None:
    script, stream = STAGES[stage]
    one = bench.tiers["openai"]
    bench.play("openai", script)
    seen, cancelled = len(one.seen), one.cancelled
    callers = [sent(bench.running, request(PATHS[0], "openai", stream=stream)) for _ in range(10)]
    assert until(lambda: len(one.seen) == seen + 10)
    if stage == "in the stream":
        for caller in callers:
            assert b"200" in caller.recv(4096)
    time.sleep(0.25)
    for caller in callers:
        caller.close()
    assert until(lambda: one.cancelled == cancelled + 10), one.cancelled - cancelled
    assert until(lambda: not [row for row in bench.running.client.get("/readyz").json()["tiers"] if row["in_flight"]])
    assert until(lambda: [r["outcome"] for r in bench.running.decisions(limit=10)] == ["client_gone"] * 10)
    bench.play("openai", t.auto("fine"))


def test_a_caller_that_goes_in_its_body_costs_no_call_and_no_slot(tmp_path: Path) -> None:
    tier = t.Tier(t.auto("fine")).start()
    running = start_router(tmp_path, config_toml(tier_toml("fast-local", tier.url), server="max_concurrency = 2"))
    try:
        for _ in range(6):
            sent(running, request(PATHS[0], "chat"), part=0.5).close()
        big = request(PATHS[0], "chat") | {"messages": [{"role": "user", "content": "a " * 40_000}]}
        for _ in range(4):
            sent(running, big, part=0.5).close()
        assert until(lambda: running.client.post(PATHS[0], json=request(PATHS[0], "chat")).status_code == 200)
        assert len(tier.seen) == 1
    finally:
        running.stop()
        tier.stop()


def test_a_reader_that_does_not_read_is_let_go(tmp_path: Path) -> None:
    def endless(_: t.Received) -> t.Script:
        return t.sse(*[t.chunk({"content": "x" * 60_000})] * 1000)

    tier = t.Tier(endless).start()
    text = config_toml(
        tier_toml("fast-local", tier.url, timeout=60),
        server="max_concurrency = 1\nidle_timeout_s = 1\nheader_timeout_s = 1",
    )
    running = start_router(tmp_path, text)
    try:
        caller = sent(running, request(PATHS[0], "chat", stream=True))
        assert until(lambda: tier.seen)
        time.sleep(0.5)
        assert running.client.post(PATHS[0], json=request(PATHS[0], "chat")).status_code == 503
        tier.behaviour = t.auto("fine")
        assert until(lambda: running.client.post(PATHS[0], json=request(PATHS[0], "chat")).status_code == 200, 9)
        assert until(lambda: "client_gone" in [r["outcome"] for r in running.decisions()])
        caller.close()
    finally:
        running.stop()
        tier.stop()


def test_a_slow_reader_gets_everything_and_memory_stays_bounded(bench: Lab) -> None:
    text = "y" * 20_000
    bench.play("openai", t.sse(*[t.chunk({"content": text})] * 200, t.chunk({}, "stop"), t.DONE))
    caller = sent(bench.running, request(PATHS[0], "openai", stream=True))
    caller.settimeout(5)
    got, size = b"", 0
    while not got.endswith(b"0\r\n\r\n"):
        part = caller.recv(65_536)
        assert part
        got, size = (got + part)[-200:], size + len(part)
        time.sleep(0.005)
    caller.close()
    assert size > 200 * 20_000
    assert b"[DONE]" in got
    bench.play("openai", t.auto("fine"))
